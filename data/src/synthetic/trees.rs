//! Conifers at the sides of the foreground.

use super::noise::{Dice, noise, smooth};
use super::palette::{Color, Palette, TREE, mixed, scaled};

/// One conifer.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    seed: u64,
    /// From the left edge of the picture (-0.5) to the right one (0.5).
    across: f64,
    root: f64,
    height: f64,
    /// Half the width of its lowest branches, as a share of its height.
    spread: f64,
    tiers: f64,
    brightness: f64,
}

impl Tree {
    /// Some trees on either side, from the farthest to the nearest.
    pub(super) fn grove(dice: &mut Dice) -> Vec<Self> {
        let mut trees = Vec::new();
        // A larger group on one side.
        let counts = dice.one_of(&[[4, 2], [2, 4], [3, 3], [5, 1], [1, 5]]);
        for (count, side) in counts.into_iter().zip([-1.0, 1.0]) {
            for _ in 0..count {
                trees.push(Self::new(side * dice.between(0.27, 0.5), dice));
            }
        }
        trees.sort_by(|a, b| a.root.total_cmp(&b.root));
        trees
    }

    fn new(across: f64, dice: &mut Dice) -> Self {
        let near = dice.between(0.0, 1.0);
        Self {
            seed: dice.seed(),
            across,
            root: 0.93 + 0.06 * near,
            height: (0.30 + 0.10 * near) * dice.between(0.9, 1.15),
            spread: dice.between(0.19, 0.25),
            tiers: dice.between(5.0, 8.0),
            brightness: dice.between(0.8, 1.15),
        }
    }

    /// Where it stands in a picture `aspect` times as wide as high: left, right, top, bottom.
    pub(super) fn bounds(&self, aspect: f64) -> [f64; 4] {
        let (u, half) = (self.across * aspect, 1.2 * self.spread * self.height);
        [u - half, u + half, self.root - self.height, self.root]
    }

    /// How much of a pixel it covers, and its color there.
    pub(super) fn at(
        &self,
        u: f64,
        v: f64,
        aspect: f64,
        pixel: f64,
        palette: &Palette,
    ) -> (f64, Color) {
        let up = (self.root - v) / self.height;
        let aside = u - self.across * aspect;
        if !(0.0..=1.0).contains(&up) {
            return (0.0, [0.0; 3]);
        }
        let crown = (up - 0.07) / 0.93;
        let half = if crown < 0.0 {
            0.025 * self.height
        } else {
            // Each tier of branches is widest at its bottom.
            let tier = (crown * self.tiers).fract();
            let ragged = 0.22 * noise(self.seed, aside.signum() * 5.0, crown * 40.0);
            let width = (1.0 - crown).powf(0.9) * (1.0 - 0.42 * tier + ragged * (1.0 - tier));
            self.spread * self.height * width
        };
        let cover = smooth(0.7, -0.7, (aside.abs() - half) / pixel);
        let needles = noise(self.seed ^ 1, u * 90.0, v * 60.0);
        let light = self.brightness
            * (1.0 - 0.25 * (aside / (half + pixel)).clamp(-1.0, 1.0) + 0.2 * needles);
        let bark = [66.0, 48.0, 38.0];
        let color = if crown < 0.0 {
            mixed(TREE, bark, 0.6)
        } else {
            TREE
        };
        (cover, palette.lit(scaled(color, light)))
    }
}
