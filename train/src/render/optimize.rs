//! Algorithm 1 of \[N\]: render-and-optimize, and the Burn strategy around it.

use std::sync::Arc;

use burn::data::dataloader::Progress;
use burn::module::Module;
use burn::optim::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::tensor::{Device, Tensor};
use burn::train::{
    EventProcessorTraining, InferenceStep, Learner, LearnerEvent, SupervisedLearningStrategy,
    SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
};
use nuwa_model::render::Ncp;

use super::task::{PatchItem, PatchOutput, RenderBatch, RenderTask};
use crate::schedule::Clock;

/// What happened to one patch.
#[derive(Debug, Clone)]
pub struct PatchReport {
    /// Position in the route.
    pub position: usize,
    /// Mean loss before the update, `[1]`; still on the device.
    pub loss: Tensor<1>,
}

/// Algorithm 1: for every patch of the route select, render, add, remove, backward, update.
///
/// The cache is computed with the weights before the update and holds no graph, so gradients never
/// cross patches. `report` gets every patch after its update and says whether to go on.
pub fn render_and_optimize(
    learner: &mut Learner<RenderTask>,
    batch: &RenderBatch,
    mut report: impl FnMut(PatchReport, ModuleLearningRate) -> bool,
) {
    let mut pool = Ncp::default();
    for (position, step) in batch.route.steps().iter().enumerate() {
        let task = learner.model();
        let item = PatchItem {
            batch,
            position,
            context: pool.select(step),
        };
        let (output, loss) = task.forward(&item);
        pool.add(position, output.cache);
        pool.remove(step);
        let gradients = task.gradients(loss.clone());
        drop(task); // The update then owns the weights and need not copy them.
        learner.lr_step();
        learner.optimizer_step(gradients);
        if !report(
            PatchReport {
                position,
                loss: loss.inner(),
            },
            learner.lr_current(),
        ) {
            break;
        }
    }
}

/// Render-and-optimize as a training strategy of Burn's learner: one update per patch.
///
/// Runs until the clock's budget is spent, the loader's epochs are over or training is interrupted;
/// it stops between updates, so the weights are always usable.
#[derive(Debug, Clone)]
pub struct RenderAndOptimize {
    device: Device,
    clock: Arc<Clock>,
}

impl RenderAndOptimize {
    /// Gives the strategy on one device.
    pub fn new(device: Device, clock: Arc<Clock>) -> Self {
        Self {
            device: device.autodiff(),
            clock,
        }
    }
}

impl SupervisedLearningStrategy<RenderTask> for RenderAndOptimize {
    fn fit(
        &self,
        components: TrainingComponents<RenderTask>,
        mut learner: Learner<RenderTask>,
        loader: TrainLoader<RenderTask>,
        valid: ValidLoader<RenderTask>,
        starting_epoch: usize,
    ) -> (RenderTask, SupervisedTrainingEventProcessor<RenderTask>) {
        learner.fork(&self.device);
        let (interrupter, mut events) = (components.interrupter, components.event_processor);
        let mut checkpointer = components.checkpointer;
        let mut updates = 0;
        for epoch in starting_epoch..=components.num_epochs {
            let start = LearnerEvent::StartSplit {
                epoch_number: epoch,
                total_items: loader.num_items(),
            };
            interrupter.fail_on_error(events.process_train(start));
            let mut batches = loader.iter();
            while let Some(batch) = batches.next() {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(error) => {
                        interrupter.fail(error);
                        break;
                    }
                };
                let progress = batches.progress();
                render_and_optimize(&mut learner, &batch, |patch, rate| {
                    updates += 1;
                    let item = PatchOutput { loss: patch.loss };
                    let item = TrainingItem::new(item, progress.clone(), Some(updates), Some(rate));
                    let event = LearnerEvent::ProcessedItem(item);
                    interrupter.fail_on_error(events.process_train(event));
                    !interrupter.should_stop() && self.clock.spent(updates) < 1.0
                });
                if interrupter.should_stop() || self.clock.spent(updates) >= 1.0 {
                    break;
                }
            }
            interrupter.fail_on_error(events.process_train(LearnerEvent::EndSplit(epoch)));
            if interrupter.should_stop() || self.clock.spent(updates) >= 1.0 {
                break;
            }
            self.validate(&learner, &valid, epoch, &mut events, &interrupter);
            interrupter.fail_on_error(events.process_train(LearnerEvent::EndEpoch(epoch)));
            if let Some(checkpointer) = &mut checkpointer {
                interrupter.fail_on_error(events.flush());
                checkpointer.checkpoint(&learner, epoch, &components.event_store);
            }
        }
        (learner.model(), events)
    }
}

impl RenderAndOptimize {
    fn validate(
        &self,
        learner: &Learner<RenderTask>,
        valid: &ValidLoader<RenderTask>,
        epoch: usize,
        events: &mut SupervisedTrainingEventProcessor<RenderTask>,
        interrupter: &burn::train::Interrupter,
    ) {
        let model = learner.model().valid();
        let start = LearnerEvent::StartSplit {
            epoch_number: epoch,
            total_items: valid.num_items(),
        };
        interrupter.fail_on_error(events.process_valid(start));
        let mut batches = valid.iter();
        let mut iteration = 0;
        while let Some(batch) = batches.next() {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    interrupter.fail(error);
                    return;
                }
            };
            iteration += 1;
            let progress: Progress = batches.progress();
            let item = InferenceStep::step(&model, batch);
            let item = TrainingItem::new(item, progress, Some(iteration), None);
            interrupter.fail_on_error(events.process_valid(LearnerEvent::ProcessedItem(item)));
        }
        interrupter.fail_on_error(events.process_valid(LearnerEvent::EndSplit(epoch)));
    }
}
