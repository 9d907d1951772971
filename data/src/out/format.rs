//! Which formats there are, and what fits into each.

use crate::DataError;
use crate::spool::raw_bytes;
use std::path::{Path, is_separator};

/// A format pictures or films are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Lossless, `.png`.
    Png,
    /// Lossy, `.jpg` or `.jpeg`.
    Jpeg,
    /// Lossless, `.webp`.
    WebP,
    /// Lossless, in tiles and at every half size down to one tile, `.tif` or `.tiff`.
    Tiff,
    /// Lossy, in tiles and at every half size, for viewers in a browser; `.dzi` with a folder
    /// beside it.
    DeepZoom,
    /// A film in at most 256 colors a frame, `.gif`.
    Gif,
    /// A lossless film, `.apng`.
    Apng,
    /// A lossy film through ffmpeg, `.mp4`.
    Mp4,
    /// A lossy film through ffmpeg, `.webm`.
    WebM,
    /// A film as a folder of PNG files, a name that ends in `/`.
    Frames,
}

impl PictureFormat {
    /// The format the ending of a name asks for.
    ///
    /// # Errors
    ///
    /// [`DataError::UnknownEnding`] for any other ending.
    pub fn of(path: &Path) -> Result<Self, DataError> {
        // A `Path` hides the separator at its end.
        if path.to_string_lossy().ends_with(is_separator) {
            return Ok(Self::Frames);
        }
        let ending = path
            .extension()
            .map(|text| text.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            Some("png") => Ok(Self::Png),
            Some("jpg" | "jpeg") => Ok(Self::Jpeg),
            Some("webp") => Ok(Self::WebP),
            Some("tif" | "tiff") => Ok(Self::Tiff),
            Some("dzi") => Ok(Self::DeepZoom),
            Some("gif") => Ok(Self::Gif),
            Some("apng") => Ok(Self::Apng),
            Some("mp4") => Ok(Self::Mp4),
            Some("webm") => Ok(Self::WebM),
            _ => Err(DataError::UnknownEnding {
                path: path.to_owned(),
            }),
        }
    }

    /// Whether it holds the frames of a film, and not one still picture.
    #[must_use]
    pub fn is_film(self) -> bool {
        match self {
            Self::Png | Self::Jpeg | Self::WebP | Self::Tiff | Self::DeepZoom => false,
            Self::Gif | Self::Apng | Self::Mp4 | Self::WebM | Self::Frames => true,
        }
    }

    /// Whether [`Picture::read`](crate::Picture::read) reads such files.
    #[must_use]
    pub fn is_readable(self) -> bool {
        matches!(self, Self::Png | Self::Jpeg | Self::WebP | Self::Tiff)
    }

    /// Refuses what the format cannot hold.
    ///
    /// # Errors
    ///
    /// [`DataError::Unencodable`] for a size, [`DataError::FrameCount`] for a film in a still
    /// format and for a still picture in a film format.
    pub(crate) fn check(
        self,
        path: &Path,
        w: usize,
        h: usize,
        frames: usize,
    ) -> Result<(), DataError> {
        let rule = match (self.is_film(), frames) {
            (false, 2..) => "a film ends in .mp4, .webm, .gif, .apng or in / for a folder",
            (true, 1) => "a still picture ends in .png, .jpg, .webp, .tif or .dzi",
            _ => {
                return self
                    .check_size(w, h, frames)
                    .map_err(|rule| DataError::Unencodable {
                        path: path.to_owned(),
                        w,
                        h,
                        rule,
                    });
            }
        };
        Err(DataError::FrameCount {
            path: path.to_owned(),
            frames,
            rule,
        })
    }

