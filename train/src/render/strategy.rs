//! Render-and-optimize as a training strategy of Burn's learner.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents,
    TrainingItem, ValidLoader,
};

use super::batch::RenderBatch;
use super::optimize::{NotFinitePatch, with_others};
use super::task::{PatchOutput, RenderTask};
use super::team::{Meeting, Member};
use super::watch::{Update, Watch};
use crate::schedule::Clock;

/// Render-and-optimize as a training strategy of Burn's learner: one update per patch.
///
/// Runs until the clock's budget is spent, the loader's epochs are over or training is interrupted.
/// An interruption waits for the end of the picture: the pool is empty there, so that a checkpoint
/// is all there is to know. Checkpoints are numbered by updates, not by epochs.
#[derive(Clone)]
pub struct RenderAndOptimize {
    devices: Vec<Device>,
    meeting: Meeting,
    clock: Arc<Clock>,
    updates: u64,
    watch: Arc<dyn Watch>,
    failure: Arc<Mutex<Option<NotFinitePatch>>>,
}

impl RenderAndOptimize {
    /// Gives the strategy on one device with gradients.
    pub fn new(device: Device, clock: Arc<Clock>) -> Self {
        Self {
            devices: vec![device],
            meeting: Meeting::AtTheFirst,
            clock,
            updates: 0,
            watch: Arc::new(()),
            failure: Arc::default(),
        }
    }

    /// Shares every batch with more devices with gradients. The clock must count updates then: each
    /// device looks at it for itself.
    #[must_use]
    pub fn with(mut self, others: Vec<Device>, meeting: Meeting) -> Self {
        self.devices.extend(others);
        self.meeting = meeting;
        self
    }

    /// Goes on counting from a number of updates.
    #[must_use]
    pub fn from(mut self, updates: u64) -> Self {
        self.updates = updates;
        self
    }

    /// Tells what happens.
    #[must_use]
    pub fn watched(mut self, watch: Arc<dyn Watch>) -> Self {
        self.watch = watch;
        self
    }

    /// Gives what stopped training, if it was a patch that the weights must not follow.
    pub fn failure(&self) -> Option<NotFinitePatch> {
        self.failure.lock().expect("no holder panics").clone()
    }
}

impl SupervisedLearningStrategy<RenderTask> for RenderAndOptimize {
    fn fit(
        &self,
        components: TrainingComponents<RenderTask>,
        learner: Learner<RenderTask>,
        loader: TrainLoader<RenderTask>,
        valid: ValidLoader<RenderTask>,
        starting_epoch: usize,
    ) -> (RenderTask, SupervisedTrainingEventProcessor<RenderTask>) {
        let on = |device: &Device| {
            let mut learner = learner.clone();
            learner.fork(device);
            learner
        };
        let mut members = Member::team(&self.devices, self.meeting).into_iter();
        let first = members.next().expect("there is a device");
        thread::scope(|scope| {
            let mut others = Vec::new();
            for (member, device) in members.zip(&self.devices[1..]) {
                let (to, batches) = sync_channel(1);
                let learner = on(device);
                scope.spawn(move || self.follow(learner, &member, batches));
                others.push(to);
            }
            let team = Lead {
                member: first,
                others,
            };
            let learner = on(&self.devices[0]);
            self.lead(components, learner, (loader, valid), &team, starting_epoch)
        })
    }
}

/// The first device and the lines to the others.
struct Lead {
    member: Member,
    others: Vec<SyncSender<RenderBatch>>,
}

impl RenderAndOptimize {
    /// Trains on batches as long as there are any.
    fn follow(
        &self,
        mut learner: Learner<RenderTask>,
        member: &Member,
        batches: Receiver<RenderBatch>,
    ) {
        let mut updates = self.updates;
        for batch in batches {
            let done = with_others(&mut learner, &batch, member, |_, _| {
                updates += 1;
                !self.is_over(updates)
            });
            if done.is_err() {
                return; // The first device has the same gradients, and says so.
            }
        }
    }

