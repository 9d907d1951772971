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
