//! What is seen of the picture: crops with the one-shot augmentations (page §6), or all of it.

use nuwa_data::Picture;
use nuwa_data::augment::{Pipeline, Upright};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// An endless source of crops.
pub(super) struct Crops<'a> {
    picture: &'a Picture,
    way: Way,
    rng: StdRng,
}

enum Way {
    Augmented(Pipeline),
    Laid {
        /// Largest side of what is taken of the picture.
        most_px: usize,
        deck: Vec<Lie>,
        next: usize,
    },
}

/// How a picture lies: where it begins, and how it is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lie {
    start: [usize; 2],
    mirrored: bool,
    /// Quarters of a full turn.
    turns: usize,
}

impl Lie {
    fn of(self, picture: &Picture) -> Picture {
        let mut image = picture.to_image();
        if self.mirrored {
            image = image.fliph();
        }
        image = match self.turns {
            0 => image,
            1 => image.rotate90(),
            2 => image.rotate180(),
            _ => image.rotate270(),
        };
        let (w, h) = (image.width() as usize, image.height() as usize);
        Picture::new(w, h, image.into_rgb8().into_raw())
    }
}

impl<'a> Crops<'a> {
    /// Gives augmented square crops of `side_px` pixels.
    pub(super) fn new(picture: &'a Picture, side_px: usize, upright: Upright, seed: u64) -> Self {
        let way = Way::Augmented(Pipeline::one_shot(side_px, upright));
        Self::of_way(picture, way, seed)
    }

    /// Gives the picture as it is, mirrored, and turned if nothing in it must stay up, beginning at
    /// each place on a grid of `grid_px` within the first `stride` pixels; of a picture that is longer
    /// than `most_px`, parts of that length. In a random order, and again from its beginning.
    ///
    /// ours: a small renderer learns what lies beside what from these. Turned, sheared and scaled
    /// freely, no two crops have a row of tokens in common, and all it learns in hours is how often
    /// each code comes.
    pub(super) fn laid(
        picture: &'a Picture,
        [most_px, grid_px, stride]: [usize; 3],
        upright: Upright,
        seed: u64,
    ) -> Self {
        let starts = || (0..stride).step_by(grid_px);
        let turns = if upright == Upright::Free { 4 } else { 1 };
        let mut deck = Vec::new();
        for start in starts().flat_map(|y| starts().map(move |x| [y, x])) {
            for n in 0..2 * turns {
                let (mirrored, turns) = (n % 2 == 1, n / 2);
                deck.push(Lie {
                    start,
                    mirrored,
                    turns,
                });
            }
        }
        let way = Way::Laid {
            most_px,
            deck,
            next: 0,
        };
        let mut crops = Self::of_way(picture, way, seed);
        if let Way::Laid { deck, .. } = &mut crops.way {
            deck.shuffle(&mut crops.rng);
        }
        crops
    }

    /// How many different ones there are, if they can be counted.
    pub(super) fn count(&self) -> Option<usize> {
        match &self.way {
            Way::Laid { most_px, deck, .. }
                if self.picture.w().max(self.picture.h()) <= *most_px =>
            {
                Some(deck.len())
            }
            _ => None,
        }
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
        match &mut self.way {
            Way::Augmented(pipeline) => pipeline.apply(self.picture, rng),
            Way::Laid {
                most_px,
                deck,
                next,
            } => {
                let lie = deck[*next % deck.len()];
                *next += 1;
                let mut span = |first: usize, length: usize| {
                    let most = *most_px;
                    let beyond = length.saturating_sub(first + most);
                    let start = first + rng.random_range(0..=beyond);
                    (start, most.min(length - start))
                };
                let (y, h) = span(lie.start[0], self.picture.h());
                let (x, w) = span(lie.start[1], self.picture.w());
                lie.of(&self.picture.crop(x, y, w, h))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Each pixel tells where it is.
    fn picture() -> Picture {
        let rgb = (0..40).flat_map(|y| (0..60).flat_map(move |x| [x, y, 7]));
        Picture::new(60, 40, rgb.collect())
    }

    fn corners(crop: &Picture) -> [(u8, u8); 4] {
        let (right, below) = (crop.w() - 1, crop.h() - 1);
        [(0, 0), (right, 0), (0, below), (right, below)].map(|(x, y)| {
            let [x, y, _] = crop.pixel(x, y);
            (x, y)
        })
    }

    #[test]
    fn a_picture_lies_in_all_eight_ways_or_two_from_every_place_of_the_grid() {
        let picture = picture();
        for (upright, ways) in [(Upright::Free, 8), (Upright::Kept, 2)] {
            let mut crops = Crops::laid(&picture, [64, 4, 8], upright, 1);
            let count = crops.count().expect("countable");
            assert_eq!(count, 4 * ways);
            let mut deal = || -> Vec<_> { crops.take(count).iter().map(corners).collect() };
            let (first, again) = (deal(), deal());
            assert_eq!(first, again);
            let seen: BTreeSet<_> = first.iter().copied().collect();
            assert_eq!(seen.len(), count, "no two are alike");
            for corners in seen {
                let least = corners.into_iter().min().expect("four corners");
                assert!([0, 4].contains(&least.0) && [0, 4].contains(&least.1));
                assert!(corners.contains(&(59, 39)), "up to the last pixel");
            }
        }
    }

    #[test]
    fn of_large_pictures_parts_are_taken_everywhere() {
        let picture = picture();
        let mut crops = Crops::laid(&picture, [32, 4, 8], Upright::Kept, 1);
        assert_eq!(crops.count(), None);
        let mut starts = BTreeSet::new();
        for crop in crops.take(6000) {
            assert_eq!((crop.w(), crop.h()), (32, 32));
            starts.insert(corners(&crop).into_iter().min());
        }
        assert_eq!(starts.len(), 29 * 9);
    }
}
