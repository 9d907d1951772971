//! Random crops of pictures, turned, tinted and distorted, for training.
//!
//! Everything that moves pixels is folded into one map and sampled once, so that a crop that is
//! zoomed, turned and sheared is blurred once and not three times. The map is placed so that it
//! reads only where the picture is: no corner is black or made up. Colors are changed afterwards,
//! in the order of the list.
//!
//! [`Pipeline::draw`] throws the dice and [`Draw::apply`] does the work, so the frames of a clip
//! can share one draw.

mod crop;
mod flip;
mod jitter;
mod oneshot;
mod warp;

pub use self::crop::{RandomResizedCrop, Zoom};
pub use self::flip::RandomHorizontalFlip;
pub use self::jitter::ColorJitter;
pub use self::oneshot::{Mirror, Noise, Rotation, Shear};

use self::jitter::Jitter;
use self::oneshot::Grain;
use self::warp::{Map, place, sample};
use crate::Picture;
use rand::Rng;
use serde::{Deserialize, Serialize};

/// One step of a [`Pipeline`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Augmentation {
    /// A share of the picture, brought to the size of the crop.
    RandomResizedCrop(RandomResizedCrop),
    /// The picture's own scale, a little closer or further away.
    Zoom(Zoom),
    /// Left and right exchanged.
    RandomHorizontalFlip(RandomHorizontalFlip),
    /// Left and right, top and bottom exchanged.
    Mirror(Mirror),
    /// Turned.
    Rotation(Rotation),
    /// Slanted.
    Shear(Shear),
    /// Brightness, contrast, saturation and hue.
    ColorJitter(ColorJitter),
    /// Grain.
    Noise(Noise),
}

/// Whether what is shown has a top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upright {
    /// It has one, and it stays up: landscapes, rooms, people.
    Kept,
    /// It has none: skies, textures, anything seen from above.
    Free,
}

/// A list of augmentations that ends in a square crop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Side of the crop in pixels.
    pub px: usize,
    /// What is done, in this order. Without any step the crop is a plain cut-out.
    pub steps: Vec<Augmentation>,
}

impl Pipeline {
    /// Plain cut-outs at random places.
    #[must_use]
    pub fn plain(px: usize) -> Self {
        let steps = Vec::new();
        Self { px, steps }
    }

    /// What large datasets are trained with: RandomResizedCrop, RandomHorizontalFlip, ColorJitter
    /// (\[A\] training details).
    #[must_use]
    pub fn standard(px: usize) -> Self {
        let steps = vec![
            Augmentation::RandomResizedCrop(RandomResizedCrop::default()),
            Augmentation::RandomHorizontalFlip(RandomHorizontalFlip::default()),
            Augmentation::ColorJitter(ColorJitter::default()),
        ];
        Self { px, steps }
    }

    /// What a single picture is trained with: Mirror, Rotation, Noise and Shear (\[A\] one-shot
    /// training) on crops near the picture's own scale.
    ///
    /// not in the paper: the ranges. Ours keep objects recognizable: at most 8 degrees of slant,
    /// noise below what the eye sees, and turns that leave the top where it is unless there is
    /// none.
    #[must_use]
    pub fn one_shot(px: usize, upright: Upright) -> Self {
        let (up_down, degrees) = match upright {
            Upright::Kept => (0.0, 8.0),
            Upright::Free => (0.5, 180.0),
        };
        let steps = vec![
            Augmentation::Zoom(Zoom::default()),
            Augmentation::Mirror(Mirror {
                left_right: 0.5,
                up_down,
            }),
            Augmentation::Rotation(Rotation { degrees }),
            Augmentation::Shear(Shear::default()),
            Augmentation::Noise(Noise::default()),
        ];
        Self { px, steps }
    }

    /// Decides at random what happens to pictures of `w` x `h` pixels.
    ///
    /// # Panics
    ///
    /// If `px` is 0 or larger than the shorter side.
    pub fn draw(&self, w: usize, h: usize, rng: &mut impl Rng) -> Draw {
        let px = self.px;
        assert!(
            px > 0 && px <= w.min(h),
            "crops of {px} px out of {w}x{h} px"
        );
        Draw::new(&self.steps, (w, h), (px, px), rng)
    }

