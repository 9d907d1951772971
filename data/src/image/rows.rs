//! A PNG written row by row, for canvases that do not fit in memory.

use super::PictureFormat;
use crate::DataError;
use crate::pending::PendingFile;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A PNG whose rows arrive from the top, in order.
///
/// The file appears under its name with [`PngRows::finish`]; dropped before that, nothing is left.
pub struct PngRows {
    path: PathBuf,
    file: SharedFile,
    rows: png::StreamWriter<'static, SharedFile>,
    /// Bytes that are still to come.
    left: usize,
}

impl PngRows {
    /// Starts a PNG of `w` x `h` pixels.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the name does not end in `.png`, PNG cannot hold the size, or the folder
    /// takes no new file.
    pub fn create(path: &Path, w: usize, h: usize) -> Result<Self, DataError> {
        Self::with_description(path, w, h, None)
    }

    /// As [`PngRows::create`], with a text about how the picture was made.
    ///
    /// # Errors
    ///
    /// As [`PngRows::create`].
    pub fn with_description(
        path: &Path,
        w: usize,
        h: usize,
        description: Option<&str>,
    ) -> Result<Self, DataError> {
        if PictureFormat::of(path)? != PictureFormat::Png {
            return Err(DataError::UnknownEnding {
                path: path.to_owned(),
            });
        }
        PictureFormat::Png.check(path, w, h, 1)?;
        let file = SharedFile(Arc::new(Mutex::new(PendingFile::create(path)?)));
        let mut encoder = png::Encoder::new(file.clone(), super::side(w), super::side(h));
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let rows = add_description(&mut encoder, description)
            .and_then(|()| encoder.write_header())
            .and_then(|writer| writer.into_stream_writer_with_size(CHUNK_BYTES))
            .map_err(|error| png_error(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            rows,
            left: 3 * w * h,
        })
    }

    /// Adds the next bytes, three per pixel, row by row.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the disk refuses.
    ///
    /// # Panics
    ///
    /// If there are more bytes than the picture has.
    pub fn push(&mut self, rgb: &[u8]) -> Result<(), DataError> {
        // The encoder itself would start a second picture in the same file.
        self.left = self
            .left
            .checked_sub(rgb.len())
            .expect("no more rows than the picture has");
        let failed = |source| DataError::Write {
            path: self.path.clone(),
            source,
        };
        self.rows.write_all(rgb).map_err(failed)
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    ///
    /// [`DataError`] if rows are missing or the disk refuses.
    pub fn finish(self) -> Result<(), DataError> {
        let Self {
            path, file, rows, ..
        } = self;
        rows.finish().map_err(|error| png_error(&path, error))?;
        let file = Arc::into_inner(file.0).expect("the encoder that shared the file is gone");
        // The encoder's destructor swallows errors; the file remembers them and refuses here.
        file.into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .commit()
    }
}

/// How much is compressed before it goes to the file as one chunk.
const CHUNK_BYTES: usize = 1 << 16;

/// The keyword PNG has for such a text.
pub(crate) const DESCRIPTION: &str = "Description";

/// Puts a text about how the picture was made before the pixels, as UTF-8.
pub(crate) fn add_description<W: Write>(
    encoder: &mut png::Encoder<'_, W>,
    description: Option<&str>,
) -> Result<(), png::EncodingError> {
    match description {
        Some(text) => encoder.add_itxt_chunk(DESCRIPTION.to_owned(), text.to_owned()),
        None => Ok(()),
    }
}

pub(crate) fn png_error(path: &Path, error: png::EncodingError) -> DataError {
    match error {
        png::EncodingError::IoError(source) => DataError::Write {
            path: path.to_owned(),
            source,
        },
        error => DataError::Encode {
            path: path.to_owned(),
            source: error.into(),
        },
    }
}

/// The file under the encoder, which keeps its writer and does not give it back.
#[derive(Clone)]
struct SharedFile(Arc<Mutex<PendingFile>>);

impl Write for SharedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Picture;
    use std::fs;

    fn noise(w: usize, h: usize) -> Picture {
        let byte = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
        Picture::new(w, h, (0..3 * w * h).map(byte).collect())
    }

    #[test]
    fn rows_in_any_portions_give_the_picture() {
        let folder = tempfile::tempdir().unwrap();
        let picture = noise(301, 203);
        for rows_at_once in [1, 16, 203] {
            let path = folder.path().join("a.png");
            let mut rows = PngRows::create(&path, 301, 203).unwrap();
            for band in picture.rgb().chunks(3 * 301 * rows_at_once) {
                rows.push(band).unwrap();
            }
            assert!(!path.exists());
            rows.finish().unwrap();
            assert_eq!(Picture::read(&path).unwrap(), picture);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn missing_rows_are_an_error_that_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let mut short = PngRows::create(&path, 4, 4).unwrap();
        short.push(&[0; 3 * 4 * 3]).unwrap();
        assert!(matches!(short.finish(), Err(DataError::Encode { .. })));
        drop(PngRows::create(&path, 4, 4).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    #[should_panic(expected = "no more rows than the picture has")]
    fn surplus_rows_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut rows = PngRows::create(&folder.path().join("a.png"), 4, 4).unwrap();
        rows.push(&[0; 3 * 4 * 4]).unwrap();
        let _ = rows.push(&[0]);
    }

    #[test]
    fn only_png_is_written_by_rows() {
        for name in ["a.jpg", "a"] {
            let error = PngRows::create(Path::new(name), 4, 4).err().unwrap();
            assert!(
                matches!(error, DataError::UnknownEnding { .. }),
                "{error:?}"
            );
        }
        let error = PngRows::create(Path::new("a.png"), 0, 4).err().unwrap();
        assert!(matches!(error, DataError::Unencodable { .. }), "{error:?}");
    }
}
