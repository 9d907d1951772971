//! Arguments of the commands that do not paint from a request.

use std::path::PathBuf;

use clap::Args;
use nuwa_model::device::DeviceChoice;

use super::{Common, Means};
use crate::task::RegionPx;

#[derive(Debug, Args)]
pub(in crate::cli) struct DecodeArgs {
    /// The token file.
    pub(in crate::cli) file: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
    /// Pictures, by their endings.
    #[arg(long, required = true)]
    pub(in crate::cli) out: Vec<PathBuf>,
    /// Tokens beside a given picture that are faded into it; 0 for none.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1))]
    pub(in crate::cli) blend: u32,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct EditArgs {
    /// The token file.
    pub(in crate::cli) file: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
    /// What to paint again: top left corner and size in pixels, such as 100,50,256x128.
    #[arg(long, value_name = "X,Y,WxH")]
    pub(in crate::cli) region: RegionPx,
    /// Seed of the random choices; drawn and printed when not given.
    #[arg(long)]
    pub(in crate::cli) seed: Option<u64>,
    /// Results; without a .nuwa among them the token file itself is replaced.
    #[arg(long)]
    pub(in crate::cli) out: Vec<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) means: Means,
    /// Tokens beside a given picture that are faded into it; 0 for none.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1))]
    pub(in crate::cli) blend: u32,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct InfoArgs {
    /// The token file or the picture.
    pub(in crate::cli) file: PathBuf,
    /// Measure seams: how much the painting jumps between patches, between the windows of decoding
    /// and around a given picture, against inside; 1 is none.
    #[arg(long)]
    pub(in crate::cli) quality: bool,
    /// Folder of the trained run that decodes a token file, for --quality.
    #[arg(long, requires = "quality")]
    pub(in crate::cli) model: Option<PathBuf>,
    /// Where to compute: auto, cpu, wgpu[:N] or cuda[:N].
    #[arg(long, default_value = "auto")]
    pub(in crate::cli) device: DeviceChoice,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReconstructArgs {
    #[command(flatten)]
    pub(in crate::cli) common: Common,
    /// The picture.
    #[arg(long)]
    pub(in crate::cli) image: PathBuf,
    /// Where to write it as it comes back; only measured when not given.
    #[arg(long)]
    pub(in crate::cli) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CopyDistanceArgs {
    /// The painting.
    #[arg(long)]
    pub(in crate::cli) image: PathBuf,
    /// The picture that the model was trained on.
    #[arg(long)]
    pub(in crate::cli) source: PathBuf,
    /// Side of the patches that are compared, in pixels.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) patch: u32,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CompletionsArgs {
    /// The shell.
    pub(in crate::cli) shell: clap_complete::Shell,
}
