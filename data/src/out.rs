//! Painted pixels into files, by the ending of the name.
//!
//! One door for pictures and films of any size: [`check`] before the painting, [`write`] after
//! it. Everything goes from a [`Spool`] through buffers that do not grow with the height; what
//! each format holds in memory at most:
//!
//! | format | in memory |
//! | --- | --- |
//! | PNG, APNG, folder of frames | 1 MiB of rows, at least one, and four rows in the encoder |
//! | JPEG | eight rows, at most 1.5 MiB |
//! | WebP | the whole picture twice, at most 1.6 GB |
//! | TIFF, Deep Zoom | one tile, three pieces of rows while halving, 16 bytes per TIFF tile |
//! | GIF | one frame, about eight bytes per pixel |
//! | MP4, WebM | 1 MiB of rows; ffmpeg needs some dozens of frames of its own |

mod animation;
mod deep_zoom;
mod description;
mod format;
mod jpeg;
mod png;
mod pyramid;
mod tiff;
mod video;
mod webp;

pub use self::description::description;
pub use self::format::PictureFormat;

use crate::DataError;
use crate::pending::{PendingFile, PendingFolder, folder_of};
use crate::spool::{Spool, check_room};
use std::num::NonZeroU16;
use std::path::Path;

/// What the pixels do not say about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How the picture was made. PNG, APNG and TIFF carry it, and [`description`] reads it back;
    /// the others have no common place for it.
    pub description: Option<String>,
    /// Frames per second of a film.
    pub fps: NonZeroU16,
    /// From 1 to 100, for JPEG and for the tiles of Deep Zoom.
    pub jpeg_quality: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            description: None,
            // The films of the paper, [P] 4.1.
            fps: const { NonZeroU16::new(5).expect("five is not zero") },
            // High enough that a painted picture shows no blocks; PNG is there for every bit.
            jpeg_quality: 95,
        }
    }
}

/// Finds out before any work is done whether `frames` frames of `w` x `h` pixels can be written
/// to `path`: that the format can hold them, the folder takes new files, the disk has room for
/// the painted pixels and for the file, and ffmpeg works where it is needed.
///
/// # Errors
///
/// [`DataError`] naming what is in the way.
pub fn check(path: &Path, w: usize, h: usize, frames: usize) -> Result<PictureFormat, DataError> {
    let format = PictureFormat::of(path)?;
    format.check(path, w, h, frames)?;
    // Created and dropped: the only way to know that the folder allows it.
    match format {
        PictureFormat::Frames => drop(PendingFolder::create(path, png::is_frame)?),
        PictureFormat::DeepZoom => deep_zoom::check(path)?,
        _ => drop(PendingFile::create(path)?),
    }
    check_room(path, folder_of(path), format.bytes_needed(w, h, frames))?;
    if let PictureFormat::Mp4 | PictureFormat::WebM = format {
        video::check(path, format, video::FFMPEG)?;
    }
    Ok(format)
}

/// Writes what was painted in the format the ending of `path` asks for. The file or folder
/// appears under its name when it is complete, replacing an earlier one.
///
/// # Errors
///
/// [`DataError`] if the ending is unknown, the format cannot hold the frames, ffmpeg is needed
/// and fails, or the disk refuses; nothing is left behind then.
pub fn write(spool: &Spool, path: &Path, options: &Options) -> Result<(), DataError> {
    let format = PictureFormat::of(path)?;
    format.check(path, spool.w(), spool.h(), spool.frames())?;
    match format {
        PictureFormat::Png => png::write(spool, 0, path, options),
        PictureFormat::Jpeg => jpeg::write(spool, path, options),
        PictureFormat::WebP => webp::write(spool, path),
        PictureFormat::Tiff => tiff::write(spool, path, options),
        PictureFormat::DeepZoom => deep_zoom::write(spool, path, options),
        PictureFormat::Gif => animation::write_gif(spool, path, options),
        PictureFormat::Apng => animation::write_apng(spool, path, options),
        PictureFormat::Mp4 | PictureFormat::WebM => {
            video::write(spool, path, format, options, video::FFMPEG)
        }
        PictureFormat::Frames => png::write_frames(spool, path, options),
    }
}

/// An error of the `image` crate while writing.
fn image_error(path: &Path, error: ::image::ImageError) -> DataError {
    let path = path.to_owned();
    match error {
        ::image::ImageError::IoError(source) => DataError::Write { path, source },
        error => DataError::Encode {
            path,
            source: error.into(),
        },
    }
}
