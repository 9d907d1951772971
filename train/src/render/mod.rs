//! Stage two: the renderer, trained by render-and-optimize.

mod batch;
mod loss;
mod optimize;
mod strategy;
mod task;

pub use batch::{Masks, RenderBatch, Text};
pub use loss::patch_loss;
pub use optimize::{NotFinitePatch, PatchReport, render_and_optimize};
pub use strategy::{RenderAndOptimize, Update};
pub use task::{PatchItem, PatchOutput, RenderTask};

#[cfg(test)]
mod tests;
