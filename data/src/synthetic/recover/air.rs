//! The clear sky of a picture, as it would be without clouds and land.

use super::super::backdrop::glow;
use super::super::palette::{Color, Palette, mixed};
use super::{Found, ROWS, SUNNY, Small, apart};
use std::ops::Range;

/// The sky without clouds.
pub(super) struct Air {
    pub(super) palette: Palette,
    pub(super) sun: Option<Found>,
    /// What this picture's sky differs from the palette by, high up and low down.
    offsets: [Color; 2],
}

impl Air {
    pub(super) fn of(picture: &Small, palette: Palette) -> Self {
        let mut air = Self {
            palette,
            sun: Some(picture.sun(&palette)).filter(|sun| sun.pixels >= SUNNY),
            offsets: [[0.0; 3]; 2],
        };
        let offset = |rows: Range<f64>| -> Color {
            let (mut sum, mut n) = ([0.0; 3], 0.0);
            for (x, y, color) in picture.part(-0.5..0.5, rows) {
                let clear = air.clear(x, y);
                let is_clear = cover(color, &air.palette, clear).abs() < 0.3;
                if is_clear && apart(color, clear) < 30.0 && air.to_sun(x, y) > 0.15 {
                    (0..3).for_each(|part| sum[part] += color[part] - clear[part]);
                    n += 1.0;
                }
            }
            sum.map(|part| part / f64::max(n, 1.0))
        };
        air.offsets = [offset(0.02..0.18), offset(0.23..0.37)];
        air
    }

    pub(super) fn clear(&self, x: usize, y: usize) -> Color {
        let sky = sky_at(&self.palette, y);
        // From the middle of the upper rows to that of the lower ones, and on.
        let down = ((y as f64 + 0.5) / ROWS as f64 - 0.10) / 0.20;
        let offset = mixed(self.offsets[0], self.offsets[1], down.clamp(-0.5, 1.75));
        let sky = std::array::from_fn(|part| sky[part] + offset[part]);
        mixed(sky, self.palette.disc, glow(self.to_sun(x, y)))
    }

    /// Distance from the middle of the sun, in heights; far away without one.
    pub(super) fn to_sun(&self, x: usize, y: usize) -> f64 {
        let Some(sun) = &self.sun else { return 9.0 };
        (x as f64 - sun.x).hypot(y as f64 - sun.y) / ROWS as f64
    }
}

/// The clear sky in a row, as the palette has it; the land's foot is at 0.55 on average.
pub(super) fn sky_at(palette: &Palette, y: usize) -> Color {
    palette.sky((y as f64 + 0.5) / ROWS as f64 / 0.55)
}

/// How far a color has gone from a clear sky towards a cloud.
pub(super) fn cover(color: Color, palette: &Palette, clear: Color) -> f64 {
    let cloud = mixed(palette.clouds[0], palette.clouds[1], 0.3);
    let way: Color = std::array::from_fn(|part| cloud[part] - clear[part]);
    let length: f64 = way.iter().map(|part| part * part).sum();
    let gone: f64 = (0..3)
        .map(|part| (color[part] - clear[part]) * way[part])
        .sum();
    gone / f64::max(length, 1.0)
}
