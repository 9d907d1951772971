//! Pictures from files.
//!
//! What is read: PNG, JPEG, WebP and TIFF, told apart by their content and not by their name.
//! Sixteen-bit samples are rounded to eight, gray becomes RGB, a transparent picture is laid over
//! white, the EXIF orientation is applied. Color profiles are ignored: samples are taken as sRGB.

use super::Picture;
use crate::DataError;
use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, Limits, RgbImage};
use std::fs;
use std::io::{self, Cursor};
use std::path::Path;

/// The most pixels [`Picture::read`] takes: a square of 32,768 a side, 3 GiB in memory.
pub const MOST_PIXELS: u64 = 1 << 30;

impl Picture {
    /// Reads a picture file of at most [`MOST_PIXELS`] pixels.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the file cannot be read, is not a picture, is damaged, or is too large.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        Self::read_within(path, MOST_PIXELS)
    }

    /// Reads a picture file of at most `limit_px` pixels. A larger one is refused before memory
    /// is taken for it.
    ///
    /// # Errors
    ///
    /// As [`Picture::read`].
    pub fn read_within(path: &Path, limit_px: u64) -> Result<Self, DataError> {
        Self::decode(&read_file(path)?, path, limit_px)
    }

    /// Decodes the bytes of a picture file; `path` is what errors call it.
    ///
    /// # Errors
    ///
    /// As [`Picture::read_within`], the disk apart.
    pub fn decode(bytes: &[u8], path: &Path, limit_px: u64) -> Result<Self, DataError> {
        let decode = |source| DataError::Decode {
            path: path.to_owned(),
            source,
        };
        let mut reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .expect("reading from memory does not fail");
        match reader.format() {
            Some(ImageFormat::Jpeg) => check_jpeg(path, bytes)?,
            Some(ImageFormat::Png | ImageFormat::WebP | ImageFormat::Tiff) => {}
            _ => {
                return Err(DataError::NotAPicture {
                    path: path.to_owned(),
                });
            }
        }
        if reader.format() == Some(ImageFormat::Png) {
            // Its decoder takes memory for a row before it tells the size.
            check_size(path, png_size(bytes), limit_px)?;
        }
        let mut limits = Limits::no_limits();
        // Eight bytes a pixel for the deepest kind, as much again for the decoder's own buffers.
        limits.max_alloc = Some(limit_px.saturating_mul(16).saturating_add(1 << 26));
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(decode)?;
        check_size(path, decoder.dimensions(), limit_px)?;
        // A broken EXIF block is no reason to refuse the picture it hangs on.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder).map_err(decode)?;
        image.apply_orientation(orientation);
        Ok(over_white(image).into())
    }
}

/// Width and height as the header of a PNG gives them; 0 where the header is cut off.
fn png_size(bytes: &[u8]) -> (u32, u32) {
    let number = |start: usize| {
        let bytes = bytes.get(start..start + 4).unwrap_or(&[0; 4]);
        bytes
            .iter()
            .fold(0, |sum, &byte| sum << 8 | u32::from(byte))
    };
    (number(16), number(20))
}

fn check_size(path: &Path, (w, h): (u32, u32), limit_px: u64) -> Result<(), DataError> {
    let (w, h) = (u64::from(w), u64::from(h));
    if w * h > limit_px {
        return Err(DataError::TooManyPixels {
            path: path.to_owned(),
            w,
            h,
            limit_px,
        });
    }
    if w * h == 0 {
        return Err(DataError::NotAPicture {
            path: path.to_owned(),
        });
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let failed = |source| DataError::Read {
        path: path.to_owned(),
        source,
    };
    // A device or a pipe may have no end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        let kind = io::ErrorKind::InvalidInput;
        return Err(failed(io::Error::new(kind, "it is not a regular file")));
    }
    fs::read(path).map_err(failed)
}

/// The picture as eight-bit RGB, whatever is transparent laid over white.
fn over_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let (w, h) = rgba.dimensions();
    let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.pixels() {
        let [colors @ .., alpha] = pixel.0;
        let alpha = u32::from(alpha);
        let mixed = colors.map(|color| {
            let sum = u32::from(color) * alpha + 255 * (255 - alpha);
            ((sum + 127) / 255) as u8
        });
        rgb.extend_from_slice(&mixed);
    }
    RgbImage::from_raw(w, h, rgb).expect("three bytes were pushed per pixel")
}

