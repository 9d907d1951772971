//! Pictures: eight-bit RGB in memory, PNG, JPEG, WebP and TIFF on disk, `[b, c, h, w]` in -1..1
//! as tensors.

mod decode;
mod encode;
mod fill;
mod rows;

pub use self::decode::MOST_PIXELS;
pub use self::rows::PngRows;
pub(crate) use self::rows::{DESCRIPTION, add_description, png_error};
pub use crate::out::PictureFormat;

use ::image::imageops::{self, FilterType};
use ::image::{ImageBuffer, Rgb, RgbImage};
use burn::tensor::{Device, Tensor, TensorData};

/// A picture in memory: rows from the top, pixels from the left, one byte each for red, green and
/// blue. It has at least one pixel.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    w: usize,
    h: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture from its bytes, three per pixel.
    ///
    /// # Panics
    ///
    /// If a side is 0 or the bytes are not `3 * w * h`.
    #[must_use]
    pub fn new(w: usize, h: usize, rgb: Vec<u8>) -> Self {
        assert!(w > 0 && h > 0, "a picture of {w}x{h} pixels");
        assert_eq!(rgb.len(), 3 * w * h, "bytes of a picture of {w}x{h} pixels");
        Self { w, h, rgb }
    }

    /// A picture of one color.
    ///
    /// # Panics
    ///
    /// If a side is 0.
    #[must_use]
    pub fn filled(w: usize, h: usize, color: [u8; 3]) -> Self {
        Self::new(w, h, color.repeat(w * h))
    }

    /// Width in pixels.
    #[must_use]
    pub fn w(&self) -> usize {
        self.w
    }

    /// Height in pixels.
    #[must_use]
    pub fn h(&self) -> usize {
        self.h
    }

    /// Gives the picture as the `image` crate holds it.
    ///
    /// # Panics
    /// Never: there are three bytes for each pixel.
    pub fn to_image(&self) -> ::image::DynamicImage {
        let (w, h) = (self.w() as u32, self.h() as u32);
        let rgb = ::image::RgbImage::from_raw(w, h, self.rgb().to_vec());
        rgb.expect("three bytes for each pixel").into()
    }

    /// All bytes, three per pixel, row by row.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// All bytes, to be changed in place.
    #[must_use]
    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }

    /// The color at column `x` of row `y`.
    ///
    /// # Panics
    ///
    /// If the place is outside.
    #[must_use]
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        assert!(
            x < self.w && y < self.h,
            "pixel {x},{y} of {}x{}",
            self.w,
            self.h
        );
        let start = 3 * (y * self.w + x);
        [self.rgb[start], self.rgb[start + 1], self.rgb[start + 2]]
    }

    /// The rectangle of `w` x `h` pixels whose upper left corner is at (`x`, `y`).
    ///
    /// # Panics
    ///
    /// If the rectangle is empty or reaches outside.
    #[must_use]
    pub fn crop(&self, x: usize, y: usize, w: usize, h: usize) -> Self {
        assert!(
            x + w <= self.w && y + h <= self.h,
            "{w}x{h} at {x},{y} reaches outside"
        );
        let mut rgb = Vec::with_capacity(3 * w * h);
        for row in y..y + h {
            let start = 3 * (row * self.w + x);
            rgb.extend_from_slice(&self.rgb[start..start + 3 * w]);
        }
        Self::new(w, h, rgb)
    }

    /// The rectangle of `w` x `h` pixels whose upper left corner is at (`x`, `y`). It may stick out
    /// on every side, where the picture is continued by its reflection.
    ///
    /// # Panics
    ///
    /// If the rectangle is empty.
    #[must_use]
    pub fn continued(&self, x: isize, y: isize, w: usize, h: usize) -> Self {
        let columns: Vec<usize> = (0..w as isize).map(|at| reflect(x + at, self.w)).collect();
        let mut rgb = Vec::with_capacity(3 * w * h);
        for row in (0..h as isize).map(|at| reflect(y + at, self.h)) {
            for &column in &columns {
                rgb.extend_from_slice(&self.pixel(column, row));
            }
        }
        Self::new(w, h, rgb)
    }

    /// Copies `other` into this picture, its upper left corner at (`x`, `y`).
    ///
    /// # Panics
    ///
    /// If it reaches outside.
    pub fn paste(&mut self, other: &Self, x: usize, y: usize) {
        let Self { w, h, ref rgb } = *other;
        assert!(
            x + w <= self.w && y + h <= self.h,
            "{w}x{h} at {x},{y} reaches outside"
        );
        for (row, bytes) in rgb.chunks_exact(3 * w).enumerate() {
            let start = 3 * ((y + row) * self.w + x);
            self.rgb[start..start + 3 * w].copy_from_slice(bytes);
        }
    }

    /// The picture at another size (Lanczos, three lobes).
    ///
    /// # Panics
    ///
    /// If a side is 0.
    #[must_use]
    pub fn resize(&self, w: usize, h: usize) -> Self {
        if (w, h) == (self.w, self.h) {
            return self.clone();
        }
        let view: ImageBuffer<Rgb<u8>, &[u8]> =
            ImageBuffer::from_raw(side(self.w), side(self.h), self.rgb.as_slice())
                .expect("a picture has three bytes per pixel");
        imageops::resize(&view, side(w), side(h), FilterType::Lanczos3).into()
    }

    /// The pixels as a tensor.
    ///
    /// # Shapes
    ///
    /// Gives `[1, 3, h, w]` in -1..1.
    #[must_use]
    pub fn to_tensor(&self, device: &Device) -> Tensor<4> {
        Self::stack(std::slice::from_ref(self), device)
    }

    /// The pixels of several pictures as one tensor.
    ///
    /// # Shapes
    ///
    /// Gives `[b, 3, h, w]` in -1..1.
    ///
    /// # Panics
    ///
    /// If there is no picture or their sizes differ.
    #[must_use]
    pub fn stack(pictures: &[Self], device: &Device) -> Tensor<4> {
        let Some(&Self { w, h, .. }) = pictures.first() else {
            panic!("a stack of no pictures")
        };
        let mut values = Vec::with_capacity(pictures.len() * 3 * h * w);
        for picture in pictures {
            assert_eq!((picture.w, picture.h), (w, h), "sizes in one stack");
            for channel in 0..3 {
                let bytes = picture.rgb.iter().skip(channel).step_by(3);
                values.extend(bytes.map(|&byte| value_of(byte)));
            }
        }
        Tensor::from_data(TensorData::new(values, [pictures.len(), 3, h, w]), device)
    }

    /// The pictures in a tensor; what [`Picture::stack`] made comes back bit for bit.
    ///
    /// Values outside -1..1 are clamped, and a value that is not a number becomes 0.
    ///
    /// # Shapes
    ///
    /// Takes `[b, 3, h, w]`.
    ///
    /// # Panics
    ///
    /// If there are not three channels or a side is 0.
    #[must_use]
    pub fn from_tensor(pixels: Tensor<4>) -> Vec<Self> {
        let [_, c, h, w] = pixels.dims();
        assert_eq!(c, 3, "channels of a picture");
        assert!(h > 0 && w > 0, "a picture of {w}x{h} pixels");
        let pixels = pixels.permute([0, 2, 3, 1]); // [b, h, w, c]
        let values: Vec<f32> = pixels
            .into_data()
            .convert::<f32>()
            .try_into_vec()
            .expect("the data was made 32-bit");
        let picture =
            |values: &[f32]| Self::new(w, h, values.iter().map(|&value| byte_of(value)).collect());
        values.chunks_exact(3 * h * w).map(picture).collect()
    }

    /// Peak signal-to-noise ratio against another picture, infinite for an equal one.
    ///
    /// # Units
    ///
    /// Decibels, of the mean square over all pixels and channels, peak 255.
    ///
    /// # Panics
    ///
    /// If the sizes differ.
    #[must_use]
    pub fn psnr(&self, other: &Self) -> f64 {
        assert_eq!(
            (self.w, self.h),
            (other.w, other.h),
            "sizes of compared pictures"
        );
        let squares = self.rgb.iter().zip(&other.rgb).map(|(&a, &b)| {
            let difference = u64::from(a.abs_diff(b));
            difference * difference
        });
        let mean = squares.sum::<u64>() as f64 / self.rgb.len() as f64;
        10.0 * (255.0 * 255.0 / mean).log10()
    }
}

