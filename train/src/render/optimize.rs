//! Algorithm 1 of \[N\]: render-and-optimize.

use burn::optim::GradientsAccumulator;
use burn::tensor::Tensor;
use burn::train::Learner;
use nuwa_model::render::{Ncp, PatchCache};

use super::batch::RenderBatch;
use super::task::{PatchItem, RenderTask};
use super::team::Member;
use crate::gradients::NotFinite;

/// What happened to one patch.
#[derive(Debug, Clone)]
pub struct PatchReport {
    /// Position in the route.
    pub position: usize,
    /// Mean loss before the update, `[1]`; still on the device.
    pub loss: Tensor<1>,
    /// Norm of all gradients together, before they were clipped.
    pub gradient_norm: f64,
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
    for (position, step) in batch.route.steps().iter().enumerate() {
        let task = learner.model();
        let (mut sum, mut losses) = (GradientsAccumulator::new(), Vec::new());
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
            sum.accumulate(&task, task.gradients(loss));
        }
        let loss = Tensor::cat(losses, 0).sum();
        let (mut gradients, loss) = member.sum(&task, sum.grads(), loss);
        let clipped = task.clip(&mut gradients);
        drop(task); // The update then owns the weights and need not copy them.
        let gradient_norm = clipped.map_err(|cause| NotFinitePatch { position, cause })?;
        learner.lr_step();
        learner.optimizer_step(gradients);
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
