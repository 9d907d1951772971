//! What `nuwa-train prepare` is told.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use nuwa_data::prepare::{Origin, Sizes};

/// What to make a dataset of.
#[derive(Debug, Subcommand)]
pub enum PrepareArgs {
    /// Procedural landscapes with true captions.
    Synthetic(SyntheticArgs),
    /// A folder of pictures and videos, with captions or without.
    Folder(FolderArgs),
    /// Tar shards as webdataset has them.
    Shards(ShardsArgs),
    /// One giant painting: overlapping squares of its full height.
    Rqf(RqfArgs),
    /// Landscapes with captions: 85,000 to learn from, 5,000 to measure with.
    Lhqc(LhqcArgs),
    /// Landscape videos: drops those in which a detector saw something else.
    Lhqv(LhqvArgs),
    /// Films with subtitles: a clip for each subtitle.
    Peppapig(PeppapigArgs),
}

/// Where a dataset goes.
#[derive(Debug, Args)]
pub(super) struct OutArgs {
    /// Folder of the dataset; the same command goes on with one that was interrupted.
    #[arg(long)]
    pub(super) out: PathBuf,
    /// No progress bar.
    #[arg(long)]
    pub(super) quiet: bool,
}

/// Where a dataset comes from, for its list.
#[derive(Debug, Args)]
pub(super) struct OriginArgs {
    /// Where it comes from.
    #[arg(long, default_value = "unknown")]
    pub(super) source: String,
    /// Terms under which it may be used.
    #[arg(long, default_value = "unknown")]
    pub(super) licence: String,
}

/// How many items go where.
#[derive(Debug, Args)]
pub(super) struct SizesArgs {
    /// Items to learn from [default: the paper's, or all others].
    #[arg(long)]
    pub(super) train: Option<usize>,
    /// Items to measure with [default: the paper's, or none].
    #[arg(long)]
    pub(super) test: Option<usize>,
    /// Decides which.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
}

/// Arguments of `prepare synthetic`.
#[derive(Debug, Args)]
pub struct SyntheticArgs {
    /// How many pictures or clips.
    #[arg(long, default_value_t = 2000)]
    pub(super) count: usize,
    /// Their size in pixels.
    #[arg(long, default_value = "256x256")]
    pub(super) size: PixelSize,
    /// Frames of each, five per second; 1 makes pictures.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) frames: u16,
    /// Seed of the first landscape.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// How many are for measuring [default: one of twenty].
    #[arg(long)]
    pub(super) test: Option<usize>,
    #[command(flatten)]
    pub(super) out: OutArgs,
}

/// Arguments of `prepare folder`.
#[derive(Debug, Args)]
pub struct FolderArgs {
    /// The folder.
    pub(super) folder: PathBuf,
    /// Captions by file name, JSON lines or CSV [default: captions.jsonl, captions.csv or NAME.txt
    /// in the folder].
    #[arg(long)]
    pub(super) captions: Option<PathBuf>,
    /// Size in pixels to bring everything to [default: pictures are kept bit for bit].
    #[arg(long)]
    pub(super) size: Option<PixelSize>,
    /// Frames of a clip, five per second.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) frames: u16,
    #[command(flatten)]
    pub(super) sizes: SizesArgs,
    #[command(flatten)]
    pub(super) origin: OriginArgs,
    #[command(flatten)]
    pub(super) out: OutArgs,
}

/// Arguments of `prepare shards`.
#[derive(Debug, Args)]
pub struct ShardsArgs {
    /// A tar file, or a folder of them.
    pub(super) path: PathBuf,
    /// Size in pixels to bring everything to [default: pictures are kept bit for bit].
    #[arg(long)]
    pub(super) size: Option<PixelSize>,
    #[command(flatten)]
    pub(super) sizes: SizesArgs,
    #[command(flatten)]
    pub(super) origin: OriginArgs,
    #[command(flatten)]
    pub(super) out: OutArgs,
}

