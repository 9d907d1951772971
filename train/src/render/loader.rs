//! Batches of a store on their way to the learner: made ahead, in order, from any batch on.

use std::ops::Range;
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
/// two checkpoints. Clones share the place they stand at; slices have their own.
#[derive(Debug, Clone)]
pub(super) struct Loader {
    source: Arc<Mutex<Source>>,
    /// Batches of a stretch.
    stretch: u64,
    /// Which of them are given.
    part: Range<u64>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Batches that were given, or passed over.
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
            part: 0..stretch,
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
        let given = self.given();
        let first = given / self.stretch * self.stretch;
        let start = given.max(first + self.part.start);
        let end = first + self.part.end;
        let source = self.source.clone();
        let make = move |number| source.lock().expect("no holder panics").batch(number);
        Box::new(Stretch {
            batches: Prefetch::new(start..end, AHEAD, make),
            waited: Duration::ZERO,
            at: start,
            end,
            next: first + self.stretch,
            state: &self.state,
        })
    }

    fn num_items(&self) -> usize {
        (self.part.end - self.part.start) as usize
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<RenderBatch>> {
        self.source.lock().expect("no holder panics").device = device.clone();
        Arc::new(self.clone())
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<RenderBatch>> {
        let [start, end] = [start, end].map(|at| self.part.start + at as u64);
        let state = State {
            given: self.given().into(),
            ..State::default()
        };
        Arc::new(Self {
            part: start..end.min(self.part.end),
            state: Arc::new(state),
            ..self.clone()
        })
    }
}

struct Stretch<'a> {
    batches: Prefetch<RenderBatch>,
    waited: Duration,
    /// Number of the batch that comes.
    at: u64,
    end: u64,
    /// The first batch of the next stretch.
    next: u64,
    state: &'a State,
}

impl Iterator for Stretch<'_> {
    type Item = Result<RenderBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(batch) = self.batches.next() else {
            // What comes after the part is given by others.
            self.state.given.store(self.next, Ordering::Relaxed);
            return None;
        };
        let waited = self.batches.waited();
        *self.state.waited.lock().expect("no holder panics") += waited - self.waited;
        self.waited = waited;
        if batch.is_ok() {
            self.state.given.store(self.at + 1, Ordering::Relaxed);
            self.at += 1;
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

/// The batches of held-out records, the same ones whenever they are asked for.
#[derive(Debug, Clone)]
pub(super) struct HeldOut {
    source: Arc<Mutex<Source>>,
    n: u64,
}

impl HeldOut {
    /// Gives the loader of the first `n` batches.
    pub(super) fn new(source: Source, n: u64) -> Self {
        Self {
            source: Arc::new(Mutex::new(source)),
            n,
        }
    }
}

impl DataLoader<RenderBatch> for HeldOut {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<RenderBatch> + 'a> {
        Box::new(HeldOutBatches { all: self, at: 0 })
    }

    fn num_items(&self) -> usize {
        self.n as usize
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<RenderBatch>> {
        self.source.lock().expect("no holder panics").device = device.clone();
        Arc::new(self.clone())
    }

    fn slice(&self, _: usize, _: usize) -> Arc<dyn DataLoader<RenderBatch>> {
        Arc::new(self.clone())
    }
}

struct HeldOutBatches<'a> {
    all: &'a HeldOut,
    at: u64,
}

impl Iterator for HeldOutBatches<'_> {
    type Item = Result<RenderBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.all.n {
            return None;
        }
        let mut source = self.all.source.lock().expect("no holder panics");
        let batch = source.batch(self.at);
        self.at += 1;
        Some(batch.map_err(DatasetError::new))
    }
}

