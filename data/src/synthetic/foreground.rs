//! Lake or meadow, and the whole picture put together.

use super::backdrop::Backdrop;
use super::noise::{noise, rough, smooth};
use super::palette::{Color, GRASS, mixed, scaled};
use super::scene::Scene;

/// Height of the bank on the far side of a lake.
const FAR_BANK: f64 = 0.012;

/// A picture in the making.
struct Canvas {
    w: usize,
    h: usize,
    colors: Vec<Color>,
}

/// All pixels of a moment, row by row.
pub(super) fn paint(scene: &Scene, w: usize, h: usize, seconds: f64) -> Vec<Color> {
    let mut canvas = Canvas {
        w,
        h,
        colors: vec![[0.0; 3]; w * h],
    };
    let shore_row = canvas.paint_backdrop(scene, seconds);
    canvas.paint_ground(scene, shore_row, seconds);
    canvas.paint_trees(scene);
    canvas.colors
}

impl Canvas {
    fn aspect(&self) -> f64 {
        self.w as f64 / self.h as f64
    }

    fn pixel(&self) -> f64 {
        1.0 / self.h as f64
    }

    fn u(&self, x: usize) -> f64 {
        (x as f64 + 0.5 - 0.5 * self.w as f64) / self.h as f64
    }

    fn v(&self, y: usize) -> f64 {
        (y as f64 + 0.5) / self.h as f64
    }

    /// Gives the first row whose middle is below the shore.
    fn paint_backdrop(&mut self, scene: &Scene, seconds: f64) -> usize {
        let backdrop = Backdrop::new(scene, self.aspect(), self.pixel(), seconds);
        let shore_row = (0..self.h)
            .find(|&y| self.v(y) >= scene.shore)
            .unwrap_or(self.h);
        for x in 0..self.w {
            let rows = (0..shore_row).map(|y| self.v(y));
            for (y, color) in backdrop.column(self.u(x), rows).into_iter().enumerate() {
                self.colors[y * self.w + x] = color;
            }
        }
        shore_row
    }

    fn paint_ground(&mut self, scene: &Scene, shore_row: usize, seconds: f64) {
        // Rows from here on belong to the far bank, in part.
        let bank_row = shore_row.saturating_sub((2.5 * FAR_BANK * self.h as f64) as usize + 1);
        for y in bank_row..self.h {
            for x in 0..self.w {
                let (u, v, at) = (self.u(x), self.v(y), y * self.w + x);
                let Some(speed) = scene.ripples() else {
                    if y >= shore_row {
                        self.colors[at] = meadow(scene, u, v);
                    }
                    continue;
                };
                if y >= shore_row {
                    self.colors[at] = self.lake(scene, shore_row, (u, v), speed * seconds);
                }
                let far_top =
                    scene.shore - FAR_BANK * (1.0 + rough(scene.seed ^ 21, u * 9.0, 0.0, 4));
                let pixel = self.pixel();
                let far = smooth(-0.5, 0.5, (v - far_top) / pixel)
                    * smooth(0.5, -0.5, (v - scene.shore - 0.004) / pixel);
                let near_top = near_bank(scene, u);
                let near = smooth(-0.5, 0.5, (v - near_top) / pixel);
                let bank = scene.palette.lit(scaled(GRASS, 0.5));
                self.colors[at] = mixed(self.colors[at], bank, far);
                self.colors[at] = mixed(self.colors[at], meadow(scene, u, v), near);
            }
        }
    }

