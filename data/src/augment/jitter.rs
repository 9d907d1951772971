//! Colors changed a little.

use super::crop::between;
use crate::Picture;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Changes brightness, contrast, saturation and hue, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ColorJitter {
    /// Brightness is multiplied by 1 plus or minus up to this.
    pub brightness: f64,
    /// The distance to the mean gray is multiplied by 1 plus or minus up to this.
    pub contrast: f64,
    /// The distance to each pixel's gray is multiplied by 1 plus or minus up to this.
    pub saturation: f64,
    /// Colors are turned by up to this share of the color circle, either way.
    pub hue: f64,
}

impl Default for ColorJitter {
    /// not in the paper: the strengths. Ours stay within what a camera does between two shots.
    fn default() -> Self {
        Self {
            brightness: 0.1,
            contrast: 0.1,
            saturation: 0.1,
            hue: 0.02,
        }
    }
}

impl ColorJitter {
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Jitter {
        let mut around =
            |middle: f64, strength: f64| between(middle - strength, middle + strength, rng) as f32;
        Jitter {
            brightness: around(1.0, self.brightness).max(0.0),
            contrast: around(1.0, self.contrast).max(0.0),
            saturation: around(1.0, self.saturation).max(0.0),
            hue: around(0.0, self.hue),
        }
    }
}

/// A color change that has been decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jitter {
    brightness: f32,
    contrast: f32,
    saturation: f32,
    hue: f32,
}

impl Jitter {
    pub(super) fn apply(&self, picture: &mut Picture) {
        let pixels = picture.rgb().as_chunks::<3>().0;
        let sum: f64 = pixels
            .iter()
            .map(|&pixel| f64::from(gray(pixel.map(f32::from))))
            .sum();
        let mean = (sum / pixels.len() as f64) as f32 * self.brightness;
        let turn = turn(self.hue);
        for pixel in picture.rgb_mut().as_chunks_mut::<3>().0 {
            let color = pixel.map(|byte| {
                let bright = f32::from(byte) * self.brightness;
                mean + (bright - mean) * self.contrast
            });
            let gray = gray(color);
            let color = color.map(|value| gray + (value - gray) * self.saturation);
            // A cast from float clamps.
            *pixel = turn.map(|row| {
                let value = row[0] * color[0] + row[1] * color[1] + row[2] * color[2];
                value.round() as u8
            });
        }
    }
}

/// How light a color looks (Rec. 601).
fn gray([red, green, blue]: [f32; 3]) -> f32 {
    0.299 * red + 0.587 * green + 0.114 * blue
}

/// The rotation around the axis of grays by a share of the circle: grays stay what they are.
fn turn(share: f32) -> [[f32; 3]; 3] {
    let (sine, cosine) = (share * std::f32::consts::TAU).sin_cos();
    let even = (1.0 - cosine) / 3.0;
    let odd = sine / 3.0f32.sqrt();
    let (same, next, last) = (cosine + even, even - odd, even + odd);
    [[same, next, last], [last, same, next], [next, last, same]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    const STILL: Jitter = Jitter {
        brightness: 1.0,
        contrast: 1.0,
        saturation: 1.0,
        hue: 0.0,
    };

    fn changed(jitter: Jitter, colors: &[[u8; 3]]) -> Vec<[u8; 3]> {
        let mut picture = Picture::new(colors.len(), 1, colors.as_flattened().to_vec());
        jitter.apply(&mut picture);
        picture.rgb().as_chunks::<3>().0.to_vec()
    }

    #[test]
    fn no_change_changes_no_byte() {
        let colors: Vec<[u8; 3]> = (0..=255).map(|byte| [byte, 255 - byte, byte / 2]).collect();
        assert_eq!(changed(STILL, &colors), colors);
    }

    #[test]
    fn each_part_does_what_it_is_called() {
        let half = |part: fn(&mut Jitter)| {
            let mut jitter = STILL;
            part(&mut jitter);
            jitter
        };
        let dim = half(|jitter| jitter.brightness = 0.5);
        assert_eq!(changed(dim, &[[200, 100, 0]]), [[100, 50, 0]]);
        let even = half(|jitter| jitter.contrast = 0.5);
        assert_eq!(changed(even, &[[0; 3], [200; 3]]), [[50; 3], [150; 3]]);
        let pale = half(|jitter| jitter.saturation = 0.0);
        assert_eq!(changed(pale, &[[255, 0, 0]]), [[76; 3]]);
        let third = half(|jitter| jitter.hue = 1.0 / 3.0);
        assert_eq!(
            changed(third, &[[255, 0, 0], [9; 3]]),
            [[0, 255, 0], [9; 3]]
        );
        let bright = half(|jitter| jitter.brightness = 3.0);
        assert_eq!(changed(bright, &[[200, 100, 0]]), [[255, 255, 0]]);
    }

    #[test]
    fn draws_stay_within_their_strength() {
        let mut rng = StdRng::seed_from_u64(1);
        let step = ColorJitter::default();
        for _ in 0..500 {
            let jitter = step.draw(&mut rng);
            assert!((0.899..=1.101).contains(&jitter.brightness));
            assert!((-0.0201..=0.0201).contains(&jitter.hue));
        }
    }
}
