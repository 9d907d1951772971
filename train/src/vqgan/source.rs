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

/// Gives the clips of as many frames, or more. Files are read only where the list does not say how
/// many they have.
///
/// # Errors
/// When one of those cannot be read.
pub(super) fn clips(entries: Vec<Entry>, frames: usize) -> Result<Vec<Entry>, DataError> {
    let clip = |entry: Entry| {
        let found = match entry.size {
            Some((_, _, found)) => found,
            None => video::read_clip(&entry.path)?.len(),
        };
        Ok((found >= frames).then_some(entry))
    };
    let clips: Result<Vec<_>, _> = entries.into_par_iter().map(clip).collect();
    Ok(clips?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_a_sample_follow_each_other_and_lie_in_one_crop() {
        let folder = tempfile::tempdir().expect("a folder");
        // Every byte grows by one from frame to frame.
        let byte = |i: usize, at: usize| ((i * i) % 200 + at) as u8;
        let frame = |at| Picture::new(20, 16, (0..3 * 20 * 16).map(|i| byte(i, at)).collect());
        let clip: Vec<Picture> = (0..5).map(frame).collect();
        let entry = |key: u64, name: &str, size| Entry {
            key,
            name: name.to_owned(),
            path: folder.path().join(name),
            caption: None,
            size,
        };
        let entries = vec![
            entry(0, "clip.apng", None),
            entry(1, "still.png", None),
            entry(2, "listed.png", Some((20, 16, 1))),
        ];
        video::write_clip(&entries[0].path, &clip).expect("written");
        clip[0].write(&entries[1].path).expect("written");
        let entries = clips(entries, 2).expect("readable");
        assert_eq!(entries.len(), 1);
        let mut source = Source {
            deck: Deck::new(1, 0),
            entries,
            pipeline: Pipeline::plain(8),
            seed: 0,
            batch: 6,
            frames: 2,
            readers: rayon::ThreadPoolBuilder::new().build().expect("threads"),
        };
        let crops = source.batch(0).expect("a batch");
        assert_eq!(crops.len(), 12);
        let mut firsts = Vec::new();
        for pair in crops.chunks(2) {
            let next: Vec<u8> = pair[0].rgb().iter().map(|byte| byte + 1).collect();
            assert_eq!(pair[1].rgb(), next);
            firsts.push(pair[0].rgb().to_vec());
        }
        firsts.dedup();
        assert!(firsts.len() > 4, "each is another one");
    }
}
