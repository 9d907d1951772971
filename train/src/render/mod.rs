//! Stage two: the renderer, trained by render-and-optimize.

mod loss;
mod optimize;
mod task;

pub use loss::patch_loss;
pub use optimize::{PatchReport, RenderAndOptimize, render_and_optimize};
pub use task::{Masks, PatchItem, PatchOutput, RenderBatch, RenderTask};

#[cfg(test)]
mod tests;
