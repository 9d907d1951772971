//! Pictures into files.

use super::{Picture, side};
use crate::DataError;
use crate::pending::{PendingFile, folder_of};
use ::image::codecs::jpeg::JpegEncoder;
use ::image::codecs::png::PngEncoder;
use ::image::codecs::tiff::TiffEncoder;
use ::image::codecs::webp::WebPEncoder;
use ::image::{ExtendedColorType, ImageEncoder as _, ImageResult};
use std::path::Path;

/// Of 100. High enough that a painted picture shows no blocks; PNG is there for every bit.
const JPEG_QUALITY: u8 = 95;

/// A format pictures are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Lossless, `.png`.
    Png,
    /// Lossy at quality 95, `.jpg` or `.jpeg`.
    Jpeg,
    /// Lossless, `.webp`.
    WebP,
    /// Uncompressed, `.tif` or `.tiff`.
    Tiff,
}

impl PictureFormat {
    /// The format the ending of a file name asks for.
    ///
    /// # Errors
    ///
    /// [`DataError::UnknownEnding`] for any other ending.
    pub fn of(path: &Path) -> Result<Self, DataError> {
        let ending = path
            .extension()
            .map(|text| text.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            Some("png") => Ok(Self::Png),
            Some("jpg" | "jpeg") => Ok(Self::Jpeg),
            Some("webp") => Ok(Self::WebP),
            Some("tif" | "tiff") => Ok(Self::Tiff),
            _ => Err(DataError::UnknownEnding {
                path: path.to_owned(),
            }),
        }
    }

    /// Whether a picture of this size fits into the format, and the rule it breaks if not.
    pub(super) fn check_size(self, w: usize, h: usize) -> Result<(), &'static str> {
        let longest = w.max(h);
        if w == 0 || h == 0 {
            return Err("a picture has at least one pixel");
        }
        match self {
            Self::Jpeg if longest > 65_535 => {
                Err("JPEG ends at 65,535 pixels a side, use .png or .tiff")
            }
            Self::WebP if longest > 16_383 => {
                Err("WebP ends at 16,383 pixels a side, use .png or .tiff")
            }
            // Its offsets have 32 bits; the difference is room for the tables.
            Self::Tiff if pixel_bytes(w, h) > u64::from(u32::MAX) - (1 << 24) => {
                Err("TIFF ends at 4 GiB, use .png")
            }
            Self::Png | Self::Tiff if longest > i32::MAX as usize => {
                Err("PNG ends at 2,147,483,647 pixels a side")
            }
            _ => Ok(()),
        }
    }

    /// The most bytes such a picture is expected to take on disk.
    fn bytes_needed(self, w: usize, h: usize) -> u64 {
        let raw = pixel_bytes(w, h);
        match self {
            // Noise at quality 95 takes about half of its raw bytes.
            Self::Jpeg => raw / 2,
            // Noise does not compress; a thousandth and the tables come on top.
            Self::Png | Self::WebP | Self::Tiff => raw.saturating_add(raw / 1000 + 4096),
        }
    }
}

/// Bytes of the pixels in memory, or the largest number if that is larger.
fn pixel_bytes(w: usize, h: usize) -> u64 {
    u64::try_from(w as u128 * h as u128 * 3).unwrap_or(u64::MAX)
}

/// Finds out before any work is done whether a picture of `w` x `h` pixels can be written to
/// `path`: that the format can hold it, the folder takes new files, and the disk has room.
///
/// # Errors
///
/// [`DataError`] naming what is in the way.
pub fn check_output(path: &Path, w: usize, h: usize) -> Result<PictureFormat, DataError> {
    let format = PictureFormat::of(path)?;
    let unencodable = |rule| DataError::Unencodable {
        path: path.to_owned(),
        w,
        h,
        rule,
    };
    format.check_size(w, h).map_err(unencodable)?;
    // Created and dropped: the only way to know that the folder allows it.
    drop(PendingFile::create(path)?);
    let available = fs4::available_space(folder_of(path)).map_err(|source| DataError::Write {
        path: path.to_owned(),
        source,
    })?;
    let needed = format.bytes_needed(w, h);
    if needed > available {
        return Err(DataError::DiskTooSmall {
            path: path.to_owned(),
            needed,
            available,
        });
    }
    Ok(format)
}