impl std::fmt::Debug for Picture {
    /// The size only: the bytes would fill screens.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Picture({}x{})", self.w, self.h)
    }
}

impl From<RgbImage> for Picture {
    fn from(image: RgbImage) -> Self {
        let (w, h) = image.dimensions();
        Self::new(w as usize, h as usize, image.into_raw())
    }
}

/// A side in the number type of the encoders.
pub(crate) fn side(pixels: usize) -> u32 {
    u32::try_from(pixels).expect("no longer side fits in memory or in a format")
}

/// Byte to tensor value: 0 is -1, 255 is 1.
fn value_of(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}

/// Tensor value to the nearest byte; the inverse of [`value_of`].
fn byte_of(value: f32) -> u8 {
    // A cast from float clamps, and takes what is not a number to 0.
    ((value + 1.0) * 127.5).round() as u8
}

/// Where a place outside `0..n` lies when the row is reflected at its ends, again and again.
#[must_use]
pub fn reflect(at: isize, n: usize) -> usize {
    let period = 2 * n as isize;
    let at = at.rem_euclid(period);
    (if at < n as isize { at } else { period - 1 - at }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture in which every pixel differs from its neighbors.
    fn gradient(w: usize, h: usize) -> Picture {
        let byte = |index: usize| (index.wrapping_mul(2_654_435_761) >> 7) as u8;
        Picture::new(w, h, (0..3 * w * h).map(byte).collect())
    }

    #[test]
    fn reflection_repeats_the_border_and_goes_back() {
        let row: Vec<usize> = (-4..8).map(|at| reflect(at, 3)).collect();
        assert_eq!(row, [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);
        assert_eq!(reflect(-7, 1), 0);
        let picture = Picture::new(3, 2, (0..18).collect());
        let around = picture.continued(-2, -1, 7, 4);
        let row = |y: usize| (0..7).map(|x| around.pixel(x, y)[0]).collect::<Vec<_>>();
        assert_eq!(row(0), [3, 0, 0, 3, 6, 6, 3]);
        assert_eq!([row(1), row(3)], [row(0), row(2)]);
        assert_eq!(row(2), [12, 9, 9, 12, 15, 15, 12]);
        assert_eq!(picture.continued(1, 0, 2, 2), picture.crop(1, 0, 2, 2));
    }

    #[test]
    fn every_byte_survives_the_tensor() {
        for byte in 0..=255 {
            assert_eq!(byte_of(value_of(byte)), byte);
        }
        assert_eq!([value_of(0), value_of(255)], [-1.0, 1.0]);
        let pictures = [gradient(7, 5), Picture::filled(7, 5, [1, 128, 254])];
        let tensor = Picture::stack(&pictures, &Device::flex());
        assert_eq!(tensor.dims(), [2, 3, 5, 7]);
        assert_eq!(Picture::from_tensor(tensor), pictures);
    }

    #[test]
    fn a_tensor_holds_channels_then_rows_then_columns() {
        let picture = gradient(4, 3);
        let values: Vec<f32> = picture
            .to_tensor(&Device::flex())
            .into_data()
            .try_into_vec()
            .unwrap();
        let (x, y, channel) = (2, 1, 1);
        assert_eq!(
            values[(channel * 3 + y) * 4 + x],
            value_of(picture.pixel(x, y)[channel])
        );
    }

    #[test]
    fn values_out_of_range_are_clamped() {
        assert_eq!(
            [byte_of(-7.0), byte_of(1.001), byte_of(f32::NAN)],
            [0, 255, 0]
        );
        assert_eq!(
            [byte_of(f32::INFINITY), byte_of(f32::NEG_INFINITY)],
            [255, 0]
        );
    }

    #[test]
    fn crop_and_paste_are_inverse() {
        let picture = gradient(9, 8);
        let part = picture.crop(2, 3, 5, 4);
        assert_eq!(part.pixel(0, 0), picture.pixel(2, 3));
        assert_eq!(part.pixel(4, 3), picture.pixel(6, 6));
        let mut hole = picture.clone();
        hole.paste(&Picture::filled(5, 4, [0; 3]), 2, 3);
        assert_ne!(hole, picture);
        hole.paste(&part, 2, 3);
        assert_eq!(hole, picture);
    }

    #[test]
    fn resizing_keeps_a_flat_color_and_the_asked_size() {
        let flat = Picture::filled(10, 6, [200, 30, 90]);
        assert_eq!(flat.resize(3, 17), Picture::filled(3, 17, [200, 30, 90]));
        assert_eq!(gradient(5, 5).resize(5, 5), gradient(5, 5));
    }

    #[test]
    fn psnr_follows_its_formula() {
        let black = Picture::filled(4, 4, [0; 3]);
        assert_eq!(black.psnr(&black), f64::INFINITY);
        assert_eq!(black.psnr(&Picture::filled(4, 4, [255; 3])), 0.0);
        // A mean square of 27 / 3: 10 log10(65025 / 9) = 38.588 dB.
        let other = Picture::filled(4, 4, [5, 1, 1]);
        assert!(
            (black.psnr(&other) - 38.588).abs() < 0.001,
            "{}",
            black.psnr(&other)
        );
    }
}
