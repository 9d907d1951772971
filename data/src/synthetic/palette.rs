//! The colors of each time of day. `recover` knows them too: that is how it tells skies apart.

use super::attributes::Sky;
use super::noise::Dice;

/// A color: red, green and blue, 0 to 255.
pub(super) type Color = [f64; 3];

/// The colors of one sky and of what it lights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Palette {
    /// The sky at the top of the picture.
    pub(super) zenith: Color,
    /// The sky at the horizon.
    pub(super) horizon: Color,
    /// Sun or moon.
    pub(super) disc: Color,
    /// Thin and thick parts of clouds.
    pub(super) clouds: [Color; 2],
    /// What the light leaves of each color of the land, 1 for all.
    pub(super) light: Color,
    /// Deep water.
    pub(super) water: Color,
}

/// Land in white light.
pub(super) const ROCK: Color = [112.0, 100.0, 98.0];
pub(super) const SNOW: Color = [246.0, 249.0, 255.0];
pub(super) const GRASS: Color = [104.0, 148.0, 62.0];
pub(super) const TREE: Color = [24.0, 54.0, 36.0];

impl Palette {
    /// The colors of a sky.
    pub(super) fn of(sky: Sky) -> Self {
        // Red, green and blue, as web pages write them.
        let [zenith, horizon, disc, thin, thick, light, water] = match sky {
            Sky::Blue => [
                0x38_76_cc, 0xa6_ce_f0, 0xff_ee_84, 0xfa_fb_fd, 0xce_d9_e8, 0xff_ff_ff, 0x26_5c_8c,
            ],
            Sky::Gray => [
                0x70_76_7e, 0xa6_aa_b0, 0xff_f6_ce, 0x54_5a_62, 0x3e_44_4e, 0xd4_da_e4, 0x54_60_6c,
            ],
            Sky::Orange => [
                0xe0_7c_38, 0xff_d0_80, 0xff_fc_d6, 0xc6_5c_4a, 0x96_46_4c, 0xff_d4_a4, 0x80_54_4a,
            ],
            Sky::Red => [
                0x80_14_22, 0xee_5c_3a, 0xff_e0_78, 0x56_12_2c, 0x3c_0e_26, 0xdc_98_8c, 0x5c_1c_2c,
            ],
            Sky::Purple => [
                0x42_2e_80, 0xde_8c_b8, 0xff_e8_c4, 0xec_aa_c4, 0xa6_68_a8, 0xc0_a8_da, 0x3a_2c_68,
            ],
            Sky::Night => [
                0x08_0e_2a, 0x28_3a_68, 0xf0_ee_d8, 0x4a_56_78, 0x32_3c_5c, 0x4e_5e_84, 0x0c_18_38,
            ],
        }
        .map(color);
        Self {
            zenith,
            horizon,
            disc,
            clouds: [thin, thick],
            light: light.map(|part| part / 255.0),
            water,
        }
    }

    /// The same colors a little off, as no two days are alike.
    pub(super) fn varied(mut self, dice: &mut Dice) -> Self {
        for color in [&mut self.zenith, &mut self.horizon] {
            let brightness = dice.between(-7.0, 7.0);
            for part in color {
                *part = (*part + brightness + dice.between(-5.0, 5.0)).clamp(0.0, 255.0);
            }
        }
        self
    }

    /// A color of the land in this light.
    pub(super) fn lit(&self, color: Color) -> Color {
        std::array::from_fn(|part| color[part] * self.light[part])
    }

    /// The color of the land that looks like this in this light.
    pub(super) fn unlit(&self, color: Color) -> Color {
        std::array::from_fn(|part| color[part] / self.light[part])
    }

    /// The clear sky at a share of the way from the top (0) to the horizon (1).
    pub(super) fn sky(&self, down: f64) -> Color {
        mixed(self.zenith, self.horizon, down.clamp(0.0, 1.0).powf(1.15))
    }
}

/// A color from its number: red times 65536, green times 256, blue.
fn color(number: u32) -> Color {
    let [_, red, green, blue] = number.to_be_bytes();
    [red, green, blue].map(f64::from)
}

/// From `a` (0) to `b` (1).
pub(super) fn mixed(a: Color, b: Color, share: f64) -> Color {
    std::array::from_fn(|part| a[part] + (b[part] - a[part]) * share)
}

/// Lighter or darker.
pub(super) fn scaled(color: Color, factor: f64) -> Color {
    color.map(|part| part * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_skies_come_close_even_when_they_vary() {
        let middle = |sky, seed| Palette::of(sky).varied(&mut Dice::new(seed, 0)).sky(0.3);
        for a in Sky::ALL {
            for b in Sky::ALL.into_iter().filter(|&b| b != a) {
                for seed in 0..20 {
                    let (a, b) = (middle(a, seed), middle(b, seed + 100));
                    let apart: f64 = (0..3).map(|part| (a[part] - b[part]).powi(2)).sum();
                    assert!(apart.sqrt() > 50.0, "{a:?} {b:?}");
                }
            }
        }
    }
}