    /// One random crop of a picture.
    ///
    /// # Panics
    ///
    /// If `px` is 0 or larger than the picture's shorter side.
    pub fn apply(&self, picture: &Picture, rng: &mut impl Rng) -> Picture {
        self.draw(picture.w(), picture.h(), rng).apply(picture)
    }
}

/// What one throw of the dice decided; the same for every frame it is applied to.
#[derive(Debug, Clone)]
pub struct Draw {
    source: (usize, usize),
    size: (usize, usize),
    map: Map,
    center: [f64; 2],
    tones: Vec<Tone>,
}

/// A change of colors that has been decided.
#[derive(Debug, Clone, Copy)]
enum Tone {
    Jitter(Jitter),
    Grain(Grain),
}

impl Draw {
    /// Decides what the steps do to pictures of width and height `source`, which end in a crop of
    /// width and height `size`; a smaller picture is magnified.
    ///
    /// # Panics
    ///
    /// If a side is 0.
    pub fn new(
        steps: &[Augmentation],
        source: (usize, usize),
        size: (usize, usize),
        rng: &mut impl Rng,
    ) -> Self {
        let sides = [source.0, source.1, size.0, size.1];
        assert!(!sides.contains(&0), "crops of {size:?} out of {source:?}");
        let mut map = Map::IDENTITY;
        let mut tones = Vec::new();
        for step in steps {
            match step {
                Augmentation::RandomResizedCrop(step) => {
                    map = map.then(step.draw(source, size, rng));
                }
                Augmentation::Zoom(step) => map = map.then(step.draw(rng)),
                Augmentation::RandomHorizontalFlip(step) => map = map.then(step.draw(rng)),
                Augmentation::Mirror(step) => map = map.then(step.draw(rng)),
                Augmentation::Rotation(step) => map = map.then(step.draw(rng)),
                Augmentation::Shear(step) => map = map.then(step.draw(rng)),
                Augmentation::ColorJitter(step) => tones.push(Tone::Jitter(step.draw(rng))),
                Augmentation::Noise(step) => tones.push(Tone::Grain(step.draw(rng))),
            }
        }
        let (map, center) = place(map, source, size, rng);
        Self {
            source,
            size,
            map,
            center,
            tones,
        }
    }

