//! Stage two: the renderer, trained by render-and-optimize.

mod batch;
mod command;
mod config;
mod cost;
mod first;
mod keeper;
mod loader;
mod loss;
mod optimize;
mod patience;
pub(crate) mod provenance;
mod run;
mod run_watch;
mod samples;
mod silent;
mod source;
mod strategy;
mod task;
mod team;
mod watch;

pub use batch::{Masks, RenderBatch, Text};
pub use command::{RenderArgs, run as command};
pub use config::{RenderRunConfig, RenderTrainingConfig};
pub use cost::Cost;
pub use loss::patch_loss;
pub use optimize::{NotFinitePatch, Optimize, PatchReport, render_and_optimize};
pub use run::{Ending, RenderJob, RenderOutcome, run};
pub use samples::Paint;
pub(crate) use source::draw_masks;
pub use strategy::RenderAndOptimize;
pub use task::{PatchItem, PatchOutput, RenderTask};
pub use team::Meeting;
pub use watch::{Update, Watch};

#[cfg(test)]
mod tests;
