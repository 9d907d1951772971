//! Pixels that are missing, made up from those around them.

use super::Picture;

/// One level of a pyramid: color and how much of it is known, per pixel.
struct Level {
    w: usize,
    h: usize,
    pixels: Vec<[f32; 4]>,
}

impl Picture {
    /// Gives the picture with the pixels that are not `known` replaced by smooth ones: averages of
    /// the known pixels around them, from a pyramid in which each level has half the resolution (push and pull,
    /// Gortler et al., "The Lumigraph", 1996). Without any known pixel all become black.
    ///
    /// # Panics
    ///
    /// If there is not one flag for every pixel.
    #[must_use]
    pub fn filled_in(&self, known: &[bool]) -> Self {
        let (w, h) = (self.w(), self.h());
        assert_eq!(known.len(), w * h, "one flag per pixel");
        let pixel = |(rgb, &known): (&[u8], &bool)| match known {
            true => [f32::from(rgb[0]), f32::from(rgb[1]), f32::from(rgb[2]), 1.0],
            false => [0.0; 4],
        };
        let pixels = self.rgb().chunks_exact(3).zip(known).map(pixel).collect();
        let mut level = Level { w, h, pixels };
        level.fill();
        let bytes = level
            .pixels
            .iter()
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]);
        Self::new(w, h, bytes.map(|value| value.round() as u8).collect())
    }
}

impl Level {
    fn fill(&mut self) {
        if self.pixels.iter().all(|pixel| pixel[3] > 0.0) || self.w.max(self.h) == 1 {
            return;
        }
        let mut coarse = self.half();
        coarse.fill();
        for (at, pixel) in self.pixels.iter_mut().enumerate() {
            if pixel[3] == 0.0 {
                *pixel = coarse.between(at % self.w, at / self.w);
            }
        }
    }

    /// Averages of two by two pixels, of those that are known.
    fn half(&self) -> Self {
        let (w, h) = (self.w.div_ceil(2), self.h.div_ceil(2));
        let average = |at: usize| {
            let mut sum = [0.0; 4];
            let (x, y) = (at % w * 2, at / w * 2);
            for y in y..(y + 2).min(self.h) {
                for pixel in &self.pixels[y * self.w..][x..(x + 2).min(self.w)] {
                    (0..4).for_each(|part| sum[part] += pixel[part] * pixel[3]);
                }
            }
            match sum[3] {
                0.0 => sum,
                known => [sum[0] / known, sum[1] / known, sum[2] / known, 1.0],
            }
        };
        Self {
            w,
            h,
            pixels: (0..w * h).map(average).collect(),
        }
    }

    /// The color at a pixel of the level with twice the resolution, linear between pixels.
    fn between(&self, x: usize, y: usize) -> [f32; 4] {
        let place = |at: usize, side: usize| {
            let at = ((at as f32 - 0.5) / 2.0).max(0.0);
            let first = (at as usize).min(side - 1);
            (first, (first + 1).min(side - 1), at - first as f32)
        };
        let ((left, right, across), (top, bottom, down)) = (place(x, self.w), place(y, self.h));
        let pixel = |x: usize, y: usize| self.pixels[y * self.w + x];
        let mix = |a: [f32; 4], b: [f32; 4], share: f32| {
            std::array::from_fn(|part| a[part] + (b[part] - a[part]) * share)
        };
        let upper = mix(pixel(left, top), pixel(right, top), across);
        let lower = mix(pixel(left, bottom), pixel(right, bottom), across);
        mix(upper, lower, down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_pixels_stay_and_holes_take_the_color_around_them() {
        let mut picture = Picture::filled(37, 23, [10, 200, 60]);
        let mut known = vec![true; 37 * 23];
        for y in 5..15 {
            for x in 9..30 {
                known[y * 37 + x] = false;
                picture.paste(&Picture::filled(1, 1, [255, 0, 255]), x, y);
            }
        }
        assert_eq!(
            picture.filled_in(&known),
            Picture::filled(37, 23, [10, 200, 60])
        );
    }

    #[test]
    fn a_gap_between_two_colors_goes_from_one_to_the_other() {
        let bytes = |x: usize| if x < 20 { [0, 0, 0] } else { [200, 100, 50] };
        let row: Vec<u8> = (0..40).flat_map(bytes).collect();
        let known: Vec<bool> = (0..40).map(|x| !(12..28).contains(&x)).collect();
        let filled = Picture::new(40, 1, row.clone()).filled_in(&known);
        assert_eq!(filled.rgb()[..36], row[..36]);
        assert_eq!(filled.rgb()[84..], row[84..]);
        let red: Vec<u8> = (12..28).map(|x| filled.pixel(x, 0)[0]).collect();
        assert!(red.is_sorted(), "{red:?}");
        assert!((80..160).contains(&red[8]), "{red:?}");
    }

    #[test]
    fn nothing_known_is_black() {
        let picture = Picture::filled(5, 3, [9, 9, 9]);
        assert_eq!(
            picture.filled_in(&[false; 15]),
            Picture::filled(5, 3, [0; 3])
        );
    }
}
