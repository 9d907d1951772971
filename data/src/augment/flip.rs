//! Left and right exchanged.

use super::warp::Map;
use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};

/// Exchanges left and right, or not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RandomHorizontalFlip {
    /// How often.
    pub probability: f64,
}

impl Default for RandomHorizontalFlip {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl RandomHorizontalFlip {
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Map {
        Map::scale(sign(self.probability, rng), 1.0)
    }
}

/// -1 with the given probability, else 1.
pub(super) fn sign(probability: f64, rng: &mut impl Rng) -> f64 {
    if rng.random::<f64>() < probability {
        -1.0
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Augmentation, Pipeline};
    use super::*;
    use crate::Picture;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    #[test]
    fn a_certain_flip_exchanges_columns_and_an_even_one_half_the_time() {
        let picture = Picture::new(3, 3, (0..27).collect());
        let mut rng = StdRng::seed_from_u64(1);
        let pipeline = |probability| {
            let step = RandomHorizontalFlip { probability };
            let steps = vec![Augmentation::RandomHorizontalFlip(step)];
            Pipeline { px: 3, steps }
        };
        let flipped = pipeline(1.0).apply(&picture, &mut rng);
        for (x, y) in [(0, 0), (1, 1), (2, 1)] {
            assert_eq!(flipped.pixel(x, y), picture.pixel(2 - x, y));
        }
        assert_eq!(pipeline(0.0).apply(&picture, &mut rng), picture);
        let even = pipeline(0.5);
        let kept = (0..400)
            .filter(|_| even.apply(&picture, &mut rng) == picture)
            .count();
        assert!((150..250).contains(&kept), "{kept}");
    }
}