    /// Whether pixels of this size fit into the format, and the rule they break if not.
    fn check_size(self, w: usize, h: usize, frames: usize) -> Result<(), &'static str> {
        raw_bytes(w, h, frames)?;
        let longest = w.max(h);
        match self {
            Self::Jpeg if longest > 65_535 => {
                Err("JPEG ends at 65,535 pixels a side, use .png, .tif or .dzi")
            }
            Self::WebP if longest > 16_383 => {
                Err("WebP ends at 16,383 pixels a side, use .png, .tif or .dzi")
            }
            Self::Gif if longest > 65_535 => {
                Err("GIF ends at 65,535 pixels a side, use .apng or a folder (a name ending in /)")
            }
            // H.264 as x264 and VP9 as libvpx write them.
            Self::Mp4 | Self::WebM if longest > 16_384 => Err(
                "the encoders end at 16,384 pixels a side, use .apng or a folder (a name ending in /)",
            ),
            _ if longest > i32::MAX as usize => {
                Err("no format has over 2,147,483,647 pixels a side")
            }
            _ => Ok(()),
        }
    }

    /// The most bytes on disk until the work is done: the painted pixels, their smaller copies
    /// where the format has such, and the file.
    #[must_use]
    pub fn bytes_needed(self, w: usize, h: usize, frames: usize) -> u64 {
        let raw = raw_bytes(w, h, frames).unwrap_or(u64::MAX);
        // Noise does not compress: a thousandth and the tables come on top.
        let lossless = (raw / 1000).saturating_add(raw).saturating_add(1 << 14);
        let written = match self {
            Self::Png | Self::WebP | Self::Apng | Self::Frames => lossless,
            // A third for the smaller sizes, once as pixels and once in the file.
            Self::Tiff => lossless.saturating_add(raw / 3 * 2),
            // The same, but lossy; and the borders that tiles share.
            Self::DeepZoom => raw.saturating_add(raw / 2).saturating_add(1 << 17),
            // Noise at quality 95 takes three quarters of its raw bytes, and more at 100.
            Self::Jpeg => lossless,
            // A byte per pixel, which grows by half when it does not compress.
            Self::Gif => (raw / 2).saturating_add(1 << 14),
            // Far more than any film takes that is not noise.
            Self::Mp4 | Self::WebM => raw / 8,
        };
        raw.saturating_add(written)
    }
}

#[cfg(test)]
mod tests {
    use super::PictureFormat::{Apng, DeepZoom, Frames, Gif, Jpeg, Mp4, Png, Tiff, WebM, WebP};
    use super::*;

    #[test]
    fn the_ending_says_which() {
        for (name, format) in [
            ("a.png", Png),
            ("a.JPG", Jpeg),
            ("b/a.jpeg", Jpeg),
            ("a.webp", WebP),
            ("a.tif", Tiff),
            ("a.TIFF", Tiff),
            ("a.dzi", DeepZoom),
            ("a.gif", Gif),
            ("a.apng", Apng),
            ("a.mp4", Mp4),
            ("a.webm", WebM),
            ("a.png/", Frames),
            ("a/", Frames),
        ] {
            assert_eq!(
                PictureFormat::of(Path::new(name)).unwrap(),
                format,
                "{name}"
            );
        }
        for name in ["a", "a.bmp", "a.png.bak", ".png", "png", ""] {
            let error = PictureFormat::of(Path::new(name)).unwrap_err();
            assert!(
                matches!(error, DataError::UnknownEnding { .. }),
                "{name}: {error:?}"
            );
        }
    }

    #[test]
    fn each_format_has_its_limit() {
        for (format, w, h, fits) in [
            (Jpeg, 65_535, 1, true),
            (Jpeg, 1, 65_536, false),
            (WebP, 16_383, 16_383, true),
            (WebP, 16_384, 1, false),
            (Gif, 65_535, 1, true),
            (Gif, 1, 65_536, false),
            (Mp4, 16_384, 1, true),
            (WebM, 1, 16_385, false),
            (Tiff, 200_000, 200_000, true),
            (DeepZoom, 2_147_483_647, 1, true),
            (Tiff, 2_147_483_648, 1, false),
            (Png, 2_147_483_647, 1, true),
            (Png, 2_147_483_648, 1, false),
            (Png, 0, 5, false),
            (Png, usize::MAX, usize::MAX, false),
        ] {
            assert_eq!(
                format.check_size(w, h, 1).is_ok(),
                fits,
                "{format:?} {w}x{h}"
            );
        }
    }

    #[test]
    fn films_and_stills_do_not_mix() {
        for (name, stills, films) in [
            ("a.tif", true, false),
            ("a.gif", false, true),
            ("a/", false, true),
        ] {
            let path = Path::new(name);
            let format = PictureFormat::of(path).unwrap();
            assert_eq!(format.check(path, 4, 4, 1).is_ok(), stills, "{name}");
            assert_eq!(format.check(path, 4, 4, 2).is_ok(), films, "{name}");
        }
        let error = Png.check(Path::new("a.png"), 4, 4, 5).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a.png cannot hold 5 frames: a film ends in .mp4, .webm, .gif, .apng or in / for a folder"
        );
    }
}
