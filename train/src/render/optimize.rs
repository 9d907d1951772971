//! Algorithm 1 of \[N\]: render-and-optimize.

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use burn::train::Learner;
use nuwa_model::render::{Ncp, PatchCache};
use serde::{Deserialize, Serialize};

use super::batch::RenderBatch;
use super::task::{PatchItem, RenderTask};
use super::team::Member;
use crate::gradients::NotFinite;

/// When the weights are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Optimize {
    /// After every patch: the paper's way.
    #[default]
    EachPatch,
    /// After the last patch of a picture, by the mean of all its patches' gradients: the paper's ablation
    /// (\[N\] Tab. 4c). What is counted as updates are still patches.
    Accumulated,
}

/// What happened to one patch.
#[derive(Debug, Clone)]
pub struct PatchReport {
    /// Position in the route.
    pub position: usize,
    /// Mean loss before the update, `[1]`; still on the device.
    pub loss: Tensor<1>,
    /// Norm of all gradients together, before they were clipped, if there was an update.
    pub gradient_norm: Option<f64>,
}

/// A patch that the weights must not follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("patch {position} of the route: {cause}")]
pub struct NotFinitePatch {
    /// Position in the route.
    pub position: usize,
    /// What is wrong with it.
    pub cause: NotFinite,
}

/// Algorithm 1: for every patch of the route select, render, add, remove, backward, update.
///
/// The cache is computed with the weights before the update and holds no graph, so gradients never
/// cross patches. `report` gets every patch and the learner
/// after its update, and says whether to go on.
///
/// With [`Optimize::Accumulated`] backward adds up, and update comes once, after the last patch.
///
/// A batch that is too large for the memory goes part by part, each with its own pool; a patch is
/// still one update, of the parts' gradients together.
///
/// # Errors
/// When the gradients of a patch are not finite; the weights are those before its update.
pub fn render_and_optimize(
    learner: &mut Learner<RenderTask>,
    batch: &RenderBatch,
    report: impl FnMut(PatchReport, &Learner<RenderTask>) -> bool,
) -> Result<(), NotFinitePatch> {
    with_others(learner, batch, &Member::alone(), report)
}

/// The same on one of several devices, each of which renders its share of the batch.
pub(super) fn with_others(
    learner: &mut Learner<RenderTask>,
    batch: &RenderBatch,
    member: &Member,
    mut report: impl FnMut(PatchReport, &Learner<RenderTask>) -> bool,
) -> Result<(), NotFinitePatch> {
    let parts = member.share(batch).parts(learner.model().part());
    let mut pools: Vec<Ncp<PatchCache>> = parts.iter().map(|_| Ncp::default()).collect();
    let n_patches = batch.route.steps().len();
    let mut sum = GradientsAccumulator::new();
    for (position, step) in batch.route.steps().iter().enumerate() {
        let task = learner.model();
        let mut losses = Vec::new();
        let (patches, is_update) = match task.optimize() {
            Optimize::EachPatch => (1, true),
            Optimize::Accumulated => (n_patches, position + 1 == n_patches),
        };
        for (part, pool) in parts.iter().zip(&mut pools) {
            let item = PatchItem {
                batch: part,
                position,
                context: part.context(pool, step),
            };
            let (output, loss) = task.forward(&item);
            pool.add(position, output.cache);
            pool.remove(step);
            let loss = loss * (part.weight(position) / batch.weight(position));
            losses.push(loss.clone().inner());
            // Backward per part: only one part's graph is alive at a time.
            sum.accumulate(&task, task.gradients(loss / patches as f64));
        }
        let loss = Tensor::cat(losses, 0).sum();
        let gradients = match is_update {
            true => sum.grads(),
            false => GradientsParams::new(),
        };
        let (mut gradients, loss) = member.sum(&task, gradients, loss);
        let clipped = is_update.then(|| task.clip(&mut gradients));
        drop(task); // The update then owns the weights and need not copy them.
        let clipped = clipped.transpose();
        let gradient_norm = clipped.map_err(|cause| NotFinitePatch { position, cause })?;
        learner.lr_step();
        if is_update {
            learner.optimizer_step(gradients);
        }
        let patch = PatchReport {
            position,
            loss,
            gradient_norm,
        };
        if !report(patch, learner) {
            break;
        }
    }
    Ok(())
}
