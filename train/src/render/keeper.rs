//! Checkpoints of the learner, as Burn hands them out and we keep them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use burn::module::Module;
use burn::optim::OptimizerRecord;
use burn::optim::lr_scheduler::LrSchedulerRecord;
use burn::store::ModuleRecord;
use burn::train::Learner;
use burn::train::checkpoint::{
    Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::metric::store::EventStoreClient;

use super::task::RenderTask;
use crate::checkpoints::{Checkpoint, Checkpoints};

const WEIGHTS: &str = "weights.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const SCHEDULE: &str = "schedule.bpk";
const AVERAGE: &str = "average.bpk";
const PLACE: &str = "place.json";

/// Collects the three records that Burn's learner hands out one by one, each from a thread of its
/// own, and writes them as one checkpoint with what the learner does not know of.
#[derive(Debug)]
pub(super) struct Keeper {
    checkpoints: Checkpoints,
    pending: Mutex<BTreeMap<u64, Pending>>,
}

/// What the learner does not know of.
#[derive(Debug)]
pub(super) struct Aside {
    /// The averaged weights, if there are any.
    pub(super) average: Option<RenderTask>,
    /// Batches that were trained on.
    pub(super) batches: u64,
    /// Mean loss of held-out records, if they were rendered; of a run that has none, since the checkpoint
    /// before.
    pub(super) loss: Option<f64>,
}

#[derive(Debug, Default)]
struct Pending {
    aside: Option<Aside>,
    weights: Option<ModuleRecord>,
    optimizer: Option<OptimizerRecord>,
    schedule: Option<LrSchedulerRecord>,
}

/// Where a training stands.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) updates: u64,
    pub(super) batches: u64,
    /// The averaged weights as they were written.
    pub(super) average: Option<ModuleRecord>,
}

impl Keeper {
    pub(super) fn new(checkpoints: Checkpoints) -> Self {
        Self {
            checkpoints,
            pending: Mutex::default(),
        }
    }

    /// Gives a network the weights that the best checkpoint would paint with.
    pub(super) fn best(&self, task: RenderTask) -> anyhow::Result<RenderTask> {
        let best = self.checkpoints.best()?;
        let (_, Checkpoint { folder, .. }) = best.context("no checkpoint has a loss")?;
        let average = folder.join(AVERAGE);
        let weights = match average.exists() {
            true => average,
            false => folder.join(WEIGHTS),
        };
        let record = ModuleRecord::load(&weights);
        Ok(task.load_record(record.with_context(|| weights.display().to_string())?))
    }

    /// Announces the checkpoint after so many updates, before the learner hands out its records.
    pub(super) fn announce(&self, updates: u64, aside: Aside) {
        let mut pending = self.pending.lock().expect("no holder panics");
        pending.entry(updates).or_default().aside = Some(aside);
    }

    fn receive(
        &self,
        updates: usize,
        put: impl FnOnce(&mut Pending),
    ) -> Result<(), CheckpointerError> {
        let updates = updates as u64;
        let mut pending = self.pending.lock().expect("no holder panics");
        let entry = pending.entry(updates).or_default();
        put(entry);
        let Some(whole) = entry.take() else {
            return Ok(());
        };
        pending.remove(&updates);
        let saved = whole.save(&self.checkpoints, updates);
        saved.map_err(|error| CheckpointerError::Unknown(format!("{error:#}")))
    }
}

struct Whole {
    aside: Aside,
    weights: ModuleRecord,
    optimizer: OptimizerRecord,
    schedule: LrSchedulerRecord,
}

impl Pending {
    /// Takes all of it once nothing is missing.
    fn take(&mut self) -> Option<Whole> {
        let is_whole = self.aside.is_some()
            && self.weights.is_some()
            && self.optimizer.is_some()
            && self.schedule.is_some();
        is_whole.then(|| std::mem::take(self))?.whole()
    }

    fn whole(self) -> Option<Whole> {
        Some(Whole {
            aside: self.aside?,
            weights: self.weights?,
            optimizer: self.optimizer?,
            schedule: self.schedule?,
        })
    }
}

impl Whole {
    fn save(self, checkpoints: &Checkpoints, updates: u64) -> anyhow::Result<()> {
        let Aside {
            average,
            batches,
            loss,
        } = self.aside;
        checkpoints.save(updates, loss, |folder| {
            self.weights.save(folder.join(WEIGHTS))?;
            self.optimizer.save(folder.join(OPTIMIZER))?;
            self.schedule.save(folder.join(SCHEDULE))?;
            if let Some(average) = average {
                average.into_record().save(folder.join(AVERAGE))?;
            }
            Ok(fs::write(folder.join(PLACE), batches.to_string())?)
        })?;
        Ok(())
    }
}

/// Puts a learner where a checkpoint left it.
pub(super) fn restore(
    learner: &mut Learner<RenderTask>,
    checkpoint: &Checkpoint,
) -> anyhow::Result<Place> {
    let read = |learner: &mut Learner<RenderTask>, folder: &Path| -> anyhow::Result<Place> {
        learner.load_model(ModuleRecord::load(folder.join(WEIGHTS))?);
        learner.load_optim(OptimizerRecord::load(folder.join(OPTIMIZER))?);
        learner.load_scheduler(LrSchedulerRecord::load(folder.join(SCHEDULE))?);
        let average = folder.join(AVERAGE);
        Ok(Place {
            updates: checkpoint.updates,
            batches: fs::read_to_string(folder.join(PLACE))?.parse()?,
            average: match average.exists() {
                true => Some(ModuleRecord::load(average)?),
                false => None,
            },
        })
    };
    read(learner, &checkpoint.folder).with_context(|| checkpoint.folder.display().to_string())
}

/// One of the three ends that records arrive at.
#[derive(Debug, Clone)]
pub(super) struct Inbox(pub(super) Arc<Keeper>);

/// Records are read before training, by [`restore`].
fn restored_elsewhere<R>() -> Result<R, CheckpointerError> {
    Err(CheckpointerError::Unknown("read before training".into()))
}

impl Checkpointer<ModuleRecord> for Inbox {
    fn save(&self, updates: usize, record: ModuleRecord) -> Result<(), CheckpointerError> {
        self.0
            .receive(updates, |pending| pending.weights = Some(record))
    }
    fn delete(&self, _: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }
    fn restore(&self, _: usize) -> Result<ModuleRecord, CheckpointerError> {
        restored_elsewhere()
    }
}

impl Checkpointer<OptimizerRecord> for Inbox {
    fn save(&self, updates: usize, record: OptimizerRecord) -> Result<(), CheckpointerError> {
        self.0
            .receive(updates, |pending| pending.optimizer = Some(record))
    }
    fn delete(&self, _: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }
    fn restore(&self, _: usize) -> Result<OptimizerRecord, CheckpointerError> {
        restored_elsewhere()
    }
}

impl Checkpointer<LrSchedulerRecord> for Inbox {
    fn save(&self, updates: usize, record: LrSchedulerRecord) -> Result<(), CheckpointerError> {
        self.0
            .receive(updates, |pending| pending.schedule = Some(record))
    }
    fn delete(&self, _: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }
    fn restore(&self, _: usize) -> Result<LrSchedulerRecord, CheckpointerError> {
        restored_elsewhere()
    }
}

/// Keeps every checkpoint that the strategy asks for: [`Checkpoints`] drops the old ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct WhenAsked;

impl CheckpointingStrategy for WhenAsked {
    fn checkpointing(&mut self, _: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        vec![CheckpointingAction::Save]
    }
}
