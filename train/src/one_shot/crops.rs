//! Random crops of the picture: with the one-shot augmentations (page §6), or cut out as they are.

use nuwa_data::Picture;
use nuwa_data::augment::{Pipeline, Upright};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// An endless source of crops.
pub(super) struct Crops<'a> {
    picture: &'a Picture,
    way: Way,
    rng: StdRng,
}

enum Way {
    Augmented(Pipeline),
    /// Squares that begin at multiples of `grid_px`, in one of the ways a square can lie.
    Cut {
        side_px: usize,
        grid_px: usize,
        upright: Upright,
    },
}

impl<'a> Crops<'a> {
    /// Gives augmented square crops of `side_px` pixels.
    pub(super) fn new(picture: &'a Picture, side_px: usize, upright: Upright, seed: u64) -> Self {
        let way = Way::Augmented(Pipeline::one_shot(side_px, upright));
        Self::of_way(picture, way, seed)
    }

    /// Gives squares of `side_px` pixels as they are, from places at multiples of `grid_px`, mirrored
    /// at random, and turned if nothing in the picture must stay up.
    ///
    /// ours: a small renderer learns what lies beside what from these. Turned, sheared and scaled
    /// freely, no two crops have a row of tokens in common, and all it learns in hours is how often
    /// each code comes.
    pub(super) fn cut(
        picture: &'a Picture,
        side_px: usize,
        grid_px: usize,
        upright: Upright,
        seed: u64,
    ) -> Self {
        let way = Way::Cut {
            side_px,
            grid_px,
            upright,
        };
        Self::of_way(picture, way, seed)
    }

    fn of_way(picture: &'a Picture, way: Way, seed: u64) -> Self {
        Self {
            picture,
            way,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Gives the next `n` crops.
    pub(super) fn take(&mut self, n: usize) -> Vec<Picture> {
        (0..n).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> Picture {
        let rng = &mut self.rng;
        match &self.way {
            Way::Augmented(pipeline) => pipeline.apply(self.picture, rng),
            Way::Cut {
                side_px,
                grid_px,
                upright,
            } => {
                let mut start = |length: usize| {
                    let places = (length - side_px) / grid_px + 1;
                    rng.random_range(0..places) * grid_px
                };
                let (x, y) = (start(self.picture.w()), start(self.picture.h()));
                let mut crop = self.picture.crop(x, y, *side_px, *side_px).to_image();
                if rng.random() {
                    crop = crop.fliph();
                }
                if *upright == Upright::Free {
                    crop = match rng.random_range(0..4) {
                        0 => crop,
                        1 => crop.rotate90(),
                        2 => crop.rotate180(),
                        _ => crop.rotate270(),
                    };
                }
                Picture::new(*side_px, *side_px, crop.into_rgb8().into_raw())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_out_squares_lie_on_the_grid_in_all_eight_ways_or_two() {
        // Each pixel tells where it is.
        let rgb = (0..40).flat_map(|y| (0..60).flat_map(move |x| [x, y, 7]));
        let picture = Picture::new(60, 40, rgb.collect());
        for (upright, ways) in [(Upright::Free, 8), (Upright::Kept, 2)] {
            let mut crops = Crops::cut(&picture, 32, 4, upright, 1);
            let mut seen = std::collections::BTreeSet::new();
            let mut starts = std::collections::BTreeSet::new();
            for crop in crops.take(400) {
                let corners = [(0, 0), (31, 0), (0, 31), (31, 31)].map(|(x, y)| crop.pixel(x, y));
                let [left, top] = [0, 1].map(|axis| {
                    let places = corners.iter().map(|pixel| pixel[axis]);
                    places.min().expect("four corners")
                });
                assert!(left % 4 == 0 && top % 4 == 0, "{left} {top}");
                starts.insert((left, top));
                seen.insert(corners.map(|[x, y, _]| (x - left, y - top)));
            }
            assert_eq!(seen.len(), ways);
            assert_eq!(starts.len(), 8 * 3, "every place of the grid");
        }
    }
}
