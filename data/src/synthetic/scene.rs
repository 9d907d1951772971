//! A landscape: what it shows, where everything lies, and its pictures.

use super::FPS;
use super::attributes::{Attributes, Clouds, Land, Sun, Trees, Water};
use super::foreground;
use super::noise::{Dice, rough};
use super::palette::{Color, Palette};
use super::ridge::{Ridge, Shape};
use super::trees::Tree;
use crate::Picture;

/// How fast clouds drift, in heights of the picture per second.
const DRIFT: f64 = 0.3;
/// How fast the sun rises and sets, likewise.
const SINK: f64 = 0.2;
/// How far the sun goes in a clip of five frames.
const PATH: f64 = 0.8 * SINK;
/// The upper edge of the room that the sun has.
const SUN_TOP: f64 = 0.085;

/// A landscape that can be drawn at any size and moment.
#[derive(Debug, Clone)]
pub struct Scene {
    pub(super) attributes: Attributes,
    pub(super) seed: u64,
    pub(super) palette: Palette,
    /// Where land meets lake or meadow.
    pub(super) shore: f64,
    /// From the farthest to the nearest.
    pub(super) ridges: Vec<Ridge>,
    /// Noise above this is cloud.
    pub(super) cloud_level: f64,
    sun: SunPlace,
    pub(super) trees: Vec<Tree>,
}

/// Where the sun is, at any moment.
#[derive(Debug, Clone, Copy)]
struct SunPlace {
    /// From the left edge (-0.5) to the right one (0.5).
    across: f64,
    radius: f64,
    /// From the top of its room (0) to the land (1), where it does not move.
    down: f64,
}

/// Sun or moon at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disc {
    pub(super) u: f64,
    pub(super) v: f64,
    pub(super) radius: f64,
}

/// Purposes of the rows of random numbers of one seed.
mod purpose {
    pub(super) const ATTRIBUTES: u64 = 1;
    pub(super) const PLACES: u64 = 2;
    pub(super) const WORDS: u64 = 3;
}

impl Scene {
    /// The landscape of a seed, standing still.
    #[must_use]
    pub fn of_picture(seed: u64) -> Self {
        let dice = &mut Dice::new(seed, purpose::ATTRIBUTES);
        Self::of(Attributes::of_picture(dice), seed)
    }

    /// The landscape of a seed, in which things may move.
    #[must_use]
    pub fn of_film(seed: u64) -> Self {
        let dice = &mut Dice::new(seed, purpose::ATTRIBUTES);
        Self::of(Attributes::of_film(dice), seed)
    }

    /// A landscape with the given attributes; the seed decides the rest.
    #[must_use]
    pub fn of(attributes: Attributes, seed: u64) -> Self {
        let dice = &mut Dice::new(seed, purpose::PLACES);
        let shore = dice.between(0.60, 0.66);
        let ridges = ridges(attributes.land, shore, dice);
        let sun = SunPlace {
            across: dice.between(-0.30, 0.30),
            radius: dice.between(0.046, 0.060),
            down: dice.between(0.1, 0.9),
        };
        let trees = match attributes.trees {
            Trees::None => Vec::new(),
            Trees::Some => Tree::grove(dice),
        };
        let palette = Palette::of(attributes.sky).varied(dice);
        let mut scene = Self {
            attributes,
            seed: dice.seed(),
            palette,
            shore,
            ridges,
            cloud_level: 0.0,
            sun,
            trees,
        };
        scene.cloud_level = scene.level_of_clouds(dice.between(0.58, 0.70));
        scene
    }