    /// The land upside down in moving water, the more of its own color the nearer it is.
    fn lake(&self, scene: &Scene, shore_row: usize, (u, v): (f64, f64), phase: f64) -> Color {
        let depth = v - scene.shore;
        let (x, y) = plane(u, depth);
        let wave = |seed: u64, phase: f64| noise(scene.seed ^ seed, 1.3 * x, 3.0 * y + phase);
        let sway = 0.010 + 0.05 * depth;
        let mirror_u = u + sway * wave(31, phase);
        let mirror_v = scene.shore - 1.3 * depth + 0.6 * sway * wave(32, phase);
        let mirrored = self.at(mirror_u, mirror_v, shore_row);
        let deep = mixed(
            mirrored,
            scene.palette.water,
            0.24 + 0.5 * smooth(0.05, 0.4, depth),
        );
        // Moving ripples catch more light than a calm lake.
        let strength = if phase == 0.0 && scene.ripples() == Some(0.0) {
            0.12
        } else {
            0.45
        };
        let glint = wave(33, 1.3 * phase) * smooth(0.0, 0.04, depth);
        match glint > 0.0 {
            true => mixed(deep, scene.palette.horizon, strength * glint),
            false => scaled(deep, 1.0 + 0.8 * strength * glint),
        }
    }

    /// The color at a place above the shore, linear between pixels.
    fn at(&self, u: f64, v: f64, shore_row: usize) -> Color {
        if shore_row == 0 {
            return [0.0; 3];
        }
        let x = (u * self.h as f64 + 0.5 * self.w as f64 - 0.5).clamp(0.0, (self.w - 1) as f64);
        let y = (v * self.h as f64 - 0.5).clamp(0.0, (shore_row - 1) as f64);
        let (left, top) = (x as usize, y as usize);
        let (right, bottom) = ((left + 1).min(self.w - 1), (top + 1).min(shore_row - 1));
        let color = |x: usize, y: usize| self.colors[y * self.w + x];
        let across = x.fract();
        let upper = mixed(color(left, top), color(right, top), across);
        let lower = mixed(color(left, bottom), color(right, bottom), across);
        mixed(upper, lower, y.fract())
    }

    fn paint_trees(&mut self, scene: &Scene) {
        let (aspect, pixel) = (self.aspect(), self.pixel());
        for tree in &scene.trees {
            let [left, right, top, bottom] = tree.bounds(aspect);
            let column = |u: f64| {
                (u * self.h as f64 + 0.5 * self.w as f64).clamp(0.0, self.w as f64) as usize
            };
            let row = |v: f64| (v * self.h as f64).clamp(0.0, self.h as f64) as usize;
            let columns = column(left - pixel)..(column(right + pixel) + 1).min(self.w);
            for y in row(top)..(row(bottom) + 1).min(self.h) {
                for x in columns.clone() {
                    let (cover, color) =
                        tree.at(self.u(x), self.v(y), aspect, pixel, &scene.palette);
                    let at = y * self.w + x;
                    self.colors[at] = mixed(self.colors[at], color, cover);
                }
            }
        }
    }
}

/// Places of the ground seen from above, from those of the picture: far things are small.
fn plane(u: f64, depth: f64) -> (f64, f64) {
    let near = 0.09 + depth;
    (u / near, -1.0 / near)
}

/// The edge of the near bank: where trees stand in front of a lake.
fn near_bank(scene: &Scene, u: f64) -> f64 {
    match scene.trees.is_empty() {
        true => 2.0,
        false => 0.920 - 0.015 * rough(scene.seed ^ 41, u * 2.5, 0.0, 3) - 0.10 * u * u,
    }
}

/// Grass, in patches that grow with nearness.
fn meadow(scene: &Scene, u: f64, v: f64) -> Color {
    let depth = v - scene.shore;
    let (x, y) = plane(u, depth.max(0.0));
    let fades = smooth(-0.02, 0.12, depth);
    let patches = rough(scene.seed ^ 51, 1.5 * x, 2.5 * y, 3);
    let blades = noise(scene.seed ^ 52, u * 160.0, v * 70.0);
    let dry = smooth(0.1, 0.6, rough(scene.seed ^ 53, 0.8 * x, 1.2 * y, 2));
    let color = mixed(GRASS, [158.0, 150.0, 74.0], 0.5 * dry * fades);
    let light = 0.98 - 0.32 * depth + fades * (0.14 * patches + 0.05 * blades);
    scene.palette.lit(scaled(color, light))
}
