//! What `nuwa-infer` can be told.

mod files;
mod means;
mod numbers;

pub(super) use self::files::*;
pub(super) use self::means::{Means, Parallel};

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use nuwa_model::device::DeviceChoice;
use nuwa_model::render::{Decoding, Precision};

use crate::request::Unmask;
use crate::task::{PointPx, RouteKind, SizePx};

/// Paint with the networks of NUWA-Infinity.
#[derive(Debug, Parser)]
#[command(name = "nuwa-infer", version, propagate_version = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Paint a new picture or film.
    Paint(PaintArgs),
    /// Extend a picture in every direction, or fill holes in it; its own pixels stay as they are.
    Outpaint(OutpaintArgs),
    /// Make a film that a picture begins.
    Animate(AnimateArgs),
    /// Say what a painting will take, without painting it: patches, memory, disk and time.
    Plan(PlanArgs),
    /// Make pixels from a token file.
    Decode(DecodeArgs),
    /// Paint a region of a token file again and keep the rest.
    Edit(EditArgs),
    /// Say how a token file, or a picture painted here, was made.
    Info(InfoArgs),
    /// Send a picture through the VQGAN and back.
    Reconstruct(ReconstructArgs),
    /// Print a script that completes this program's arguments in a shell.
    Completions(CompletionsArgs),
    /// Measure how far a painting is from copying the picture its model was trained on.
    CopyDistance(CopyDistanceArgs),
    /// Paint captions of synthetic landscapes, and count what of them is seen in the pixels.
    Captions(CaptionsArgs),
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
    /// Tell programs what happens: one JSON object per line on standard output, and no progress bar.
    #[arg(long)]
    pub(super) json: bool,
}

impl Common {
    /// Tells whether there is nobody to read of progress on standard error.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet || self.json
    }
}

#[derive(Debug, Args)]
pub(super) struct Brush {
    /// Results, by their endings: .png, .jpg, .webp, .tif (tiled, any size) or .dzi; for films
    /// .mp4, .webm, .gif, .apng or a folder (a name ending in /); and .nuwa for the tokens, from which the same command goes on after an interruption.
    #[arg(long, required = true)]
    pub(super) out: Vec<PathBuf>,
    /// Paint over a .nuwa file that holds another painting.
    #[arg(long)]
    pub(super) force: bool,
    /// Seed of the random choices; drawn and printed when not given.
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// AR draws from this many of the likeliest codes; 1 is greedy.
    #[arg(long, default_value_t = 768, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) top_k: u32,
    /// Divides the scores before drawing; below 1 is calmer.
    #[arg(long, default_value_t = 1.0, value_parser = numbers::temperature)]
    pub(super) temperature: f64,
    /// AR draws from the likeliest of those codes that together have this probability.
    #[arg(long, default_value_t = 1.0, value_parser = numbers::share)]
    pub(super) top_p: f64,
    /// Label smoothing of the model's training, taken off the probabilities again so that no token
    /// is drawn from all codes alike; what the run says when not given, 0 for none.
    #[arg(long, value_parser = numbers::smoothing)]
    pub(super) smoothing: Option<f64>,
    /// Rounds in which P-NAR writes a patch.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(super) steps: u32,
    /// Which places P-NAR uncovers first: those it is surest of, or those spread widest.
    #[arg(long, value_enum, default_value_t = Unmask::Confidence)]
    pub(super) unmask: Unmask,
    /// What to paint, in words, for models that were trained with captions.
    #[arg(long)]
    pub(super) prompt: Option<String>,
    /// A TOML file of prompts that change along the painting: [[prompt]] with text, x = [FROM, TO] or
    /// rect = "X,Y,WxH", and frames = [FROM, TO].
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub(super) prompts: Option<PathBuf>,
    /// What not to paint, in words; needs --guidance.
    #[arg(long, requires = "guidance")]
    pub(super) negative_prompt: Option<String>,
    /// How strongly the prompt counts (classifier-free guidance, at twice the time); 1 is as
    /// trained, 3 to 8 is usual.
    #[arg(long, value_parser = numbers::guidance)]
    pub(super) guidance: Option<f64>,
    /// Pictures painted at once, each with a seed of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(super) n: u32,
    /// What the renderer computes in: f32, or bf16 on GPUs that have it, for half the memory. Tokens
    /// are other ones.
    #[arg(long, default_value = "f32")]
    pub(super) precision: Precision,
    /// Refuse the model unless it decodes like this: ar, nar or pnar.
    #[arg(long)]
    pub(super) renderer: Option<Decoding>,
    #[command(flatten)]
    pub(super) means: Means,
    /// The way through the patches: paper (a circle around a picture), sweep (along the short side,
    /// for the least memory) or auto.
    #[arg(long, value_enum, default_value_t = RouteArg::Auto)]
    pub(super) route: RouteArg,
    /// Tokens beside a given picture that are faded into it; 0 for none.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1))]
    pub(super) blend: u32,
}