impl Picture {
    /// Writes the picture in the format its ending asks for. The file appears under its name
    /// when it is complete, replacing what was there.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the ending is unknown, the format cannot hold the picture, or the disk
    /// refuses; nothing is left behind then.
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        let format = PictureFormat::of(path)?;
        let (w, h) = (self.w(), self.h());
        let unencodable = |rule| DataError::Unencodable {
            path: path.to_owned(),
            w,
            h,
            rule,
        };
        format.check_size(w, h).map_err(unencodable)?;
        let mut file = PendingFile::create(path)?;
        let encoded = self.encode(format, &mut file);
        encoded.map_err(|source| match source {
            ::image::ImageError::IoError(source) => DataError::Write {
                path: path.to_owned(),
                source,
            },
            source => DataError::Encode {
                path: path.to_owned(),
                source: source.into(),
            },
        })?;
        file.commit()
    }

    fn encode(&self, format: PictureFormat, file: &mut PendingFile) -> ImageResult<()> {
        let (rgb, w, h) = (self.rgb(), side(self.w()), side(self.h()));
        let kind = ExtendedColorType::Rgb8;
        match format {
            PictureFormat::Png => PngEncoder::new(file).write_image(rgb, w, h, kind),
            PictureFormat::Jpeg => {
                JpegEncoder::new_with_quality(file, JPEG_QUALITY).write_image(rgb, w, h, kind)
            }
            PictureFormat::WebP => WebPEncoder::new_lossless(file).write_image(rgb, w, h, kind),
            PictureFormat::Tiff => TiffEncoder::new(file).write_image(rgb, w, h, kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn noise(w: usize, h: usize) -> Picture {
        let byte = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
        Picture::new(w, h, (0..3 * w * h).map(byte).collect())
    }

    #[test]
    fn each_ending_writes_its_format() {
        let folder = tempfile::tempdir().unwrap();
        let picture = noise(40, 30);
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
            picture.write(&path).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert!(bytes.starts_with(head), "{name}");
            let back = Picture::read(&path).unwrap();
            if head == b"\xff\xd8\xff" {
                assert!(
                    back.psnr(&picture) > 15.0,
                    "{name}: {}",
                    back.psnr(&picture)
                );
            } else {
                assert_eq!(back, picture, "{name}");
            }
            let format = PictureFormat::of(&path).unwrap();
            assert!(
                bytes.len() as u64 <= format.bytes_needed(40, 30) + 4096,
                "{name}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), heads.len());
    }

    #[test]
    fn other_endings_are_refused() {
        for name in ["a", "a.gif", "a.png.bak", ".png", "png"] {
            let error = Picture::filled(1, 1, [0; 3])
                .write(Path::new(name))
                .unwrap_err();
            assert!(
                matches!(error, DataError::UnknownEnding { .. }),
                "{name}: {error:?}"
            );
        }
    }

    #[test]
    fn each_format_has_its_limit() {
        use PictureFormat::{Jpeg, Png, Tiff, WebP};
        for (format, w, h, fits) in [
            (Jpeg, 65_535, 1, true),
            (Jpeg, 1, 65_536, false),
            (WebP, 16_383, 16_383, true),
            (WebP, 16_384, 1, false),
            (Tiff, 30_000, 30_000, true),
            (Tiff, 40_000, 40_000, false),
            (Png, 2_147_483_647, 1, true),
            (Png, 2_147_483_648, 1, false),
            (Png, 0, 5, false),
        ] {
            assert_eq!(format.check_size(w, h).is_ok(), fits, "{format:?} {w}x{h}");
        }
        let folder = tempfile::tempdir().unwrap();
        let error = noise(16_384, 1)
            .write(&folder.path().join("a.webp"))
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("WebP ends at 16,383 pixels a side, use .png")
        );
    }

    #[test]
    fn what_cannot_be_written_is_known_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        assert_eq!(check_output(&path, 4096, 1024).unwrap(), PictureFormat::Png);
        let huge = check_output(&path, 2_000_000_000, 2_000_000_000).unwrap_err();
        assert!(matches!(huge, DataError::DiskTooSmall { .. }), "{huge:?}");
        let overflow = check_output(&path, usize::MAX, usize::MAX).unwrap_err();
        assert!(
            matches!(overflow, DataError::Unencodable { .. }),
            "{overflow:?}"
        );
        let missing = check_output(&folder.path().join("no/a.png"), 1, 1).unwrap_err();
        assert!(matches!(missing, DataError::Write { .. }), "{missing:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        fs::create_dir(&path).unwrap();
        assert!(matches!(
            noise(2, 2).write(&path),
            Err(DataError::Write { .. })
        ));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
