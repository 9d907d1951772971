//! Random crops of a dataset for stage one, of one frame or of several. Sample `k` depends on the seed and on `k` alone.

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
    /// Frames of a sample, which follow each other.
    pub(super) frames: usize,
    /// Threads of its own: those of the global pool may all be waiting for a batch.
    pub(super) readers: ThreadPool,
}

impl Source {
    /// Gives the crops of batch number `number`, sample after sample; the frames of a sample lie in
    /// one crop.
    pub(super) fn batch(&mut self, number: u64) -> Result<Vec<Picture>, DataError> {
        let n = self.batch as u64;
        let samples: Vec<(u64, usize)> = (number * n..(number + 1) * n)
            .map(|sample| (sample, self.deck.at(sample)))
            .collect();
        let crop = |&(sample, entry): &(u64, usize)| self.crop(&self.entries[entry], sample);
        let crops: Result<Vec<_>, _> = self
            .readers
            .install(|| samples.par_iter().map(crop).collect());
        Ok(crops?.into_iter().flatten().collect())
    }

    fn crop(&self, entry: &Entry, sample: u64) -> Result<Vec<Picture>, DataError> {
        let mut rng = keyed::rng(self.seed, &[sample]);
        let clip = read(entry, self.frames)?;
        let first = rng.random_range(0..clip.len() + 1 - self.frames);
        let frames = &clip[first..][..self.frames];
        let (w, h, needed) = (clip[0].w(), clip[0].h(), self.pipeline.px);
        if w.min(h) < needed {
            let path = entry.path.clone();
            return Err(DataError::TooSmall { path, w, h, needed });
        }
        let draw = self.pipeline.draw(w, h, &mut rng);
        Ok(frames.iter().map(|frame| draw.apply(frame)).collect())
    }
}

/// Reads a clip that must have as many frames, or more.
pub(super) fn read(entry: &Entry, frames: usize) -> Result<Vec<Picture>, DataError> {
    let clip = video::read_clip(&entry.path)?;
    if clip.len() < frames {
        return Err(DataError::TooShort {
            path: entry.path.clone(),
            found: clip.len(),
            needed: frames,
        });
    }
    Ok(clip)
}