/// A route as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum RouteArg {
    Auto,
    Paper,
    Sweep,
}

impl RouteArg {
    /// Gives the route, or nothing where it is left open.
    pub(super) fn kind(self) -> Option<RouteKind> {
        match self {
            Self::Auto => None,
            Self::Paper => Some(RouteKind::Paper),
            Self::Sweep => Some(RouteKind::Sweep),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct PaintArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Size of the result in pixels, such as 2048x512.
    #[arg(long)]
    pub(super) size: SizePx,
    /// Frames of the result, five per second; 1 is a picture.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) frames: u32,
    #[command(flatten)]
    pub(super) brush: Brush,
}

#[derive(Debug, Args)]
pub(super) struct AnimateArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) brush: Brush,
    /// The picture that begins the film, which gets its size.
    #[arg(long)]
    pub(super) image: PathBuf,
    /// Frames of the film, five per second; the picture is the first of them.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..))]
    pub(super) frames: u32,
}

#[derive(Debug, Args)]
pub(super) struct OutpaintArgs {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) brush: Brush,
    /// The picture to extend, or to repair.
    #[arg(long)]
    pub(super) image: PathBuf,
    /// Size of the result in pixels, such as 2048x1536; the picture's own when not given.
    #[arg(long)]
    pub(super) size: Option<SizePx>,
    /// A picture as large as the other one: what is white in it is painted.
    #[arg(long)]
    pub(super) mask: Option<PathBuf>,
    /// Where its top left corner lies in the result; in the middle when not given.
    #[arg(long, value_name = "X,Y")]
    pub(super) at: Option<PointPx>,
}

/// What is given of a landscape whose caption is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum GivenArg {
    Nothing,
    Picture,
    All,
}

#[derive(Debug, Args)]
pub(super) struct CaptionsArgs {
    /// How many captions; other ones for each --seed.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) count: u32,
    /// What is given of a landscape beside its caption: nothing, the picture that begins its film, or
    /// all of it. Then nothing is painted, and what is measured is what tokens let through.
    #[arg(long, value_enum, default_value_t = GivenArg::Nothing)]
    pub(super) given: GivenArg,
    /// How they are painted; --out is a folder for pictures and captions, and may be left away.
    #[command(flatten)]
    pub(super) paint: PaintArgs,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// What would be painted; takes the same arguments, of which --out may be left away.
    #[command(subcommand)]
    pub(super) task: PlanTask,
}

#[derive(Debug, Subcommand)]
pub(super) enum PlanTask {
    /// Plan a new picture.
    Paint(PaintArgs),
    /// Plan the extension of a picture.
    Outpaint(OutpaintArgs),
    /// Plan a film that a picture begins.
    Animate(AnimateArgs),
}

impl Cli {
    /// Gives the command line. What is only planned needs no output.
    pub(super) fn shape() -> clap::Command {
        let unbound = |task: clap::Command| task.mut_arg("out", |out| out.required(false));
        let command = Self::command().mut_subcommand("captions", unbound);
        command.mut_subcommand("plan", |plan| {
            plan.mut_subcommand("paint", unbound)
                .mut_subcommand("outpaint", unbound)
                .mut_subcommand("animate", unbound)
        })
    }
}