impl DataLoaderIterator<RenderBatch> for HeldOutBatches<'_> {
    fn progress(&self) -> Progress {
        Progress::new(
            self.at as usize,
            self.all.n as usize,
            Some("batches".into()),
        )
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use nuwa_data::dataset::{Deck, TokenBatches};
    use nuwa_data::store::{StoreSpec, TokenStore, TokenWriter};
    use nuwa_model::patch::Order;
    use nuwa_model::preset::{Preset, Size};

    use super::super::source::Orders;
    use super::*;

    fn loader(folder: &std::path::Path, given: u64) -> Loader {
        let store = TokenStore::open(folder, "abc").expect("a store");
        let deck = Deck::new(store.n_records(), 4);
        let source = Source {
            batches: TokenBatches::new(store, deck, 2),
            renderer: Preset::UigHd.recipe(Size::Tiny).renderer,
            seed: 4,
            caption_dropout: 0.0,
            corruption: 0.0,
            context_dropout: 0.0,
            orders: Orders::DrawnAfter(6),
            nothing: None,
            device: Device::flex(),
        };
        Loader::new(source, 5, given)
    }

    fn stretch(loader: &dyn DataLoader<RenderBatch>) -> Vec<Vec<i32>> {
        let tokens = |batch: RenderBatch| batch.tokens.codes().to_vec();
        loader
            .iter()
            .map(|batch| tokens(batch.expect("whole")))
            .collect()
    }

    fn store() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let spec = StoreSpec {
            fingerprint: "abc".into(),
            tokens: [1, 8, 8],
            text: None,
            crops: 1,
        };
        let mut writer = TokenWriter::open(folder.path(), &spec).expect("a store");
        for key in 0..7 {
            writer
                .append(key, &[&[key as u16; 64]], None)
                .expect("stored");
        }
        writer.finish().expect("on disk");
        folder
    }

    #[test]
    fn batches_have_one_order_at_first_and_all_four_after_wherever_training_goes_on() {
        let folder = store();
        let orders = |given: u64| -> Vec<Order> {
            let loader: &dyn DataLoader<RenderBatch> = &loader(folder.path(), given);
            let batches = (0..8).flat_map(|_| loader.iter());
            batches
                .map(|batch| batch.expect("whole").route.steps()[0].order)
                .collect()
        };
        let all = orders(0);
        assert_eq!(all[..6], [Order::RightDown; 6]);
        let later: HashSet<Order> = all[6..].iter().copied().collect();
        assert_eq!(later, HashSet::from(Order::ALL));
        assert_eq!(orders(5)[..30], all[5..35]);
    }

    #[test]
    fn held_out_batches_are_the_same_each_time_and_have_the_orders_in_turn() {
        let folder = store();
        let source = loader(folder.path(), 0).source;
        let source = Arc::into_inner(source).expect("one owner");
        let source = source.into_inner().expect("no holder panics").held_out();
        let all = HeldOut::new(source, 4);
        let orders = || -> Vec<Order> {
            let batches = all.iter();
            batches
                .map(|batch| batch.expect("whole").route.steps()[0].order)
                .collect()
        };
        assert_eq!(orders(), Order::ALL);
        assert_eq!(stretch(&all), stretch(&all));
    }

    #[test]
    fn stretches_follow_each_other_from_any_batch_and_slices_are_parts_of_them() {
        let folder = store();
        let whole = loader(folder.path(), 0);
        let [first, second] = [stretch(&whole), stretch(&whole)];
        assert_eq!([first.len(), second.len(), whole.num_items()], [5; 3]);
        assert_ne!(first, second);
        assert_eq!(whole.given(), 10);
        // A training that was interrupted after three batches.
        let late = loader(folder.path(), 3);
        assert_eq!(
            [stretch(&late), stretch(&late)],
            [first[3..].to_vec(), second.clone()]
        );
        let parts = loader(folder.path(), 0);
        let parts = [parts.slice(0, 2), parts.slice(2, 5)];
        for expected in [first, second] {
            let found: Vec<_> = parts
                .iter()
                .flat_map(|part| stretch(part.as_ref()))
                .collect();
            assert_eq!(found, expected);
        }
    }
}
