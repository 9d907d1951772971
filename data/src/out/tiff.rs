//! TIFF in tiles, with the picture at every half size, as GDAL, OpenSlide and libvips read it.
//!
//! A chain of directories: the picture first, then each smaller size, marked as such by
//! `NewSubfileType`. The `tiff` crate writes strips only; here it writes the tables, and the
//! tiles go into the file as data of a directory.

use super::{Options, pyramid};
use crate::DataError;
use crate::pending::PendingFile;
use crate::spool::{Rect, Spool};
use ::tiff::encoder::compression::{CompressionAlgorithm as _, Deflate};
use ::tiff::encoder::{
    DirectoryEncoder, TiffEncoder, TiffKind, TiffKindBig, TiffKindStandard, TiffValue,
};
use ::tiff::tags::{
    CompressionMethod, PhotometricInterpretation, PlanarConfiguration, Predictor, Tag, Type,
};
use ::tiff::{TiffError, TiffResult};
use std::borrow::Cow;
use std::path::Path;

/// Side of a tile. 768 KiB in memory; the lists of a picture 200,000 pixels square take 2.4 MB.
const TILE_PX: usize = 512;

/// `NewSubfileType` of a smaller size of the picture before it.
const REDUCED: u32 = 1;

/// The picture as a TIFF: with offsets of 32 bits, which every program reads, where the file
/// cannot come near 4 GiB, else as BigTIFF.
pub(super) fn write(spool: &Spool, path: &Path, options: &Options) -> Result<(), DataError> {
    // With the smaller sizes noise takes 4/3 of these; half is left as room for the edge tiles.
    let raw = spool.w() as u128 * spool.h() as u128 * 3;
    if raw < 1 << 31 {
        write_kind::<TiffKindStandard>(spool, path, options)
    } else {
        write_kind::<TiffKindBig>(spool, path, options)
    }
}

fn write_kind<K: TiffKind>(spool: &Spool, path: &Path, options: &Options) -> Result<(), DataError> {
    let failed = |error| tiff_error(path, error);
    let mut file = PendingFile::create(path)?;
    let mut tiff = TiffEncoder::<_, K>::new_generic(&mut file).map_err(failed)?;
    let mut is_reduced = false;
    pyramid::each_level(
        spool,
        |level| level.w().max(level.h()) <= TILE_PX,
        |level| {
            let mut directory = tiff.image_directory().map_err(failed)?;
            write_tiles(level, path, &mut directory)?;
            write_tags(level, &mut directory).map_err(failed)?;
            if is_reduced {
                directory
                    .write_tag(Tag::NewSubfileType, REDUCED)
                    .map_err(failed)?;
            } else if let Some(text) = &options.description {
                directory
                    .write_tag(Tag::ImageDescription, Text(text))
                    .map_err(failed)?;
            }
            is_reduced = true;
            directory.finish().map_err(failed)
        },
    )?;
    file.commit()
}

/// The compressed tiles, row by row, and the tags that find them.
fn write_tiles<K: TiffKind>(
    level: &Spool,
    path: &Path,
    directory: &mut DirectoryEncoder<'_, &mut PendingFile, K>,
) -> Result<(), DataError> {
    let failed = |error| tiff_error(path, error);
    let (mut offsets, mut byte_counts) = (Vec::new(), Vec::new());
    let (mut rgb, mut tile) = (Vec::new(), vec![0; 3 * TILE_PX * TILE_PX]);
    let mut compressed = Vec::new();
    for y in (0..level.h()).step_by(TILE_PX) {
        for x in (0..level.w()).step_by(TILE_PX) {
            let (w, h) = (TILE_PX.min(level.w() - x), TILE_PX.min(level.h() - y));
            level.read_rect(0, Rect::new(x, y, w, h), &mut rgb)?;
            // Tiles are whole also at the edge; what lies outside is never shown.
            tile.fill(0);
            for (row, bytes) in tile
                .chunks_exact_mut(3 * TILE_PX)
                .zip(rgb.chunks_exact(3 * w))
            {
                row[..3 * w].copy_from_slice(bytes);
                differences(row);
            }
            compressed.clear();
            Deflate::default()
                .write_to(&mut compressed, &tile)
                .map_err(|error| failed(error.into()))?;
            let offset = directory
                .write_data(compressed.as_slice())
                .map_err(failed)?;
            offsets.push(K::convert_offset(offset).map_err(failed)?);
            byte_counts.push(u32::try_from(compressed.len()).expect("a tile is small"));
        }
    }
    directory
        .write_tag(Tag::TileOffsets, K::convert_slice(&offsets))
        .and_then(|()| directory.write_tag(Tag::TileByteCounts, byte_counts.as_slice()))
        .map_err(failed)
}