    /// What it shows.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        self.attributes
    }

    /// What it shows, in words; the seed picks the order of words.
    #[must_use]
    pub fn caption(&self) -> String {
        let mut dice = Dice::new(self.seed, purpose::WORDS);
        self.attributes.caption(dice.seed())
    }

    /// The picture of a moment.
    ///
    /// # Units
    ///
    /// `w` and `h` in pixels, `seconds` from the beginning of the clip.
    ///
    /// # Panics
    ///
    /// If a side is 0.
    #[must_use]
    pub fn render(&self, w: usize, h: usize, seconds: f64) -> Picture {
        assert!(w > 0 && h > 0, "a picture of {w}x{h} pixels");
        let canvas = foreground::paint(self, w, h, seconds);
        let byte = |part: f64| part.round().clamp(0.0, 255.0) as u8;
        Picture::new(
            w,
            h,
            canvas
                .into_iter()
                .flat_map(|color: Color| color.map(byte))
                .collect(),
        )
    }

    /// The pictures of a clip, [`FPS`] a second.
    ///
    /// # Panics
    ///
    /// If a side is 0.
    #[must_use]
    pub fn clip(&self, w: usize, h: usize, n_frames: usize) -> Vec<Picture> {
        (0..n_frames)
            .map(|frame| self.render(w, h, frame as f64 / FPS))
            .collect()
    }

    /// Sun or moon in a picture `aspect` times as wide as high.
    pub(super) fn disc(&self, aspect: f64, seconds: f64) -> Option<Disc> {
        let SunPlace {
            across,
            radius,
            down,
        } = self.sun;
        let u = across * aspect;
        let edge = |u: f64| {
            self.ridges
                .iter()
                .map(|ridge| ridge.top(u))
                .fold(1.0, f64::min)
        };
        let land = [-radius, 0.0, radius].map(|du| edge(u + du));
        let land = land.into_iter().fold(1.0, f64::min);
        // Its lowest place, clear of the land.
        let lowest = land - 1.25 * radius;
        let v = match self.attributes.sun {
            Sun::None => return None,
            Sun::Still => SUN_TOP + (lowest - SUN_TOP) * down,
            Sun::Setting => lowest - PATH + SINK * seconds,
            Sun::Rising => lowest - SINK * seconds,
        };
        Some(Disc { u, v, radius })
    }

    /// Noise of the clouds at a place, standing still.
    pub(super) fn cloud_noise(&self, u: f64, v: f64) -> f64 {
        rough(self.seed ^ 0xc10d, u * 2.6, v * 6.5, 5)
    }

    /// How far the clouds have gone.
    pub(super) fn drift(&self, seconds: f64) -> f64 {
        match self.attributes.clouds {
            Clouds::Left => -DRIFT * seconds,
            Clouds::Right => DRIFT * seconds,
            Clouds::None | Clouds::Still => 0.0,
        }
    }

    /// Whether there is a lake, and how fast its ripples move.
    pub(super) fn ripples(&self) -> Option<f64> {
        match self.attributes.water {
            Water::None => None,
            Water::Still => Some(0.0),
            Water::Rippling => Some(2.2),
        }
    }

    /// The level that leaves the given share of the sky clear.
    fn level_of_clouds(&self, clear: f64) -> f64 {
        let place = |i: i32| f64::from(i % 40) / 40.0 * 1.1 - 0.55;
        let down = |i: i32| 0.03 + 0.28 * f64::from(i / 40) / 12.0;
        let mut values: Vec<f64> = (0..480)
            .map(|i| self.cloud_noise(place(i), down(i)))
            .collect();
        values.sort_by(f64::total_cmp);
        values[(clear * 480.0) as usize]
    }
}

/// Far and near rows of land. Together they leave no gap above the shore.
fn ridges(land: Land, shore: f64, dice: &mut Dice) -> Vec<Ridge> {
    let mut row = |shape, foot: f64, rise: f64, bumps: f64| {
        let bumps = bumps * dice.between(0.85, 1.15);
        Ridge::new(shape, foot, rise, bumps, dice)
    };
    match land {
        Land::Hills => vec![
            row(Shape::Round, shore - 0.05, 0.12, 2.2),
            row(Shape::Round, shore - 0.02, 0.10, 2.0),
            row(Shape::Round, shore + 0.01, 0.07, 1.6),
        ],
        Land::Mountains | Land::SnowyMountains => vec![
            row(Shape::Jagged, shore - 0.06, 0.20, 2.4),
            row(Shape::Jagged, shore - 0.01, 0.14, 2.6),
            row(Shape::Round, shore + 0.01, 0.035, 5.0),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_shows_one_scene_at_any_size() {
        for seed in 0..12 {
            let scene = Scene::of_picture(seed);
            assert_eq!(
                scene.render(64, 64, 0.0),
                Scene::of_picture(seed).render(64, 64, 0.0)
            );
            let psnr = scene
                .render(512, 512, 0.0)
                .resize(64, 64)
                .psnr(&scene.render(64, 64, 0.0));
            assert!(psnr > 24.0, "seed {seed}: {psnr:.1} dB");
        }
        let other = Scene::of_picture(1).render(64, 64, 0.0);
        assert!(Scene::of_picture(2).render(64, 64, 0.0).psnr(&other) < 24.0);
    }

    #[test]
    fn a_clip_moves_only_where_the_caption_says() {
        let still = Scene::of_film(3).attributes().still();
        let clip = Scene::of(still, 3).clip(48, 32, 3);
        assert_eq!(clip[0], clip[2]);
        let moving = Attributes {
            clouds: Clouds::Left,
            ..still
        };
        let clip = Scene::of(moving, 3).clip(48, 32, 3);
        assert_ne!(clip[0], clip[2]);
        assert_eq!(clip[1], Scene::of(moving, 3).render(48, 32, 0.2));
    }

    #[test]
    fn sizes_of_all_kinds_are_drawn() {
        for (w, h) in [(1, 1), (1, 40), (300, 7), (33, 64)] {
            let picture = Scene::of_film(5).render(w, h, 1.0);
            assert_eq!((picture.w(), picture.h()), (w, h));
        }
    }
}