    fn lead(
        &self,
        components: TrainingComponents<RenderTask>,
        mut learner: Learner<RenderTask>,
        (loader, valid): (TrainLoader<RenderTask>, ValidLoader<RenderTask>),
        team: &Lead,
        starting_epoch: usize,
    ) -> (RenderTask, SupervisedTrainingEventProcessor<RenderTask>) {
        let (interrupter, mut events) = (components.interrupter, components.event_processor);
        let mut checkpointer = components.checkpointer;
        let mut early_stopping = components.early_stopping;
        let mut updates = self.updates;
        for epoch in starting_epoch..=components.num_epochs {
            let start = LearnerEvent::StartSplit {
                epoch_number: epoch,
                total_items: loader.num_items(),
            };
            interrupter.fail_on_error(events.process_train(start));
            let whole = self.epoch(
                &mut learner,
                &loader,
                team,
                &mut updates,
                &mut events,
                &interrupter,
            );
            interrupter.fail_on_error(events.process_train(LearnerEvent::EndSplit(epoch)));
            let sound = interrupter.error().is_none() && self.failure().is_none();
            if sound && (whole || self.is_over(updates)) && !interrupter.should_stop() {
                self.validate(&learner, &valid, epoch, &mut events, &interrupter);
                interrupter.fail_on_error(events.process_train(LearnerEvent::EndEpoch(epoch)));
            }
            if let Some(checkpointer) = checkpointer.as_mut().filter(|_| sound) {
                interrupter.fail_on_error(events.flush());
                self.watch.checkpointing(updates);
                checkpointer.checkpoint(&learner, updates as usize, &components.event_store);
            }
            if let Some(early_stopping) = &mut early_stopping
                && early_stopping.should_stop(epoch, &components.event_store)
            {
                break;
            }
            if interrupter.should_stop() || self.is_over(updates) {
                break;
            }
        }
        (learner.model(), events)
    }
}

impl RenderAndOptimize {
    fn is_over(&self, updates: u64) -> bool {
        self.clock.spent(updates as usize) >= 1.0
    }

    /// Trains on every batch that the loader gives; says whether it came to their end.
    fn epoch(
        &self,
        learner: &mut Learner<RenderTask>,
        loader: &TrainLoader<RenderTask>,
        team: &Lead,
        updates: &mut u64,
        events: &mut SupervisedTrainingEventProcessor<RenderTask>,
        interrupter: &Interrupter,
    ) -> bool {
        let mut batches = loader.iter();
        while let Some(batch) = batches.next() {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    interrupter.fail(error);
                    return false;
                }
            };
            let progress = batches.progress();
            for other in &team.others {
                other
                    .send(batch.clone())
                    .expect("others train until there are no batches");
            }
            let done = with_others(learner, &batch, &team.member, |patch, learner| {
                *updates += 1;
                let rate = learner.lr_current();
                let item = PatchOutput {
                    loss: patch.loss.clone(),
                };
                let iteration = Some(*updates as usize);
                let item = TrainingItem::new(item, progress.clone(), iteration, Some(rate.clone()));
                let event = LearnerEvent::ProcessedItem(item);
                interrupter.fail_on_error(events.process_train(event));
                self.watch.updated(&Update {
                    updates: *updates,
                    patch,
                    rate: rate.base(),
                    task: &learner.model(),
                });
                !self.is_over(*updates)
            });
            if let Err(error) = done {
                interrupter.stop(Some(&error.to_string()));
                *self.failure.lock().expect("no holder panics") = Some(error);
                return false;
            }
            if interrupter.should_stop() || self.is_over(*updates) {
                return false;
            }
        }
        true
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
        let model = self.watch.judged();
        let model = model.unwrap_or_else(|| learner.model().valid());
        let start = LearnerEvent::StartSplit {
            epoch_number: epoch,
            total_items: valid.num_items(),
        };
        interrupter.fail_on_error(events.process_valid(start));
        let mut batches = valid.iter();
        let mut iteration = 0;
        let mut losses = Vec::new();
        while let Some(batch) = batches.next() {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    interrupter.fail(error);
                    return;
                }
            };
            iteration += 1;
            let progress = batches.progress();
            let item = InferenceStep::step(&model, batch);
            losses.push(item.loss.clone().mean());
            let item = TrainingItem::new(item, progress, Some(iteration), None);
            interrupter.fail_on_error(events.process_valid(LearnerEvent::ProcessedItem(item)));
        }
        if !losses.is_empty() {
            let loss = Tensor::cat(losses, 0).mean().into_scalar::<f32>();
            self.watch.validated(f64::from(loss));
        }
        interrupter.fail_on_error(events.process_valid(LearnerEvent::EndSplit(epoch)));
    }
}
