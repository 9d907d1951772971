//! The upper edge of a row of hills or mountains.

use super::noise::{Dice, noise, rough};

/// Samples by which a ridge is brought to its height.
const SAMPLES: i32 = 160;

/// The shape of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Peaks and notches.
    Jagged,
    /// Soft curves.
    Round,
}

/// One row of hills or mountains.
#[derive(Debug, Clone)]
pub(super) struct Ridge {
    pub(super) seed: u64,
    pub(super) shape: Shape,
    /// Where it stands: its lowest edge.
    pub(super) foot: f64,
    /// From there to its highest peak.
    rise: f64,
    /// Bumps per height of the picture.
    bumps: f64,
    /// The lowest value of the raw curve near the middle, and how far the highest is above it.
    range: (f64, f64),
}

impl Ridge {
    /// A ridge whose peaks near the middle of the picture reach `rise` above its `foot`.
    pub(super) fn new(shape: Shape, foot: f64, rise: f64, bumps: f64, dice: &mut Dice) -> Self {
        let mut ridge = Self {
            seed: dice.seed(),
            shape,
            foot,
            rise,
            bumps,
            range: (0.0, 1.0),
        };
        let raw = (-SAMPLES..=SAMPLES).map(|i| ridge.raw(0.5 * f64::from(i) / f64::from(SAMPLES)));
        let (low, high) = raw.fold((f64::MAX, f64::MIN), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        ridge.range = (low, high - low);
        ridge
    }

    /// How far down the edge is at `u`.
    pub(super) fn top(&self, u: f64) -> f64 {
        let (low, span) = self.range;
        let share = ((self.raw(u) - low) / span).clamp(-0.3, 1.1);
        self.foot - self.rise * share
    }

    /// Height of a point above the foot, 1 at the highest peak.
    pub(super) fn height(&self, v: f64) -> f64 {
        (self.foot - v) / self.rise
    }

    fn raw(&self, u: f64) -> f64 {
        let x = u * self.bumps;
        match self.shape {
            Shape::Round => rough(self.seed, x, 0.0, 3),
            Shape::Jagged => {
                let fold = |octave: u64, scale: f64| {
                    let seed = self.seed.wrapping_add(octave);
                    (1.0 - noise(seed, x * scale + 3.7 * scale, 0.0).abs()) / scale
                };
                // Creases of each octave, and a broad swell below them all.
                let creases: f64 = [(0, 1.0), (1, 2.1), (2, 4.3), (3, 8.9), (4, 18.0), (5, 37.0)]
                    .into_iter()
                    .map(|(octave, scale)| fold(octave, scale))
                    .sum();
                creases + 0.8 * noise(self.seed.wrapping_add(9), 0.6 * x, 0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_peak_near_the_middle_has_the_asked_height() {
        for seed in 0..40 {
            for shape in [Shape::Jagged, Shape::Round] {
                let mut dice = Dice::new(seed, 0);
                let ridge = Ridge::new(shape, 0.6, 0.25, 3.0, &mut dice);
                let tops = (-500..=500).map(|i| ridge.top(f64::from(i) / 1000.0));
                let (high, low) = tops.fold((1.0_f64, 0.0_f64), |(high, low), top| {
                    (high.min(top), low.max(top))
                });
                assert!((high - 0.35).abs() < 0.02, "{high}");
                assert!((low - 0.6).abs() < 0.03, "{low}");
                let far = (-9000..=9000).map(|i| ridge.top(f64::from(i) / 300.0));
                assert!(far.fold(1.0, f64::min) > 0.32);
            }
        }
    }
}
