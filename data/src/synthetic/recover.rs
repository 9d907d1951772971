//! What a picture or clip shows, read back from its pixels alone.
//!
//! ours: a judge without weights. The picture is shrunk to 64 rows, which averages noise and
//! forgives blur; each sky's colors are then compared with what is there, and the rest is told
//! apart in the light of the sky that fits best. Sizes from 32 pixels on will do, and shapes near
//! the square.

use super::FPS;
use super::attributes::{Attributes, Clouds, Land, Sky, Sun, Trees, Water};
use super::noise::smooth;
use super::palette::{Color, GRASS, Palette, ROCK, SNOW, TREE, mixed, scaled};
use crate::Picture;
use std::ops::Range;

mod air;
mod motion;

use self::air::{Air, cover, sky_at};

/// Rows of what is looked at.
const ROWS: usize = 64;
/// A share of the sky from which on there are clouds.
const CLOUDY: f64 = 0.07;
/// A share of the land from which on it is hills, and of the mountains from which on they are
/// snowy. Noise makes some snow of gray rock and of pale sky, but not that much.
const GRASSY: f64 = 0.26;
const SNOWY: f64 = 0.21;
/// A share of the sides from which on there are trees.
const WOODED: f64 = 0.06;
/// Bright pixels from which on there is a sun; the smallest has 27.
const SUNNY: f64 = 11.0;
/// Surplus of green over blue, of all light, that tells a meadow from a lake.
const GREEN: f64 = 0.15;

/// The attributes of a picture. They are the likeliest ones: any picture has some.
#[must_use]
pub fn recover(picture: &Picture) -> Attributes {
    Small::of(picture).attributes()
}

/// The attributes of a clip at [`FPS`] frames a second, with what moves.
///
/// # Panics
///
/// If there is no frame.
#[must_use]
pub fn recover_film(frames: &[Picture]) -> Attributes {
    let frames: Vec<Small> = frames.iter().map(Small::of).collect();
    let middle = frames[frames.len() / 2].attributes();
    if frames.len() < 2 {
        return middle;
    }
    let palette = Palette::of(middle.sky);
    let seconds = (frames.len() - 1) as f64 / FPS;
    Attributes {
        clouds: motion::clouds(&frames, middle, &palette),
        sun: motion::sun(&frames, &palette, seconds),
        water: motion::water(&frames, middle, &palette),
        ..middle
    }
}

/// A picture of few rows.
struct Small {
    w: usize,
    colors: Vec<Color>,
}

/// Sun or moon as it is found: how many pixels are as bright, and where their middle is.
struct Found {
    pixels: f64,
    x: f64,
    y: f64,
}

impl Small {
    fn of(picture: &Picture) -> Self {
        let w = (picture.w() * ROWS).div_ceil(picture.h());
        let span = |at: usize, of: usize, all: usize| {
            let first = at * all / of;
            first..((at + 1) * all / of).max(first + 1)
        };
        let mut colors = Vec::with_capacity(w * ROWS);
        for y in 0..ROWS {
            for x in 0..w {
                let (rows, columns) = (span(y, ROWS, picture.h()), span(x, w, picture.w()));
                let n = (rows.len() * columns.len()) as f64;
                let mut sum = [0.0; 3];
                for row in rows {
                    for column in columns.clone() {
                        let color = picture.pixel(column, row);
                        (0..3).for_each(|part| sum[part] += f64::from(color[part]));
                    }
                }
                colors.push(sum.map(|part| part / n));
            }
        }
        Self { w, colors }
    }

    fn attributes(&self) -> Attributes {
        let sky = self.sky();
        let air = Air::of(self, Palette::of(sky));
        Attributes {
            sky,
            clouds: match self.cloudiness(&air) > CLOUDY {
                true => Clouds::Still,
                false => Clouds::None,
            },
            sun: if air.sun.is_some() {
                Sun::Still
            } else {
                Sun::None
            },
            land: self.land(&air),
            water: if self.greenness(&air.palette) < GREEN {
                Water::Still
            } else {
                Water::None
            },
            trees: if self.woodedness(&air.palette) > WOODED {
                Trees::Some
            } else {
                Trees::None
            },
        }
    }

