//! What `nuwa-train tokenize` is told.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use nuwa_data::manifest::Split;
use nuwa_model::device::DeviceChoice;

use crate::prepare::PixelSize;

/// Arguments of `tokenize`.
#[derive(Debug, Args)]
pub struct TokenizeArgs {
    /// A folder that `prepare` has made, or a folder of pictures.
    pub(super) data: PathBuf,
    /// Weights of the VQGAN, or a run that holds one.
    #[arg(long, value_name = "DIR")]
    pub(super) vqgan: PathBuf,
    /// Folder of the store; the same command goes on with one that was interrupted.
    #[arg(long, value_name = "STORE")]
    pub(super) out: PathBuf,
    /// Which pictures of a prepared dataset [default: train].
    #[arg(long)]
    pub(super) split: Option<SplitChoice>,
    /// Crops of each picture: 1 takes its middle, more are random.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) crops: u16,
    /// Size of a crop in pixels, in whole tokens [default: that of the first picture, rounded down].
    #[arg(long)]
    pub(super) size: Option<PixelSize>,
    /// What is kept of captions: none, ids, or states made by the CLIP weights in a folder.
    #[arg(long, default_value = "none", value_name = "none|ids|DIR")]
    pub(super) text: TextChoice,
    /// Frames of each clip, the first ones [default: those of the first picture].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) frames: Option<u16>,
    /// Seed of random crops.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Where to compute: auto, cpu, wgpu[:N] or cuda[:N].
    #[arg(long, default_value = "auto")]
    pub(super) device: DeviceChoice,
    /// No progress bar.
    #[arg(long)]
    pub(super) quiet: bool,
}

/// Pictures of a prepared dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SplitChoice {
    /// Those to learn from.
    Train,
    /// Those to measure with.
    Test,
    /// All of them.
    All,
}

impl SplitChoice {
    pub(super) fn split(self) -> Option<Split> {
        match self {
            Self::Train => Some(Split::Train),
            Self::Test => Some(Split::Test),
            Self::All => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
            Self::All => "all",
        }
    }
}

/// What is kept of captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TextChoice {
    None,
    Ids,
    /// States made by the weights in a folder.
    States(PathBuf),
}

impl FromStr for TextChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "none" => Self::None,
            "ids" => Self::Ids,
            folder => Self::States(folder.into()),
        })
    }
}
