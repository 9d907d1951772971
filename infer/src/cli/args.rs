//! What `nuwa-infer` can be told.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use nuwa_model::device::DeviceChoice;
use nuwa_model::render::Decoding;

use crate::task::{PointPx, SizePx};

/// Paint with the networks of NUWA-Infinity.
#[derive(Debug, Parser)]
#[command(name = "nuwa-infer", version, propagate_version = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Paint a new picture.
    Paint(PaintArgs),
    /// Extend a picture in every direction; its own pixels stay as they are.
    Outpaint(OutpaintArgs),
    /// Send a picture through the VQGAN and back.
    Reconstruct(ReconstructArgs),
    /// Measure how far a painting is from copying the picture its model was trained on.
    CopyDistance(CopyDistanceArgs),
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// Folder of a trained run.
    #[arg(long)]
    pub(super) model: PathBuf,
    /// Where to compute: auto, cpu, wgpu[:N] or cuda[:N].
    #[arg(long, default_value = "auto")]
    pub(super) device: DeviceChoice,
    /// No progress bar.
    #[arg(long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct Brush {
    /// Size of the result in pixels, such as 2048x512.
    #[arg(long)]
    pub(super) size: SizePx,
    /// The result: PNG, JPEG, WebP or TIFF, by its ending.
    #[arg(long)]
    pub(super) out: PathBuf,
    /// Seed of the random choices; drawn and printed when not given.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// AR draws from this many of the likeliest codes; 1 is greedy.
    #[arg(long, default_value_t = 768, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) top_k: u32,
    /// Divides the scores before drawing; below 1 is calmer.
    #[arg(long, default_value_t = 1.0, value_parser = temperature)]
    pub(super) temperature: f64,
    /// Refuse the model unless it decodes like this: ar, nar or pnar.
    #[arg(long)]
    pub(super) renderer: Option<Decoding>,
    /// Most patches rendered as one batch; the picture is the same.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) parallel: u32,
}

#[derive(Debug, Args)]
pub(super) struct PaintArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) brush: Brush,
}

#[derive(Debug, Args)]
pub(super) struct OutpaintArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) brush: Brush,
    /// The picture to extend.
    #[arg(long)]
    pub(super) image: PathBuf,
    /// Where its top left corner lies in the result; in the middle when not given.
    #[arg(long, value_name = "X,Y")]
    pub(super) at: Option<PointPx>,
}

#[derive(Debug, Args)]
pub(super) struct ReconstructArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The picture.
    #[arg(long)]
    pub(super) image: PathBuf,
    /// Where to write it as it comes back; only measured when not given.
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CopyDistanceArgs {
    /// The painting.
    #[arg(long)]
    pub(super) image: PathBuf,
    /// The picture that the model was trained on.
    #[arg(long)]
    pub(super) source: PathBuf,
    /// Side of the patches that are compared, in pixels.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) patch: u32,
}

fn temperature(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number.is_finite() {
        Ok(number)
    } else {
        Err("must be above 0".into())
    }
}
