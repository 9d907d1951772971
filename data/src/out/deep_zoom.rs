//! Deep Zoom: a small `.dzi` file beside a folder of tiles, which a browser loads as it moves.
//!
//! Level 0 is one pixel, each next level twice the size, the last the picture itself. A tile is
//! `LEVEL/COLUMN_ROW.jpg`: 254 pixels a side and one more toward each neighbor, so that viewers
//! can blend across the border without a seam, and files are at most 256 pixels a side. Tiles
//! are JPEG: a browser shows them fast, and lossless pixels are what PNG and TIFF are for.

use super::{Options, image_error, jpeg, pyramid};
use crate::DataError;
use crate::pending::{PendingFile, PendingFolder};
use crate::spool::{Rect, Spool};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const TILE_PX: usize = 254;
const OVERLAP_PX: usize = 1;

/// Whether the places of the file and of the folder can be written.
pub(super) fn check(path: &Path) -> Result<(), DataError> {
    drop(PendingFile::create(path)?);
    drop(PendingFolder::create(&files_of(path), is_level)?);
    Ok(())
}

/// The picture as `path` and the folder beside it. The tiles are not forced to the disk one by
/// one, as the file is: that would take longer than encoding them.
pub(super) fn write(spool: &Spool, path: &Path, options: &Options) -> Result<(), DataError> {
    let mut file = PendingFile::create(path)?;
    let folder = PendingFolder::create(&files_of(path), is_level)?;
    pyramid::each_level(
        spool,
        |level| level.w().max(level.h()) == 1,
        |level| {
            let number = level_number(level.w().max(level.h()));
            write_level(
                level,
                &folder.inside().join(number.to_string()),
                path,
                options,
            )
        },
    )?;
    write!(
        file,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Image xmlns=\"http://schemas.microsoft.com/deepzoom/2008\" \
         Format=\"jpg\" Overlap=\"{OVERLAP_PX}\" TileSize=\"{TILE_PX}\">\n  \
         <Size Width=\"{}\" Height=\"{}\"/>\n</Image>\n",
        spool.w(),
        spool.h()
    )
    .map_err(|source| write_error(path, source))?;
    folder.commit()?;
    file.commit().inspect_err(|_| {
        // The first reason is the one to tell.
        let _ = fs::remove_dir_all(files_of(path));
    })
}

fn write_level(
    level: &Spool,
    folder: &Path,
    path: &Path,
    options: &Options,
) -> Result<(), DataError> {
    fs::create_dir(folder).map_err(|source| write_error(path, source))?;
    let mut rgb = Vec::new();
    for row in 0..level.h().div_ceil(TILE_PX) {
        let (y, h) = span(row, level.h());
        for column in 0..level.w().div_ceil(TILE_PX) {
            let (x, w) = span(column, level.w());
            level.read_rect(0, Rect::new(x, y, w, h), &mut rgb)?;
            let bytes = jpeg::encode(&rgb, w, h, options.jpeg_quality)
                .map_err(|error| image_error(path, error))?;
            fs::write(folder.join(format!("{column}_{row}.jpg")), bytes)
                .map_err(|source| write_error(path, source))?;
        }
    }
    Ok(())
}

/// Start and length of a tile with its overlap, along one side of a level.
fn span(index: usize, side: usize) -> (usize, usize) {
    let start = (index * TILE_PX).saturating_sub(OVERLAP_PX);
    let end = side.min((index + 1) * TILE_PX + OVERLAP_PX);
    (start, end - start)
}

/// How many times a side has to be halved until it is one pixel.
fn level_number(longest: usize) -> u32 {
    longest.next_power_of_two().ilog2()
}

/// The folder of tiles of `name.dzi`, `name_files`.
fn files_of(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push("_files");
    path.with_file_name(name)
}

/// Whether a folder in the folder of tiles has such a name.
fn is_level(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

fn write_error(path: &Path, source: std::io::Error) -> DataError {
    DataError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{half, names, smooth, spool_of};
    use super::*;
    use crate::Picture;

    /// One level, put together from its tiles as a viewer does.
    fn read_level(folder: &Path, w: usize, h: usize) -> Picture {
        let mut level = Picture::filled(w, h, [0; 3]);
        let (columns, rows) = (w.div_ceil(254), h.div_ceil(254));
        assert_eq!(names(folder).len(), columns * rows);
        for (column, row) in (0..rows).flat_map(|row| (0..columns).map(move |c| (c, row))) {
            let tile = Picture::read(&folder.join(format!("{column}_{row}.jpg"))).unwrap();
            let inside = |index: usize, side: usize| 254.min(side - 254 * index);
            let overlap =
                |index: usize, n: usize| usize::from(index > 0) + usize::from(index + 1 < n);
            let (own_w, own_h) = (inside(column, w), inside(row, h));
            assert_eq!(tile.w(), own_w + overlap(column, columns));
            assert_eq!(tile.h(), own_h + overlap(row, rows));
            let (left, top) = (usize::from(column > 0), usize::from(row > 0));
            level.paste(&tile.crop(left, top, own_w, own_h), 254 * column, 254 * row);
        }
        level
    }

    #[test]
    fn every_level_is_there_in_tiles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.dzi");
        let picture = smooth(1100, 509, 0);
        let spool = spool_of(folder.path(), std::slice::from_ref(&picture));
        // Twice: an older one is replaced.
        for _ in 0..2 {
            write(&spool, &path, &Options::default()).unwrap();
        }
        assert_eq!(names(folder.path()), ["a.dzi", "a_files"]);
        let text = fs::read_to_string(&path).unwrap();
        for part in [
            "xmlns=\"http://schemas.microsoft.com/deepzoom/2008\"",
            "Format=\"jpg\"",
            "Overlap=\"1\"",
            "TileSize=\"254\"",
            "Width=\"1100\" Height=\"509\"",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let mut expected = picture;
        let files = folder.path().join("a_files");
        assert_eq!(names(&files).len(), 12);
        for number in (0..=11).rev() {
            let level = read_level(&files.join(number.to_string()), expected.w(), expected.h());
            assert!(
                level.psnr(&expected) > 35.0,
                "{number}: {}",
                level.psnr(&expected)
            );
            expected = half(&expected);
        }
    }

    #[test]
    fn levels_are_counted_from_one_pixel() {
        for (longest, number) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (70_000, 17)] {
            assert_eq!(level_number(longest), number, "{longest}");
        }
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.dzi");
        let spool = spool_of(folder.path(), &[smooth(30, 20, 0)]);
        let mine = folder.path().join("a_files");
        fs::create_dir(&mine).unwrap();
        fs::write(mine.join("diary"), "dear").unwrap();
        let error = write(&spool, &path, &Options::default()).unwrap_err();
        assert!(matches!(error, DataError::Taken { .. }), "{error:?}");
        assert_eq!(names(folder.path()), ["a_files"]);
        assert_eq!(names(&mine), ["diary"]);
    }
}