    /// The crop this draw makes of a picture.
    ///
    /// # Panics
    ///
    /// If the picture has another size than the draw was made for.
    #[must_use]
    pub fn apply(&self, picture: &Picture) -> Picture {
        assert_eq!((picture.w(), picture.h()), self.source, "size of a frame");
        let mut crop = sample(picture, self.map, self.center, self.size);
        for tone in &self.tones {
            match tone {
                Tone::Jitter(jitter) => jitter.apply(&mut crop),
                Tone::Grain(grain) => grain.apply(&mut crop),
            }
        }
        crop
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    /// Neighbors differ, no pixel is darker than 100 and none is lighter than 180.
    fn texture(w: usize, h: usize) -> Picture {
        let byte = |index: usize| 100 + (index.wrapping_mul(0x9e37_79b9) >> 13) as u8 % 81;
        Picture::new(w, h, (0..3 * w * h).map(byte).collect())
    }

    fn pipelines(px: usize) -> [Pipeline; 4] {
        [
            Pipeline::plain(px),
            Pipeline::standard(px),
            Pipeline::one_shot(px, Upright::Kept),
            Pipeline::one_shot(px, Upright::Free),
        ]
    }

    #[test]
    fn the_same_seed_gives_the_same_crop_and_another_seed_another() {
        let picture = texture(96, 64);
        for pipeline in pipelines(32) {
            let crop = |seed| pipeline.apply(&picture, &mut StdRng::seed_from_u64(seed));
            assert_eq!((crop(3).w(), crop(3).h()), (32, 32));
            assert_eq!(crop(3), crop(3));
            assert_ne!(crop(3), crop(4));
        }
    }

    #[test]
    fn a_plain_crop_is_a_cut_out_bit_for_bit() {
        let picture = texture(20, 13);
        let mut rng = StdRng::seed_from_u64(5);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..300 {
            let crop = Pipeline::plain(8).apply(&picture, &mut rng);
            let place = (0..=12)
                .flat_map(|x| (0..=5).map(move |y| (x, y)))
                .find(|&(x, y)| picture.crop(x, y, 8, 8) == crop);
            seen.insert(place.expect("the crop is somewhere in the picture"));
        }
        // 78 places: 300 draws miss one with a chance of 2 %, so most but not all must be there.
        assert!(seen.len() > 65, "{} of 78 places", seen.len());
    }

    #[test]
    fn no_crop_brings_in_a_color_from_outside() {
        let mut rng = StdRng::seed_from_u64(1);
        let flat = Picture::filled(70, 50, [140, 141, 142]);
        for degrees in [0.0, 30.0, 180.0] {
            let steps = vec![
                Augmentation::Zoom(Zoom {
                    closest: 2.0,
                    furthest: 0.3,
                }),
                Augmentation::Rotation(Rotation { degrees }),
                Augmentation::Shear(Shear { degrees: 30.0 }),
            ];
            let pipeline = Pipeline { px: 48, steps };
            for _ in 0..30 {
                let crop = pipeline.apply(&flat, &mut rng);
                assert_eq!(crop, Picture::filled(48, 48, [140, 141, 142]));
            }
        }
    }

    #[test]
    fn each_step_leaves_its_mark() {
        let picture = texture(24, 24);
        let resized = RandomResizedCrop {
            most_share: 0.5,
            ..RandomResizedCrop::default()
        };
        let closer = Zoom {
            closest: 2.0,
            furthest: 1.5,
        };
        let flip = RandomHorizontalFlip { probability: 1.0 };
        let mirror = Mirror {
            left_right: 0.0,
            up_down: 1.0,
        };
        for step in [
            Augmentation::RandomResizedCrop(resized),
            Augmentation::Zoom(closer),
            Augmentation::RandomHorizontalFlip(flip),
            Augmentation::Mirror(mirror),
            Augmentation::Rotation(Rotation { degrees: 20.0 }),
            Augmentation::Shear(Shear::default()),
            Augmentation::ColorJitter(ColorJitter::default()),
            Augmentation::Noise(Noise::default()),
        ] {
            let steps = vec![step];
            let crop = Pipeline { px: 24, steps }.apply(&picture, &mut StdRng::seed_from_u64(6));
            assert_ne!(crop, picture, "{step:?}");
        }
    }

    #[test]
    fn the_frames_of_a_clip_share_one_draw() {
        let first = texture(60, 60);
        let draw =
            Pipeline::one_shot(32, Upright::Free).draw(60, 60, &mut StdRng::seed_from_u64(2));
        assert_eq!(draw.apply(&first), draw.apply(&first));
        let second = Picture::filled(60, 60, [9; 3]);
        assert_ne!(draw.apply(&first), draw.apply(&second));
    }

    #[test]
    fn a_draw_need_not_be_square_and_may_magnify() {
        let steps = Pipeline::standard(1).steps;
        let mut rng = StdRng::seed_from_u64(4);
        for (w, h) in [(60, 40), (20, 90), (5, 5)] {
            let draw = Draw::new(&steps, (w, h), (48, 16), &mut rng);
            let crop = draw.apply(&texture(w, h));
            assert_eq!((crop.w(), crop.h()), (48, 16));
        }
        let steps = [Augmentation::RandomResizedCrop(RandomResizedCrop {
            least_share: 1.0,
            most_share: 1.0,
            most_ratio: 1.0,
        })];
        // All of a picture that has the ratio of the crop, bit for bit.
        let whole = Draw::new(&steps, (48, 16), (48, 16), &mut rng);
        assert_eq!(whole.apply(&texture(48, 16)), texture(48, 16));
    }

    #[test]
    fn a_crop_as_large_as_the_picture_is_allowed() {
        let picture = texture(40, 40);
        let mut rng = StdRng::seed_from_u64(8);
        for pipeline in pipelines(40) {
            assert_eq!(pipeline.apply(&picture, &mut rng).w(), 40);
        }
        assert_eq!(Pipeline::plain(40).apply(&picture, &mut rng), picture);
        let dot = Picture::filled(1, 1, [7; 3]);
        assert_eq!(Pipeline::plain(1).apply(&dot, &mut rng), dot);
    }
}