/// Arguments of `prepare rqf`.
#[derive(Debug, Args)]
pub struct RqfArgs {
    /// The painting: PNG or TIFF of any size, or JPEG or WebP.
    pub(super) picture: PathBuf,
    /// Height the painting is brought to, and side of the squares, in pixels.
    #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) px: u32,
    /// How many squares.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) count: u32,
    #[command(flatten)]
    pub(super) origin: OriginArgs,
    #[command(flatten)]
    pub(super) out: OutArgs,
}

/// Arguments of `prepare lhqc`.
#[derive(Debug, Args)]
pub struct LhqcArgs {
    /// The folder of pictures.
    pub(super) folder: PathBuf,
    /// Captions by file name, JSON lines or CSV [default: as for folder].
    #[arg(long)]
    pub(super) captions: Option<PathBuf>,
    /// Size in pixels.
    #[arg(long, default_value = "1024x1024")]
    pub(super) size: PixelSize,
    /// A text file of the names to measure with, one a line [default: the seed decides].
    #[arg(long, value_name = "FILE")]
    pub(super) test_list: Option<PathBuf>,
    #[command(flatten)]
    pub(super) sizes: SizesArgs,
    #[command(flatten)]
    pub(super) origin: OriginArgs,
    #[command(flatten)]
    pub(super) out: OutArgs,
}

/// Arguments of `prepare lhqv`.
#[derive(Debug, Args)]
pub struct LhqvArgs {
    /// The folder of videos.
    pub(super) folder: PathBuf,
    /// What a detector saw: JSON, {"NAME": ["label", ...], ...}.
    #[arg(long, value_name = "FILE")]
    pub(super) detections: Option<PathBuf>,
    /// A label for which a video is dropped; may be repeated [default: persons, animals, vehicles
    /// and things indoors].
    #[arg(long = "drop", value_name = "LABEL")]
    pub(super) labels: Vec<String>,
    /// Size of the frames in pixels.
    #[arg(long, default_value = "1024x1024")]
    pub(super) size: PixelSize,
    /// Frames of a clip, five per second.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) frames: u16,
    #[command(flatten)]
    pub(super) sizes: SizesArgs,
    #[command(flatten)]
    pub(super) origin: OriginArgs,
    #[command(flatten)]
    pub(super) out: OutArgs,
}

/// Arguments of `prepare peppapig`.
#[derive(Debug, Args)]
pub struct PeppapigArgs {
    /// The folder of films, NAME.mp4 and the like, with subtitles in NAME.srt or NAME.vtt.
    pub(super) folder: PathBuf,
    /// Size of the frames in pixels.
    #[arg(long, default_value = "1024x1024")]
    pub(super) size: PixelSize,
    /// Frames of a clip, five per second.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) frames: u16,
    #[command(flatten)]
    pub(super) sizes: SizesArgs,
    #[command(flatten)]
    pub(super) origin: OriginArgs,
    #[command(flatten)]
    pub(super) out: OutArgs,
}

/// Width and height in pixels, as they are typed: `1024x768`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PixelSize(pub(crate) usize, pub(crate) usize);

impl FromStr for PixelSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // More than this fits in no memory, and its bytes can be counted.
        let side = |text: &str| {
            text.parse()
                .ok()
                .filter(|side| (1..=1 << 20).contains(side))
        };
        let sides = text
            .split_once('x')
            .and_then(|(w, h)| Some((side(w)?, side(h)?)));
        let (w, h) = sides.ok_or("a size is WIDTHxHEIGHT in pixels, such as 256x256")?;
        Ok(Self(w, h))
    }
}

impl OriginArgs {
    pub(super) fn origin(&self) -> Origin {
        Origin {
            source: self.source.clone(),
            licence: self.licence.clone(),
        }
    }
}

impl SizesArgs {
    /// What was typed, in place of what is usual for the dataset.
    pub(super) fn sizes(&self, usual: Sizes) -> Sizes {
        Sizes {
            train: self.train.or(usual.train),
            test: self.test.unwrap_or(usual.test),
            seed: self.seed,
        }
    }
}