    /// Pixels of a part of the picture, with their columns and rows; `rows` in heights, `columns`
    /// from -0.5 at the left to 0.5 at the right.
    fn part(
        &self,
        columns: Range<f64>,
        rows: Range<f64>,
    ) -> impl Iterator<Item = (usize, usize, Color)> + '_ {
        let x = |at: f64| ((at + 0.5) * self.w as f64).round() as usize;
        let y = |at: f64| (at * ROWS as f64).round() as usize;
        let columns = x(columns.start)..x(columns.end).min(self.w);
        (y(rows.start)..y(rows.end)).flat_map(move |y| {
            columns
                .clone()
                .map(move |x| (x, y, self.colors[y * self.w + x]))
        })
    }

    /// The sky whose colors, of clear air, clouds and sun, come closest on the whole.
    fn sky(&self) -> Sky {
        let misfit = |sky: Sky| -> f64 {
            let palette = Palette::of(sky);
            let [thin, thick] = palette.clouds;
            self.part(-0.5..0.5, 0.02..0.28)
                .map(|(_, y, color)| {
                    let clear = sky_at(&palette, y);
                    let choices = [clear, mixed(clear, thin, 0.5), thin, thick, palette.disc];
                    // One pixel that is something else altogether must not decide.
                    nearest(color, &choices).1.min(90.0)
                })
                .sum()
        };
        let mut skies = Sky::ALL;
        skies.sort_by(|&a, &b| misfit(a).total_cmp(&misfit(b)));
        skies[0]
    }

    fn sun(&self, palette: &Palette) -> Found {
        let mut found = Found {
            pixels: 0.0,
            x: 0.0,
            y: 0.0,
        };
        for (x, y, color) in self.part(-0.4..0.4, 0.0..0.44) {
            let weight = smooth(60.0, 25.0, apart(color, palette.disc));
            found.pixels += weight;
            found.x += weight * x as f64;
            found.y += weight * y as f64;
        }
        found.x /= found.pixels.max(1e-9);
        found.y /= found.pixels.max(1e-9);
        found
    }

    /// How much of the sky is cloud, away from the sun.
    fn cloudiness(&self, air: &Air) -> f64 {
        let far = |&(x, y, _): &(usize, usize, Color)| air.to_sun(x, y) > 0.15;
        let (mut cloudy, mut n) = (0.0, 0.0);
        for (x, y, color) in self.part(-0.5..0.5, 0.02..0.30).filter(far) {
            cloudy += f64::from(cover(color, &air.palette, air.clear(x, y)) > 0.5);
            n += 1.0;
        }
        cloudy / f64::max(n, 1.0)
    }

    fn land(&self, air: &Air) -> Land {
        let palette = &air.palette;
        let kinds = [
            (Land::Hills, GRASS, [0.75, 0.95, 1.15]),
            (Land::Mountains, ROCK, [0.65, 0.9, 1.15]),
            (Land::SnowyMountains, SNOW, [0.8, 0.9, 1.0]),
        ];
        let shades = |(kind, color, lights): (Land, Color, [f64; 3])| {
            let far = [0.0, 0.12, 0.34];
            let shade =
                move |(light, far)| mixed(palette.lit(scaled(color, light)), palette.horizon, far);
            let each = lights
                .into_iter()
                .flat_map(move |light| far.map(|far| (light, far)));
            each.map(move |place| (kind, shade(place)))
        };
        let (kinds, colors): (Vec<Land>, Vec<Color>) = kinds.into_iter().flat_map(shades).unzip();
        let mut counts = [0.0; 3];
        for (x, y, color) in self.part(-0.5..0.5, 0.38..0.575) {
            let (index, distance) = nearest(color, &colors);
            let clear = air.clear(x, y);
            let cloudy = palette.clouds.map(|cloud| mixed(clear, cloud, 0.35));
            let is_land = distance < nearest(color, &[clear, cloudy[0], cloudy[1]]).1;
            let is_tree = apart(palette.unlit(color), TREE) < 45.0;
            if is_land && !is_tree && air.to_sun(x, y) > 0.12 {
                counts[kinds[index] as usize] += 1.0;
            }
        }
        let [hills, mountains, snow] = counts;
        if hills > GRASSY * (hills + mountains + snow) {
            Land::Hills
        } else if snow > SNOWY * (mountains + snow) {
            Land::SnowyMountains
        } else {
            Land::Mountains
        }
    }

    /// Surplus of green over blue before the land, of all light there.
    fn greenness(&self, palette: &Palette) -> f64 {
        let (mut surplus, mut all) = (0.0, 0.0);
        for (_, _, color) in self.part(-0.22..0.22, 0.77..0.87) {
            let [red, green, blue] = palette.unlit(color);
            surplus += green - blue;
            all += red + green + blue;
        }
        surplus / f64::max(all, 1e-9)
    }

    /// How much of the sides of the foreground is conifer.
    fn woodedness(&self, palette: &Palette) -> f64 {
        let is_tree = |color: Color| apart(palette.unlit(color), TREE) < 40.0;
        let (mut trees, mut n) = (0.0, 0.0);
        for side in [-0.5..-0.25, 0.25..0.5] {
            for (_, _, color) in self.part(side, 0.66..0.84) {
                trees += f64::from(is_tree(color));
                n += 1.0;
            }
        }
        trees / f64::max(n, 1.0)
    }
}

fn apart(a: Color, b: Color) -> f64 {
    (0..3)
        .map(|part| (a[part] - b[part]).powi(2))
        .sum::<f64>()
        .sqrt()
}

/// Which choice is nearest, and how far it is.
fn nearest(color: Color, choices: &[Color]) -> (usize, f64) {
    let distances = choices
        .iter()
        .map(|&choice| apart(color, choice))
        .enumerate();
    distances
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .expect("there is a choice")
}

#[cfg(test)]
mod tests;
