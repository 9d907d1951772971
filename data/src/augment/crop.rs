//! How much of the picture a crop shows.

use super::warp::Map;
use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};

/// A random share of the picture at a random aspect ratio, brought to the size of the crop.
///
/// A share that does not fit beside its ratio is made smaller, not squeezed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RandomResizedCrop {
    /// The smallest share of the picture's area.
    pub least_share: f64,
    /// The largest share of the picture's area.
    pub most_share: f64,
    /// The largest ratio of width to height, and of height to width, of a square crop; that of
    /// another crop comes on top.
    pub most_ratio: f64,
}

impl Default for RandomResizedCrop {
    /// not in the paper: the ranges. These are the customary ones.
    fn default() -> Self {
        Self {
            least_share: 0.08,
            most_share: 1.0,
            most_ratio: 4.0 / 3.0,
        }
    }
}

impl RandomResizedCrop {
    /// A share of a picture, for a crop given by width and height, from whose own ratio the ratio
    /// differs.
    pub(super) fn draw(
        &self,
        (w, h): (usize, usize),
        (crop_w, crop_h): (usize, usize),
        rng: &mut impl Rng,
    ) -> Map {
        let share = between(self.least_share, self.most_share, rng);
        let ratio = between(-1.0, 1.0, rng);
        let ratio = self.most_ratio.powf(ratio) * crop_w as f64 / crop_h as f64;
        let area = share * (w * h) as f64;
        Map::scale(
            (area * ratio).sqrt() / crop_w as f64,
            (area / ratio).sqrt() / crop_h as f64,
        )
    }
}

/// The picture's own scale, times a random factor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Zoom {
    /// The largest factor, over 1 to come closer than the picture's own pixels.
    pub closest: f64,
    /// The smallest factor.
    pub furthest: f64,
}

impl Default for Zoom {
    /// not in the paper: the range, for a single picture; a fifth in both directions keeps what
    /// is shown at the size it has.
    fn default() -> Self {
        Self {
            closest: 1.25,
            furthest: 0.8,
        }
    }
}

impl Zoom {
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Map {
        // Even in the logarithm: twice as close is as likely as twice as far.
        let factor = between(self.furthest.ln(), self.closest.ln(), rng).exp();
        Map::scale(1.0 / factor, 1.0 / factor)
    }
}

/// A number between two bounds, which may be equal.
pub(super) fn between(least: f64, most: f64, rng: &mut impl Rng) -> f64 {
    least + (most - least) * rng.random::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    #[test]
    fn a_resized_crop_keeps_to_its_shares_and_ratios() {
        let mut rng = StdRng::seed_from_u64(1);
        let crop = RandomResizedCrop::default();
        let (mut least, mut most) = (f64::MAX, 0.0f64);
        for _ in 0..2000 {
            let map = crop.draw((400, 300), (100, 50), &mut rng);
            let (w, h) = (map.right[0] * 100.0, map.down[1] * 50.0);
            let share = w * h / (400.0 * 300.0);
            assert!((1.5..=8.0 / 3.0).contains(&(w / h)), "{}", w / h);
            (least, most) = (least.min(share), most.max(share));
        }
        assert!((0.08..0.1).contains(&least) && (0.98..=1.0).contains(&most));
    }

    #[test]
    fn zoom_is_a_plain_copy_at_one_and_magnifies_above() {
        let mut rng = StdRng::seed_from_u64(1);
        let one = Zoom {
            closest: 1.0,
            furthest: 1.0,
        };
        assert_eq!(one.draw(&mut rng), Map::IDENTITY);
        let twice = Zoom {
            closest: 2.0,
            furthest: 2.0,
        };
        assert!((twice.draw(&mut rng).right[0] - 0.5).abs() < 1e-12);
    }
}