/// Refuses what the JPEG decoder would let pass: data that stops early, which it fills up with
/// gray, and ink colors, which need a profile to become RGB.
fn check_jpeg(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let cut_off = || DataError::CutOff {
        path: path.to_owned(),
    };
    // Past the start marker; from here on a walk from marker to marker.
    let mut at = 2;
    loop {
        while *bytes.get(at).ok_or_else(cut_off)? != 0xff {
            at += 1;
        }
        let marker = *bytes.get(at + 1).ok_or_else(cut_off)?;
        match marker {
            0xd9 => return Ok(()),
            0xff => at += 1,
            // Escaped data, restarts, and a marker without content.
            0x00 | 0x01 | 0xd0..=0xd8 => at += 2,
            _ => {
                let length = bytes.get(at + 2..at + 4).ok_or_else(cut_off)?;
                let is_frame =
                    matches!(marker, 0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker));
                if is_frame && bytes.get(at + 9) == Some(&4) {
                    return Err(DataError::Cmyk {
                        path: path.to_owned(),
                    });
                }
                at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{GrayAlphaImage, ImageBuffer, Luma, Rgba, RgbaImage};
    use std::path::PathBuf;

    fn colors(w: usize, h: usize) -> Picture {
        let byte = |index: usize| (index * 37 % 256) as u8;
        Picture::new(w, h, (0..3 * w * h).map(byte).collect())
    }

    /// Writes `bytes` under a name that says nothing and reads them as a picture.
    fn read_bytes(bytes: &[u8]) -> Result<Picture, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture");
        fs::write(&path, bytes).unwrap();
        Picture::read(&path)
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn dynamic(picture: &Picture) -> DynamicImage {
        let (w, h) = (picture.w() as u32, picture.h() as u32);
        RgbImage::from_raw(w, h, picture.rgb().to_vec())
            .unwrap()
            .into()
    }

    #[test]
    fn lossless_formats_give_back_every_byte_at_any_size() {
        for (w, h) in [(1, 1), (1, 9), (33, 17)] {
            let picture = colors(w, h);
            for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Tiff] {
                let bytes = encoded(&dynamic(&picture), format);
                assert_eq!(read_bytes(&bytes).unwrap(), picture, "{format:?} {w}x{h}");
            }
        }
    }

    #[test]
    fn a_jpeg_comes_close() {
        let picture = Picture::filled(20, 12, [180, 60, 30]);
        let back = read_bytes(&encoded(&dynamic(&picture), ImageFormat::Jpeg)).unwrap();
        assert!(back.psnr(&picture) > 40.0, "{}", back.psnr(&picture));
    }

    #[test]
    fn deep_gray_and_transparent_pictures_become_rgb() {
        let deep = ImageBuffer::from_fn(3, 2, |x, _| Luma([[0u16, 0x8080, 0xffff][x as usize]]));
        for format in [ImageFormat::Png, ImageFormat::Tiff] {
            let back = read_bytes(&encoded(&DynamicImage::from(deep.clone()), format)).unwrap();
            assert_eq!(
                [back.pixel(0, 0), back.pixel(1, 1)],
                [[0; 3], [128; 3]],
                "{format:?}"
            );
            assert_eq!(back.pixel(2, 0), [255; 3], "{format:?}");
        }
        let pixels = [
            Rgba([10, 20, 30, 255]),
            Rgba([10, 20, 30, 0]),
            Rgba([0, 100, 255, 128]),
        ];
        let clear = RgbaImage::from_fn(3, 1, |x, _| pixels[x as usize]);
        let back = read_bytes(&encoded(&clear.into(), ImageFormat::Png)).unwrap();
        assert_eq!(back.rgb(), [10, 20, 30, 255, 255, 255, 127, 177, 255]);
        let gray = GrayAlphaImage::from_raw(2, 1, vec![7, 255, 7, 0]).unwrap();
        let back = read_bytes(&encoded(&gray.into(), ImageFormat::Png)).unwrap();
        assert_eq!(back.rgb(), [7, 7, 7, 255, 255, 255]);
    }

    /// The EXIF block a camera writes for a picture to be turned by 90 degrees.
    fn turned(jpeg: &[u8]) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
        exif.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0]);
        let mut bytes = jpeg[..2].to_vec();
        bytes.extend([0xff, 0xe1, 0, exif.len() as u8 + 2]);
        bytes.extend(exif);
        bytes.extend(&jpeg[2..]);
        bytes
    }

    #[test]
    fn the_exif_orientation_is_applied() {
        let mut picture = Picture::filled(32, 16, [0; 3]);
        picture.paste(&Picture::filled(16, 16, [255; 3]), 0, 0);
        let jpeg = encoded(&dynamic(&picture), ImageFormat::Jpeg);
        let back = read_bytes(&turned(&jpeg)).unwrap();
        assert_eq!((back.w(), back.h()), (16, 32));
        // The white left half is the upper half once the picture is turned clockwise.
        assert!(back.pixel(8, 4)[0] > 200 && back.pixel(8, 28)[0] < 50);
    }

    #[test]
    fn damaged_files_are_errors_and_never_half_a_picture() {
        let picture = dynamic(&colors(64, 64));
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Tiff,
        ] {
            let bytes = encoded(&picture, format);
            for share in [8, 4, 2] {
                let end = bytes.len() - bytes.len() / share;
                assert!(
                    read_bytes(&bytes[..end]).is_err(),
                    "{format:?} without 1/{share}"
                );
            }
        }
        let jpeg = encoded(&picture, ImageFormat::Jpeg);
        let error = read_bytes(&jpeg[..jpeg.len() - 2]).unwrap_err();
        assert!(matches!(error, DataError::CutOff { .. }), "{error:?}");
        // What a camera appends to its file is not part of the picture.
        let longer = [jpeg, vec![0xff, 0xda, 1, 2, 3]].concat();
        assert!(read_bytes(&longer).is_ok());
    }

    #[test]
    fn ink_colors_are_named_as_the_reason() {
        let mut jpeg = encoded(&dynamic(&colors(8, 8)), ImageFormat::Jpeg);
        let frame = jpeg
            .windows(2)
            .position(|pair| pair == [0xff, 0xc0])
            .unwrap();
        jpeg[frame + 9] = 4;
        let error = read_bytes(&jpeg).unwrap_err();
        assert!(matches!(error, DataError::Cmyk { .. }), "{error:?}");
    }

    #[test]
    fn files_that_are_no_pictures_say_so() {
        for bytes in [
            b"".as_slice(),
            b"text",
            b"GIF89a\x01\0\x01\0\0\0\0",
            b"BM",
            b"\xff\xd8",
        ] {
            let line = read_bytes(bytes).unwrap_err().to_string();
            assert!(line.contains("picture"), "{line}");
        }
        let missing = Picture::read(&PathBuf::from("missing.png")).unwrap_err();
        assert_eq!(missing.to_string(), "cannot read missing.png");
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            Picture::read(folder.path()),
            Err(DataError::Read { .. })
        ));
    }

    #[test]
    fn a_header_that_promises_too_much_is_refused_without_the_memory() {
        let mut png = encoded(&dynamic(&colors(4, 4)), ImageFormat::Png);
        for (side, start) in [(0x7fff_ffffu32, 16), (0x7fff_ffff, 20)] {
            png[start..start + 4].copy_from_slice(&side.to_be_bytes());
        }
        let sum = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&sum.to_be_bytes());
        let error = read_bytes(&png).unwrap_err();
        assert!(
            matches!(error, DataError::TooManyPixels { .. }),
            "{error:?}"
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        fs::write(&path, encoded(&dynamic(&colors(10, 10)), ImageFormat::Png)).unwrap();
        assert!(Picture::read_within(&path, 100).is_ok());
        let line = Picture::read_within(&path, 99).unwrap_err().to_string();
        assert!(
            line.ends_with("has 10x10 pixels, the limit is 99 pixels in all"),
            "{line}"
        );
    }

    /// The checksum of PNG chunks.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |sum, &byte| {
            (0..8).fold(sum ^ u32::from(byte), |sum, _| {
                if sum & 1 == 1 {
                    (sum >> 1) ^ 0xedb8_8320
                } else {
                    sum >> 1
                }
            })
        })
    }

    #[test]
    fn a_picture_without_pixels_is_refused() {
        let mut png = encoded(&dynamic(&colors(4, 4)), ImageFormat::Png);
        png[16..20].copy_from_slice(&0u32.to_be_bytes());
        let sum = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&sum.to_be_bytes());
        let error = read_bytes(&png).unwrap_err();
        assert!(matches!(error, DataError::NotAPicture { .. }), "{error:?}");
    }
}
