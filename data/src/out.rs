//! Painted pixels into files, by the ending of the name.
//!
//! One door for pictures and films of any size: [`check`] before the painting, [`write()`] after
//! it. Everything goes from a [`Spool`] through buffers that do not grow with the height; what
//! each format holds in memory at most:
//!
//! | format | in memory |
//! | --- | --- |
//! | PNG, folder of frames | 1 MiB of rows, at least one, and four rows in the encoder |
//! | JPEG | eight rows, at most 1.5 MiB |
//! | WebP | the whole picture twice, at most 1.6 GB |
//! | TIFF, Deep Zoom | one tile, three pieces of rows while halving, 16 bytes per TIFF tile |
//! | GIF, APNG | one frame, at most nine bytes per pixel |
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
pub(crate) use self::video::last_line;

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
            // As the films of the paper.
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

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests {
    use super::samples::{names, smooth, spool_of};
    use super::*;
    use crate::Picture;
    use std::fs;

    #[test]
    fn each_still_format_gives_the_picture_back() {
        // More than one tile, and sides that neither 8 nor 2 divides.
        let picture = smooth(1101, 603, 0);
        let folder = tempfile::tempdir().unwrap();
        let spool = spool_of(folder.path(), std::slice::from_ref(&picture));
        let heads: [(&str, &[u8]); 6] = [
            ("a.png", b"\x89PNG"),
            ("a.JPG", b"\xff\xd8\xff"),
            ("a.jpeg", b"\xff\xd8\xff"),
            ("a.webp", b"RIFF"),
            ("a.tif", b"II"),
            ("a.tiff", b"II"),
        ];
        for (name, head) in heads {
            let path = folder.path().join(name);
            let format = check(&path, 1101, 603, 1).unwrap();
            write(&spool, &path, &Options::default()).unwrap();
            assert!(fs::read(&path).unwrap().starts_with(head), "{name}");
            let back = Picture::read(&path).unwrap();
            if format == PictureFormat::Jpeg {
                assert!(
                    back.psnr(&picture) > 40.0,
                    "{name}: {}",
                    back.psnr(&picture)
                );
            } else {
                assert_eq!(back, picture, "{name}");
            }
        }
        assert_eq!(names(folder.path()).len(), heads.len());
    }

    #[test]
    fn a_picture_of_70_000_pixels_goes_where_it_fits() {
        let picture = smooth(70_000, 16, 0);
        let folder = tempfile::tempdir().unwrap();
        let spool = spool_of(folder.path(), std::slice::from_ref(&picture));
        for name in ["a.png", "a.tif"] {
            let path = folder.path().join(name);
            check(&path, 70_000, 16, 1).unwrap();
            write(&spool, &path, &Options::default()).unwrap();
            assert_eq!(Picture::read(&path).unwrap(), picture, "{name}");
        }
        let deep = folder.path().join("a.dzi");
        write(&spool, &deep, &Options::default()).unwrap();
        let last = Picture::read(&folder.path().join("a_files/17/275_0.jpg")).unwrap();
        // Tile 275 begins a pixel before 275 * 254.
        assert!(last.psnr(&picture.crop(69_849, 0, 151, 16)) > 40.0);
        for name in ["a.jpg", "a.webp"] {
            let path = folder.path().join(name);
            for error in [
                check(&path, 70_000, 16, 1).unwrap_err(),
                write(&spool, &path, &Options::default()).unwrap_err(),
            ] {
                let text = error.to_string();
                assert!(text.contains("use .png, .tif or .dzi"), "{text}");
            }
        }
        assert_eq!(names(folder.path()), ["a.dzi", "a.png", "a.tif", "a_files"]);
    }

    #[test]
    fn what_cannot_be_written_is_known_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert_eq!(
            check(&at("a.png"), 4096, 1024, 1).unwrap(),
            PictureFormat::Png
        );
        assert_eq!(check(&at("a.gif"), 64, 64, 5).unwrap(), PictureFormat::Gif);
        assert_eq!(check(&at("a/"), 64, 64, 5).unwrap(), PictureFormat::Frames);
        let side = 2_000_000_000;
        for name in ["a.png", "a.tif", "a.dzi"] {
            let error = check(&at(name), side, side / 10, 1).unwrap_err();
            assert!(matches!(error, DataError::DiskTooSmall { .. }), "{error:?}");
        }
        let error = check(&at("a.png"), usize::MAX, usize::MAX, 1).unwrap_err();
        assert!(matches!(error, DataError::Unencodable { .. }), "{error:?}");
        for (name, frames) in [
            ("a.png", 2),
            ("a.dzi", 2),
            ("a.gif", 1),
            ("a/", 1),
            ("a.mp4", 1),
        ] {
            let error = check(&at(name), 4, 4, frames).unwrap_err();
            assert!(matches!(error, DataError::FrameCount { .. }), "{error:?}");
        }
        for (name, frames) in [("no/a.png", 1), ("no/a.dzi", 1), ("no/a/", 2)] {
            let error = check(&at(name), 4, 4, frames).unwrap_err();
            assert!(matches!(error, DataError::Write { .. }), "{error:?}");
        }
        assert!(names(folder.path()).is_empty());
        fs::create_dir(at("a_files")).unwrap();
        fs::write(at("a_files/diary"), "").unwrap();
        for (name, frames) in [("a.dzi", 1), ("a_files/", 2)] {
            let error = check(&at(name), 4, 4, frames).unwrap_err();
            assert!(matches!(error, DataError::Taken { .. }), "{error:?}");
        }
    }

    fn bytes_in(folder: &Path) -> u64 {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                match entry.metadata().unwrap() {
                    about if about.is_dir() => bytes_in(&entry.path()),
                    about => about.len(),
                }
            })
            .sum()
    }

    #[test]
    fn the_disk_must_hold_the_pixels_and_the_file() {
        let folder = tempfile::tempdir().unwrap();
        // Noise is the worst case of every encoder.
        let byte = |index: usize| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u8;
        let picture = Picture::new(1024, 1024, (0..3 << 20).map(byte).collect());
        let frames = [picture.clone(), picture.clone()];
        let still = spool_of(folder.path(), &frames[..1]);
        let film = spool_of(folder.path(), &frames);
        for name in [
            "a.png", "a.jpg", "a.webp", "a.tif", "a.dzi", "a.gif", "a.apng", "a/",
        ] {
            let inside = tempfile::tempdir().unwrap();
            let path = inside.path().join(name);
            let format = PictureFormat::of(&path).unwrap();
            let spool = if format.is_film() { &film } else { &still };
            write(spool, &path, &Options::default()).unwrap();
            let needed = format.bytes_needed(1024, 1024, spool.frames());
            let written = bytes_in(inside.path());
            let raw = (3 << 20) * spool.frames() as u64;
            assert!(raw + written <= needed, "{name}: {written} of {raw}");
        }
    }

    #[test]
    fn a_film_becomes_a_folder_of_frames() {
        let folder = tempfile::tempdir().unwrap();
        let frames = [smooth(40, 30, 0), smooth(40, 30, 50)];
        let spool = spool_of(folder.path(), &frames);
        let path = folder.path().join("film/");
        for _ in 0..2 {
            write(&spool, &path, &Options::default()).unwrap();
        }
        assert_eq!(names(folder.path()), ["film"]);
        assert_eq!(names(&path), ["frame-00001.png", "frame-00002.png"]);
        for (name, frame) in names(&path).iter().zip(&frames) {
            assert_eq!(Picture::read(&path.join(name)).unwrap(), *frame);
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool_of(folder.path(), &[smooth(4, 4, 0)]);
        for name in ["a.png", "a.jpg", "a.webp", "a.tif", "a.dzi"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            let error = write(&spool, &path, &Options::default()).unwrap_err();
            assert!(matches!(error, DataError::Write { .. }), "{error:?}");
        }
        assert_eq!(names(folder.path()).len(), 5);
    }
}
