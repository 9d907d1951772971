//! The sky and the land before it, down to the shore.

use super::attributes::{Clouds, Land, Sky};
use super::noise::{mixed as hashed, noise, rough, smooth};
use super::palette::{Color, GRASS, ROCK, SNOW, mixed, scaled};
use super::ridge::{Ridge, Shape};
use super::scene::{Disc, Scene};

/// Cells of the sky per height; each holds at most one star.
const STAR_CELLS: f64 = 34.0;

/// Sky and land of one moment.
pub(super) struct Backdrop<'a> {
    scene: &'a Scene,
    disc: Option<Disc>,
    drift: f64,
    /// Size of a pixel, the width of every edge.
    pixel: f64,
}

impl<'a> Backdrop<'a> {
    pub(super) fn new(scene: &'a Scene, aspect: f64, pixel: f64, seconds: f64) -> Self {
        Self {
            scene,
            disc: scene.disc(aspect, seconds),
            drift: scene.drift(seconds),
            pixel,
        }
    }

    /// One column, from the top to just below the shore.
    pub(super) fn column(&self, u: f64, rows: impl Iterator<Item = f64>) -> Vec<Color> {
        let tops: Vec<f64> = self.scene.ridges.iter().map(|ridge| ridge.top(u)).collect();
        let color = |v: f64| {
            let covers = |&top: &f64| smooth(-0.5, 0.5, (v - top) / self.pixel);
            let covered: Vec<f64> = tops.iter().map(covers).collect();
            // What the nearest land hides is not drawn.
            let first = covered.iter().rposition(|&cover| cover == 1.0);
            let mut color = match first {
                None => self.sky(u, v),
                Some(_) => [0.0; 3],
            };
            for index in first.unwrap_or(0)..tops.len() {
                if covered[index] > 0.0 {
                    let land = self.land(index, tops[index], u, v);
                    color = mixed(color, land, covered[index]);
                }
            }
            color
        };
        rows.map(color).collect()
    }

    fn sky(&self, u: f64, v: f64) -> Color {
        let Scene { palette, shore, .. } = self.scene;
        let mut color = palette.sky(v / (shore - 0.08));
        if self.scene.attributes.sky == Sky::Night {
            color = mixed(color, [235.0, 238.0, 255.0], self.star(u, v));
        }
        let mut near_sun = 0.0;
        if let Some(Disc { u: x, v: y, radius }) = self.disc {
            let distance = (u - x).hypot(v - y);
            near_sun = smooth(2.4 * radius, 0.9 * radius, distance);
            color = mixed(color, palette.disc, glow(distance));
            // Light around the rim, then the disc itself.
            color = mixed(
                color,
                palette.disc,
                0.5 * smooth(1.7 * radius, radius, distance),
            );
            let cover = smooth(0.5, -0.5, (distance - radius) / self.pixel);
            color = mixed(color, palette.disc, cover);
        }
        if self.scene.attributes.clouds == Clouds::None {
            return color;
        }
        self.under_clouds(color, u - self.drift, v, near_sun)
    }

    /// The sky behind clouds that stand at `u`. They leave the sun free, or it could not be seen.
    fn under_clouds(&self, sky: Color, u: f64, v: f64, near_sun: f64) -> Color {
        let over = self.scene.cloud_noise(u, v) - self.scene.cloud_level;
        let cover = smooth(-0.04, 0.14, over) * smooth(0.46, 0.31, v) * (1.0 - 0.85 * near_sun);
        if cover == 0.0 {
            return sky;
        }
        // Their lower sides are thicker.
        let below = self.scene.cloud_noise(u, v - 0.035) - self.scene.cloud_level;
        let [thin, thick] = self.scene.palette.clouds;
        let cloud = mixed(thin, thick, smooth(-0.05, 0.35, below));
        mixed(sky, cloud, 0.93 * cover)
    }

    /// How much of a pixel a star fills.
    fn star(&self, u: f64, v: f64) -> f64 {
        let (column, row) = ((u * STAR_CELLS).floor(), (v * STAR_CELLS).floor());
        let dice = hashed(self.scene.seed ^ hashed((column as i64 as u64) << 20 ^ row as u64));
        if !dice.is_multiple_of(5) {
            return 0.0;
        }
        let part = |shift: u32| (dice >> shift & 0xff) as f64 / 255.0;
        let x = (column + 0.25 + 0.5 * part(8)) / STAR_CELLS;
        let y = (row + 0.25 + 0.5 * part(16)) / STAR_CELLS;
        let radius = 0.0012 + 0.0014 * part(24);
        // A star smaller than a pixel is as much fainter.
        let seen = radius.max(0.5 * self.pixel);
        let distance = (u - x).hypot(v - y) / seen;
        (0.4 + 0.6 * part(32)) * (radius / seen).powi(2) * (-distance * distance).exp()
    }

    fn land(&self, index: usize, top: f64, u: f64, v: f64) -> Color {
        let scene = self.scene;
        let ridge = &scene.ridges[index];
        let color = match (scene.attributes.land, ridge.shape) {
            (Land::Hills, _) => meadow(ridge, u, v, top),
            (_, Shape::Round) => scaled(meadow(ridge, u, v, top), 0.62),
            (land, Shape::Jagged) => {
                let relief = relief(ridge, u, v);
                let rock = scaled(ROCK, relief);
                match land {
                    Land::SnowyMountains => mixed(
                        rock,
                        scaled(SNOW, 0.55 + 0.45 * relief.min(1.0)),
                        snow(ridge, u, v),
                    ),
                    _ => rock,
                }
            }
        };
        let far = [0.34, 0.12, 0.0][index.min(2)];
        // The farther and the lower, the more air is between.
        let air = far * (0.75 + 0.5 * smooth(0.9, 0.0, ridge.height(v)));
        mixed(scene.palette.lit(color), scene.palette.horizon, air)
    }
}

/// How much of the sun's color the sky takes at a distance from its middle.
pub(super) fn glow(distance: f64) -> f64 {
    0.5 * (-(distance / 0.17).powi(2)).exp()
}

/// Grass with broad stripes of light, lighter at the edge of its hill.
fn meadow(ridge: &Ridge, u: f64, v: f64, top: f64) -> Color {
    let patches = rough(ridge.seed ^ 7, u * 7.0, v * 22.0, 3);
    let edge = smooth(0.05, 0.0, v - top);
    scaled(GRASS, 0.9 + 0.16 * patches + 0.12 * edge)
}

/// Light on rock from the left: brighter where the ground falls towards it.
fn relief(ridge: &Ridge, u: f64, v: f64) -> f64 {
    let ground = |du: f64, dv: f64| {
        let (x, y) = (9.0 * (u + du), 7.0 * (v + dv));
        // Creases run down the slope, leaning to both sides.
        let lean = 1.2 * noise(ridge.seed ^ 3, 2.0 * u, 0.0);
        rough(ridge.seed ^ 5, x + lean * y, y, 4)
    };
    (0.94 + 1.5 * (ground(0.02, 0.012) - ground(0.0, 0.0))).clamp(0.62, 1.22)
}

/// How much snow lies on a mountain: all on the peaks, none at the foot, ragged between.
fn snow(ridge: &Ridge, u: f64, v: f64) -> f64 {
    let ragged = 0.42 * rough(ridge.seed ^ 11, u * 13.0, v * 9.0, 4);
    smooth(0.36, 0.48, ridge.height(v) + ragged)
}
