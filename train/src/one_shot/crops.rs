//! Random crops of the picture with the one-shot augmentations (page §6).

use nuwa_data::Picture;
use nuwa_data::augment::{Pipeline, Upright};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// An endless source of crops.
pub(super) struct Crops<'a> {
    picture: &'a Picture,
    pipeline: Pipeline,
    rng: StdRng,
}

impl<'a> Crops<'a> {
    /// Gives square crops of `side_px` pixels.
    pub(super) fn new(picture: &'a Picture, side_px: usize, upright: Upright, seed: u64) -> Self {
        let pipeline = Pipeline::one_shot(side_px, upright);
        Self {
            picture,
            pipeline,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Gives the next `n` crops.
    pub(super) fn take(&mut self, n: usize) -> Vec<Picture> {
        (0..n)
            .map(|_| self.pipeline.apply(self.picture, &mut self.rng))
            .collect()
    }
}
