//! Random crops of a dataset for stage one. Sample `k` depends on the seed and on `k` alone.

use nuwa_data::augment::Pipeline;
use nuwa_data::dataset::{Deck, Entry};
use nuwa_data::{DataError, Picture, keyed, video};
use rand::RngExt;
use rayon::ThreadPool;
use rayon::prelude::*;

/// What crops are taken from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) entries: Vec<Entry>,
    pub(super) deck: Deck,
    pub(super) pipeline: Pipeline,
    pub(super) seed: u64,
    pub(super) batch: usize,
    /// Threads of its own: those of the global pool may all be waiting for a batch.
    pub(super) readers: ThreadPool,
}

impl Source {
    /// Gives the crops of batch number `number`; of a clip, those of one frame.
    pub(super) fn batch(&mut self, number: u64) -> Result<Vec<Picture>, DataError> {
        let n = self.batch as u64;
        let samples: Vec<(u64, usize)> = (number * n..(number + 1) * n)
            .map(|sample| (sample, self.deck.at(sample)))
            .collect();
        let crop = |&(sample, entry): &(u64, usize)| self.crop(&self.entries[entry], sample);
        self.readers
            .install(|| samples.par_iter().map(crop).collect())
    }

    fn crop(&self, entry: &Entry, sample: u64) -> Result<Picture, DataError> {
        let mut rng = keyed::rng(self.seed, &[sample]);
        let mut clip = video::read_clip(&entry.path)?;
        let frame = clip.swap_remove(rng.random_range(0..clip.len()));
        let (w, h, needed) = (frame.w(), frame.h(), self.pipeline.px);
        if w.min(h) < needed {
            let path = entry.path.clone();
            return Err(DataError::TooSmall { path, w, h, needed });
        }
        Ok(self.pipeline.apply(&frame, &mut rng))
    }
}
