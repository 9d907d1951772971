//! Batches of a store on their way to the learner: made ahead, in order, from any batch on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;
use nuwa_data::dataset::Prefetch;

use super::batch::RenderBatch;
use super::source::Source;

/// Batches that may wait for the learner.
const AHEAD: usize = 2;

/// Gives one stretch of batches after the other: an epoch of Burn's learner is what lies between
/// two checkpoints. Clones share the place they stand at.
#[derive(Debug, Clone)]
pub(super) struct Loader {
    source: Arc<Mutex<Source>>,
    /// Batches of a stretch.
    stretch: u64,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Batches that were given.
    given: AtomicU64,
    waited: Mutex<Duration>,
}

impl Loader {
    /// Gives the loader that stands after so many batches; stretches end at multiples of their
    /// length, however often training was interrupted.
    pub(super) fn new(source: Source, stretch: u64, given: u64) -> Self {
        let state = State {
            given: given.into(),
            ..State::default()
        };
        Self {
            source: Arc::new(Mutex::new(source)),
            stretch,
            state: Arc::new(state),
        }
    }

    /// Gives the number of batches that were given.
    pub(super) fn given(&self) -> u64 {
        self.state.given.load(Ordering::Relaxed)
    }

    /// Gives the time that the learner has waited for batches.
    pub(super) fn waited(&self) -> Duration {
        *self.state.waited.lock().expect("no holder panics")
    }
}

impl DataLoader<RenderBatch> for Loader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<RenderBatch> + 'a> {
        let start = self.given();
        let end = (start / self.stretch + 1) * self.stretch;
        let source = self.source.clone();
        let make = move |number| source.lock().expect("no holder panics").batch(number);
        Box::new(Stretch {
            batches: Prefetch::new(start..end, AHEAD, make),
            waited: Duration::ZERO,
            end,
            state: &self.state,
        })
    }

    fn num_items(&self) -> usize {
        self.stretch as usize
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<RenderBatch>> {
        self.source.lock().expect("no holder panics").device = device.clone();
        Arc::new(self.clone())
    }

    fn slice(&self, _: usize, _: usize) -> Arc<dyn DataLoader<RenderBatch>> {
        unimplemented!("one device takes every batch")
    }
}

struct Stretch<'a> {
    batches: Prefetch<RenderBatch>,
    waited: Duration,
    end: u64,
    state: &'a State,
}

impl Iterator for Stretch<'_> {
    type Item = Result<RenderBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        let waited = self.batches.waited();
        *self.state.waited.lock().expect("no holder panics") += waited - self.waited;
        self.waited = waited;
        if batch.is_ok() {
            self.state.given.fetch_add(1, Ordering::Relaxed);
        }
        Some(batch.map_err(DatasetError::new))
    }
}

impl DataLoaderIterator<RenderBatch> for Stretch<'_> {
    fn progress(&self) -> Progress {
        let given = self.state.given.load(Ordering::Relaxed);
        Progress::new(given as usize, self.end as usize, Some("batches".into()))
    }
}

/// No batches: what a run without held-out records validates on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nothing;

impl DataLoader<RenderBatch> for Nothing {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<RenderBatch> + 'a> {
        Box::new(Nothing)
    }

    fn num_items(&self) -> usize {
        0
    }

    fn to_device(&self, _: &Device) -> Arc<dyn DataLoader<RenderBatch>> {
        Arc::new(Nothing)
    }

    fn slice(&self, _: usize, _: usize) -> Arc<dyn DataLoader<RenderBatch>> {
        Arc::new(Nothing)
    }
}

impl Iterator for Nothing {
    type Item = Result<RenderBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

impl DataLoaderIterator<RenderBatch> for Nothing {
    fn progress(&self) -> Progress {
        Progress::new(0, 0, None)
    }
}
