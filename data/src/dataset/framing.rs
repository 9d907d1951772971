//! Pictures of any size as frames of one size.

use crate::augment::{Augmentation, Draw, RandomHorizontalFlip, RandomResizedCrop};
use crate::{Picture, keyed};

/// What is cut out of each picture of a dataset. It is the same whenever it is asked for: it
/// depends on the seed, on the key of the picture and on the number of the crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Width of a frame in pixels.
    pub w: usize,
    /// Height of a frame in pixels.
    pub h: usize,
    /// Crops of each picture. A single one is as much of it as fits, from its middle; several are
    /// random shares of it, half of them with left and right exchanged.
    pub crops: usize,
    /// Decides about random crops.
    pub seed: u64,
}

impl Framing {
    /// The crops of a picture or clip, whose frames come first: frame `f` of crop `c` is at
    /// `c * frames + f`. All frames of a clip are cut alike.
    ///
    /// # Panics
    ///
    /// If a side or the number of crops is 0, or the frames differ in size.
    #[must_use]
    pub fn crops(&self, key: u64, clip: &[Picture]) -> Vec<Picture> {
        assert!(self.crops > 0, "no crop of each picture");
        if self.crops == 1 {
            return clip.iter().map(|frame| self.middle(frame)).collect();
        }
        let Some(first) = clip.first() else {
            return Vec::new();
        };
        let source = (first.w(), first.h());
        let draw = |crop| self.draw(key, crop, source);
        let draws = (0..self.crops).map(draw);
        draws
            .flat_map(|draw| clip.iter().map(move |frame| draw.apply(frame)))
            .collect()
    }

    /// Decides about one crop of a picture of width and height `source`.
    fn draw(&self, key: u64, crop: usize, source: (usize, usize)) -> Draw {
        // As large datasets are trained with, without changes of color: what is stored is shown
        // many times.
        let steps = [
            Augmentation::RandomResizedCrop(RandomResizedCrop::default()),
            Augmentation::RandomHorizontalFlip(RandomHorizontalFlip::default()),
        ];
        let mut rng = keyed::rng(self.seed, &[key, crop as u64]);
        Draw::new(&steps, source, (self.w, self.h), &mut rng)
    }

    /// The picture scaled until it covers the frame, and cut in the middle.
    fn middle(&self, picture: &Picture) -> Picture {
        let Self { w, h, .. } = *self;
        let scale = f64::max(w as f64 / picture.w() as f64, h as f64 / picture.h() as f64);
        let side = |length: usize, least| ((length as f64 * scale).round() as usize).max(least);
        let picture = picture.resize(side(picture.w(), w), side(picture.h(), h));
        picture.crop((picture.w() - w) / 2, (picture.h() - h) / 2, w, h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texture(w: usize, h: usize) -> Picture {
        let byte = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
        Picture::new(w, h, (0..3 * w * h).map(byte).collect())
    }

    fn framing(crops: usize) -> Framing {
        Framing {
            w: 16,
            h: 8,
            crops,
            seed: 3,
        }
    }

    #[test]
    fn a_single_crop_is_the_middle() {
        let same = framing(1).crops(0, &[texture(16, 8)]);
        assert_eq!(same, [texture(16, 8)]);
        let tall = framing(1).crops(0, &[texture(16, 12)]);
        assert_eq!(tall, [texture(16, 12).crop(0, 2, 16, 8)]);
        // Half red, half blue, at any scale.
        for scale in [1, 3, 20] {
            let mut halves = Picture::filled(8 * scale, 6 * scale, [200, 0, 0]);
            halves.paste(&Picture::filled(4 * scale, 6 * scale, [0, 0, 200]), 0, 0);
            let frames = framing(1).crops(0, &[halves]);
            assert_eq!((frames[0].w(), frames[0].h()), (16, 8));
            assert!(frames[0].pixel(1, 4)[2] > 150 && frames[0].pixel(14, 4)[0] > 150);
        }
    }

    #[test]
    fn several_crops_depend_on_seed_picture_and_number_only() {
        let picture = [texture(60, 50)];
        let crops = framing(3).crops(7, &picture);
        assert_eq!(crops.len(), 3);
        assert!(crops.iter().all(|crop| (crop.w(), crop.h()) == (16, 8)));
        assert_eq!(framing(3).crops(7, &picture), crops);
        assert_eq!(framing(5).crops(7, &picture)[..3], crops);
        assert!(crops[0] != crops[1] && crops[1] != crops[2]);
        assert_ne!(framing(3).crops(8, &picture)[0], crops[0]);
        let other = Framing {
            seed: 4,
            ..framing(3)
        };
        assert_ne!(other.crops(7, &picture)[0], crops[0]);
    }

    #[test]
    fn the_frames_of_a_clip_are_cut_alike() {
        let clip = [
            texture(30, 30),
            texture(30, 30),
            Picture::filled(30, 30, [9; 3]),
        ];
        let crops = framing(2).crops(1, &clip);
        assert_eq!(crops.len(), 6);
        for crop in crops.chunks(3) {
            assert_eq!(crop[0], crop[1]);
            assert_eq!(crop[2], Picture::filled(16, 8, [9; 3]));
        }
        assert_ne!(crops[0], crops[3]);
    }
}
