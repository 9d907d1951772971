//! What a single picture is trained with on top: Mirror, Rotation, Noise, Shear (\[A\] one-shot
//! training).

use super::crop::between;
use super::flip::sign;
use super::warp::Map;
use crate::Picture;
use rand::rngs::StdRng;
use rand::{Rng, RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// Exchanges left and right, top and bottom, each or not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mirror {
    /// How often left and right change places.
    pub left_right: f64,
    /// How often top and bottom change places.
    pub up_down: f64,
}

impl Mirror {
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Map {
        Map::scale(sign(self.left_right, rng), sign(self.up_down, rng))
    }
}

/// Turns by a random angle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rotation {
    /// The largest angle, either way.
    pub degrees: f64,
}

impl Rotation {
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Map {
        let angle = between(-self.degrees, self.degrees, rng).to_radians();
        let (sine, cosine) = angle.sin_cos();
        Map {
            right: [cosine, sine],
            down: [-sine, cosine],
        }
    }
}

/// Slants by a random angle on each axis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shear {
    /// The largest angle, either way.
    pub degrees: f64,
}

impl Default for Shear {
    /// not in the paper: the strength.
    fn default() -> Self {
        Self { degrees: 8.0 }
    }
}

impl Shear {
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Map {
        let mut slant = || between(-self.degrees, self.degrees, rng).to_radians().tan();
        Map {
            right: [1.0, slant()],
            down: [slant(), 1.0],
        }
    }
}

/// Adds Gaussian noise to every channel of every pixel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// The largest standard deviation, in steps of a byte.
    pub deviation: f64,
}

impl Default for Noise {
    /// not in the paper: the strength. Ours is at the edge of what the eye sees.
    fn default() -> Self {
        Self { deviation: 2.0 }
    }
}

impl Noise {
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Grain {
        Grain {
            deviation: between(0.0, self.deviation, rng) as f32,
            seed: rng.random(),
        }
    }
}

/// Noise that has been decided: the same seed is the same grain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grain {
    deviation: f32,
    seed: u64,
}

impl Grain {
    pub(super) fn apply(&self, picture: &mut Picture) {
        let mut rng = StdRng::seed_from_u64(self.seed);
        for pair in picture.rgb_mut().chunks_mut(2) {
            for (byte, noise) in pair.iter_mut().zip(normal_pair(&mut rng)) {
                // A cast from float clamps.
                *byte = (f32::from(*byte) + noise * self.deviation).round() as u8;
            }
        }
    }
}

/// Two independent numbers of a normal distribution (Box and Muller).
fn normal_pair(rng: &mut impl Rng) -> [f32; 2] {
    // 1 less a number below 1 is never 0, which has no logarithm.
    let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
    let (sine, cosine) = (std::f32::consts::TAU * rng.random::<f32>()).sin_cos();
    [radius * cosine, radius * sine]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_covers_all_four_cases() {
        let mut rng = StdRng::seed_from_u64(1);
        let mirror = Mirror {
            left_right: 0.5,
            up_down: 0.5,
        };
        let mut counts = [0; 4];
        for _ in 0..400 {
            let map = mirror.draw(&mut rng);
            assert_eq!([map.right[1], map.down[0]], [0.0, 0.0]);
            counts[usize::from(map.right[0] < 0.0) + 2 * usize::from(map.down[1] < 0.0)] += 1;
        }
        assert!(counts.iter().all(|&count| count > 60), "{counts:?}");
    }

    #[test]
    fn a_rotation_keeps_lengths_and_right_angles() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut widest = 0.0f64;
        for _ in 0..500 {
            let Map { right, down } = Rotation { degrees: 30.0 }.draw(&mut rng);
            assert!((right[0].hypot(right[1]) - 1.0).abs() < 1e-12);
            assert!((right[0] * down[0] + right[1] * down[1]).abs() < 1e-12);
            let degrees = right[1].atan2(right[0]).to_degrees();
            widest = widest.max(degrees.abs());
        }
        assert!((29.0..=30.0).contains(&widest), "{widest}");
    }

    #[test]
    fn a_shear_leaves_each_axis_its_length() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..100 {
            let Map { right, down } = Shear { degrees: 10.0 }.draw(&mut rng);
            assert_eq!([right[0], down[1]], [1.0, 1.0]);
            let steepest = 10.0f64.to_radians().tan();
            assert!(right[1].abs() <= steepest && down[0].abs() <= steepest);
        }
    }

    #[test]
    fn noise_has_its_deviation_and_no_bias() {
        let mut picture = Picture::filled(101, 101, [128; 3]);
        let grain = Grain {
            deviation: 6.0,
            seed: 4,
        };
        grain.apply(&mut picture);
        let differences = picture.rgb().iter().map(|&byte| f64::from(byte) - 128.0);
        let n = picture.rgb().len() as f64;
        let mean = differences.clone().sum::<f64>() / n;
        let deviation = (differences.map(|value| value * value).sum::<f64>() / n).sqrt();
        assert!(mean.abs() < 0.15, "{mean}");
        assert!((deviation - 6.0).abs() < 0.15, "{deviation}");
    }

    #[test]
    fn no_noise_changes_no_byte() {
        let mut picture = Picture::new(4, 4, (0..48).collect());
        let before = picture.clone();
        let grain = Grain {
            deviation: 0.0,
            seed: 4,
        };
        grain.apply(&mut picture);
        assert_eq!(picture, before);
    }
}
