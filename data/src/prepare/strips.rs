//! The rows of a picture file, one after another, for pictures that do not fit in memory.
//!
//! PNG and TIFF are read in rows, strips or rows of tiles; a JPEG has at most 65,535 pixels a side,
//! a WebP 16,383, and both are read whole, as are interlaced PNGs and TIFFs of one strip.

use crate::image::MOST_PIXELS;
use crate::{DataError, Picture};
use ::image::{ImageError, ImageFormat};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;
use tiff::ColorType;
use tiff::decoder::{Decoder as TiffDecoder, DecodingResult};

/// Takes the rows of a picture from the top, three bytes per pixel.
type Take<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), DataError>;

/// What a file is read as.
#[derive(PartialEq)]
enum Kind {
    Png,
    Tiff,
    Whole,
}

/// Width and height of a picture file in pixels.
///
/// # Errors
///
/// [`DataError`] if the file cannot be read or is no picture.
pub(super) fn size(path: &Path) -> Result<(usize, usize), DataError> {
    match kind(path)? {
        Kind::Png => {
            let reader = png_reader(path)?;
            let info = reader.info();
            Ok((info.width as usize, info.height as usize))
        }
        Kind::Tiff => {
            let mut decoder = tiff_decoder(path)?;
            let (w, h) = decoder
                .dimensions()
                .map_err(|error| tiff_error(path, error))?;
            Ok((w as usize, h as usize))
        }
        Kind::Whole => {
            let picture = Picture::read(path)?;
            Ok((picture.w(), picture.h()))
        }
    }
}

/// Hands on all rows of a picture file.
///
/// # Errors
///
/// [`DataError`] if the file cannot be read or decoded, or `take` fails.
pub(super) fn each_row(path: &Path, take: Take<'_>) -> Result<(), DataError> {
    match kind(path)? {
        Kind::Png => png_rows(path, take),
        Kind::Tiff => tiff_rows(path, take),
        Kind::Whole => whole_rows(path, MOST_PIXELS, take),
    }
}

fn kind(path: &Path) -> Result<Kind, DataError> {
    let mut start = [0; 8];
    let mut file = open(path)?;
    // A shorter file is no picture, which the reader of pictures says.
    let _ = file.read_exact(&mut start);
    Ok(match start {
        [0x89, b'P', b'N', b'G', ..] => Kind::Png,
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Kind::Tiff,
        _ => Kind::Whole,
    })
}

fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    let file = File::open(path).map_err(|source| DataError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(BufReader::with_capacity(1 << 20, file))
}

fn whole_rows(path: &Path, limit_px: u64, take: Take<'_>) -> Result<(), DataError> {
    let picture = Picture::read_within(path, limit_px)?;
    picture
        .rgb()
        .chunks_exact(3 * picture.w())
        .try_for_each(take)
}

fn png_reader(path: &Path) -> Result<png::Reader<BufReader<File>>, DataError> {
    let mut decoder = png::Decoder::new(open(path)?);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    // Rows of a giant picture are larger than what the crate takes to be sound.
    decoder.set_limits(png::Limits { bytes: 1 << 30 });
    decoder.read_info().map_err(|error| png_error(path, error))
}

fn png_rows(path: &Path, take: Take<'_>) -> Result<(), DataError> {
    let mut reader = png_reader(path)?;
    if reader.info().interlaced {
        return whole_rows(path, MOST_PIXELS, take);
    }
    let samples = reader.output_color_type().0.samples();
    let mut rows = 0;
    while let Some(row) = reader.next_row().map_err(|error| png_error(path, error))? {
        take(&rgb(row.data(), samples))?;
        rows += 1;
    }
    if rows < reader.info().height {
        let kind = std::io::ErrorKind::UnexpectedEof;
        return Err(png_error(path, png::DecodingError::IoError(kind.into())));
    }
    Ok(())
}

fn tiff_decoder(path: &Path) -> Result<TiffDecoder<BufReader<File>>, DataError> {
    TiffDecoder::new(open(path)?).map_err(|error| tiff_error(path, error))
}

fn tiff_rows(path: &Path, take: Take<'_>) -> Result<(), DataError> {
    let failed = |error| tiff_error(path, error);
    let mut decoder = tiff_decoder(path)?;
    let samples = match decoder.colortype().map_err(failed)? {
        ColorType::Gray(8 | 16) => 1,
        ColorType::GrayA(8 | 16) => 2,
        ColorType::RGB(8 | 16) => 3,
        ColorType::RGBA(8 | 16) => 4,
        // Palettes, inks, floats and bits: small pictures can be read whole.
        _ => return whole_rows(path, MOST_PIXELS, take),
    };
    let (w, h) = decoder.dimensions().map_err(failed)?;
    let (w, h) = (w as usize, h as usize);
    let (chunk_w, chunk_h) = decoder.chunk_dimensions();
    let (chunk_w, chunk_h) = (chunk_w as usize, (chunk_h as usize).min(h));
    let across = w.div_ceil(chunk_w);
    // Color by color instead of pixel by pixel.
    if decoder
        .find_tag_unsigned::<u32>(tiff::tags::Tag::PlanarConfiguration)
        .map_err(failed)?
        == Some(2)
    {
        return whole_rows(path, MOST_PIXELS, take);
    }
    for (band, top) in (0..h).step_by(chunk_h).enumerate() {
        let rows = chunk_h.min(h - top);
        let mut pixels = vec![0; 3 * w * rows];
        for column in 0..across {
            let chunk = u32::try_from(band * across + column).expect("the format counts so");
            let bytes = match decoder.read_chunk(chunk).map_err(failed)? {
                DecodingResult::U8(bytes) => bytes,
                DecodingResult::U16(words) => words.iter().map(|word| (word / 257) as u8).collect(),
                _ => return Err(failed(tiff::TiffError::IntSizeError)),
            };
            let (left, columns) = (column * chunk_w, chunk_w.min(w - column * chunk_w));
            for (row, data) in bytes.chunks_exact(samples * columns).take(rows).enumerate() {
                let at = 3 * (row * w + left);
                pixels[at..at + 3 * columns].copy_from_slice(&rgb(data, samples));
            }
        }
        pixels.chunks_exact(3 * w).try_for_each(&mut *take)?;
    }
    Ok(())
}