/// What a directory says about its pixels.
fn write_tags<K: TiffKind>(
    level: &Spool,
    directory: &mut DirectoryEncoder<'_, &mut PendingFile, K>,
) -> TiffResult<()> {
    directory.write_tag(Tag::ImageWidth, crate::image::side(level.w()))?;
    directory.write_tag(Tag::ImageLength, crate::image::side(level.h()))?;
    directory.write_tag(Tag::TileWidth, TILE_PX as u32)?;
    directory.write_tag(Tag::TileLength, TILE_PX as u32)?;
    directory.write_tag(Tag::BitsPerSample, [8_u16; 3].as_slice())?;
    directory.write_tag(Tag::SamplesPerPixel, 3_u16)?;
    let [color, chunky] = [
        PhotometricInterpretation::RGB.to_u16(),
        PlanarConfiguration::Chunky.to_u16(),
    ];
    directory.write_tag(Tag::PhotometricInterpretation, color)?;
    directory.write_tag(Tag::PlanarConfiguration, chunky)?;
    directory.write_tag(Tag::Compression, CompressionMethod::Deflate.to_u16())?;
    directory.write_tag(Tag::Predictor, Predictor::Horizontal.to_u16())
}

/// Each byte less the same color of the pixel to its left: the horizontal predictor, with which
/// painted pixels compress better.
fn differences(row: &mut [u8]) {
    for at in (3..row.len()).rev() {
        row[at] = row[at].wrapping_sub(row[at - 3]);
    }
}

/// Text as programs write it today: the format says ASCII, UTF-8 is what is read.
struct Text<'a>(&'a str);

impl TiffValue for Text<'_> {
    const BYTE_LEN: u8 = 1;
    const FIELD_TYPE: Type = Type::ASCII;

    fn count(&self) -> usize {
        self.0.len() + 1
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned([self.0.as_bytes(), &[0]].concat())
    }
}

fn tiff_error(path: &Path, error: TiffError) -> DataError {
    let path = path.to_owned();
    match error {
        TiffError::IoError(source) => DataError::Write { path, source },
        error => DataError::Encode {
            path,
            source: error.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{half, names, smooth, spool_of};
    use super::*;
    use crate::Picture;
    use ::tiff::decoder::{ChunkType, Decoder, DecodingResult};
    use std::fs::File;
    use std::io::BufReader;

    /// The picture of the current directory, put together from its tiles.
    fn read_tiles(decoder: &mut Decoder<BufReader<File>>) -> Picture {
        assert_eq!(decoder.get_chunk_type(), ChunkType::Tile);
        assert_eq!(decoder.chunk_dimensions(), (512, 512));
        let (w, h) = decoder.dimensions().unwrap();
        let (w, h) = (w as usize, h as usize);
        let columns = w.div_ceil(TILE_PX);
        let mut picture = Picture::filled(w, h, [0; 3]);
        assert_eq!(
            decoder.tile_count().unwrap() as usize,
            columns * h.div_ceil(TILE_PX)
        );
        for tile in 0..decoder.tile_count().unwrap() {
            let (tile_w, tile_h) = decoder.chunk_data_dimensions(tile);
            let DecodingResult::U8(rgb) = decoder.read_chunk(tile).unwrap() else {
                panic!("not eight bits");
            };
            let (x, y) = (tile as usize % columns, tile as usize / columns);
            let part = Picture::new(tile_w as usize, tile_h as usize, rgb);
            picture.paste(&part, TILE_PX * x, TILE_PX * y);
        }
        picture
    }

    fn check_pyramid<K: TiffKind>(version: u8) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tif");
        let mut expected = smooth(2100, 1025, 0);
        let spool = spool_of(folder.path(), std::slice::from_ref(&expected));
        write_kind::<K>(&spool, &path, &Options::default()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[2], version);
        let mut decoder = Decoder::new(BufReader::new(File::open(&path).unwrap())).unwrap();
        for size in [(2100, 1025), (1050, 513), (525, 257), (263, 129)] {
            assert_eq!(decoder.dimensions().unwrap(), size);
            assert_eq!(read_tiles(&mut decoder), expected, "{size:?}");
            let kind: Option<u32> = decoder.find_tag_unsigned(Tag::NewSubfileType).unwrap();
            assert_eq!(kind, (size.0 != 2100).then_some(REDUCED));
            expected = half(&expected);
            assert_eq!(decoder.more_images(), size.0 != 263);
            if decoder.more_images() {
                decoder.next_image().unwrap();
            }
        }
        assert_eq!(names(folder.path()), ["a.tif"]);
    }

    #[test]
    fn every_size_is_there_in_tiles() {
        check_pyramid::<TiffKindStandard>(42);
        check_pyramid::<TiffKindBig>(43);
    }

    #[test]
    fn a_small_picture_is_one_tile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tif");
        let picture = smooth(3, 5, 0);
        write(
            &spool_of(folder.path(), std::slice::from_ref(&picture)),
            &path,
            &Options::default(),
        )
        .unwrap();
        let mut decoder = Decoder::new(BufReader::new(File::open(&path).unwrap())).unwrap();
        assert_eq!(read_tiles(&mut decoder), picture);
        assert!(!decoder.more_images());
    }
}