/// Samples of a row as RGB; what is transparent is laid over white.
fn rgb(row: &[u8], samples: usize) -> Vec<u8> {
    let over_white = |color: u8, alpha: u8| {
        let (color, alpha) = (u32::from(color), u32::from(alpha));
        ((color * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let pixels = row.chunks_exact(samples);
    match samples {
        1 => pixels.flat_map(|gray| [gray[0]; 3]).collect(),
        2 => pixels
            .flat_map(|it| [over_white(it[0], it[1]); 3])
            .collect(),
        3 => row.to_vec(),
        _ => pixels
            .flat_map(|it| [it[0], it[1], it[2]].map(|color| over_white(color, it[3])))
            .collect(),
    }
}

fn png_error(path: &Path, error: png::DecodingError) -> DataError {
    decode(path, ImageFormat::Png, error)
}

fn tiff_error(path: &Path, error: tiff::TiffError) -> DataError {
    decode(path, ImageFormat::Tiff, error)
}

fn decode(
    path: &Path,
    format: ImageFormat,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> DataError {
    let error = ::image::error::DecodingError::new(format.into(), error);
    DataError::Decode {
        path: path.to_owned(),
        source: ImageError::Decoding(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{DynamicImage, ImageBuffer, Luma, LumaA, Rgb, Rgba};
    use std::fs;

    fn noise(w: usize, h: usize) -> Picture {
        let byte = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
        Picture::new(w, h, (0..3 * w * h).map(byte).collect())
    }

    /// Checks that the rows of a file are those of the picture it decodes to.
    fn check(path: &Path) {
        let picture = Picture::read(path).unwrap();
        assert_eq!(size(path).unwrap(), (picture.w(), picture.h()), "{path:?}");
        let mut rgb = Vec::new();
        each_row(path, &mut |row| {
            assert_eq!(row.len(), 3 * picture.w());
            rgb.extend_from_slice(row);
            Ok(())
        })
        .unwrap();
        let most = rgb
            .iter()
            .zip(picture.rgb())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(
            rgb.len() == picture.rgb().len() && most.unwrap() <= 1,
            "{path:?}: {most:?}"
        );
    }

    #[test]
    fn rows_are_those_of_the_picture_in_every_format() {
        let folder = tempfile::tempdir().unwrap();
        // Two tiles each way, the last ones not full.
        for name in ["a.png", "a.tif", "a.jpg", "a.webp"] {
            let path = folder.path().join(name);
            noise(700, 530).write(&path).unwrap();
            check(&path);
        }
        let (w, h) = (37, 23);
        let eight = |x: u32, y: u32| (x * 7 + y * 3) as u8;
        let kinds: [DynamicImage; 5] = [
            ImageBuffer::from_fn(w, h, |x, y| Luma([eight(x, y)])).into(),
            ImageBuffer::from_fn(w, h, |x, y| LumaA([eight(x, y), eight(y, x)])).into(),
            ImageBuffer::from_fn(w, h, |x, y| Rgba([eight(x, y), 9, 200, eight(y, x)])).into(),
            ImageBuffer::from_fn(w, h, |x, y| Luma([300 * x as u16 + y as u16])).into(),
            ImageBuffer::from_fn(w, h, |x, y| Rgb([300 * x as u16, y as u16, 65_535])).into(),
        ];
        for (index, image) in kinds.iter().enumerate() {
            for ending in ["png", "tiff"] {
                let path = folder.path().join(format!("{index}.{ending}"));
                if image.save(&path).is_ok() {
                    check(&path);
                }
            }
        }
    }

    #[test]
    fn damaged_files_are_errors_and_no_panics() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "a.tif", "a.jpg"] {
            let path = folder.path().join(name);
            noise(300, 300).write(&path).unwrap();
            let bytes = fs::read(&path).unwrap();
            for length in [0, 7, 40, bytes.len() / 2] {
                fs::write(&path, &bytes[..length]).unwrap();
                let rows = each_row(&path, &mut |_| Ok(()));
                assert!(rows.is_err(), "{name} of {length} bytes");
            }
        }
        let missing = size(&folder.path().join("no.png"));
        assert!(matches!(missing, Err(DataError::Read { .. })));
    }
}
