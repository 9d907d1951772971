//! Painted pixels on disk: pictures and films that need not fit in memory.

use crate::{DataError, Picture};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The most bytes that go through memory at once where rows are read one after another.
const BAND_BYTES: usize = 1 << 20;

/// The pixels of a picture, or of all frames of a film, in a file without a name.
///
/// Three bytes per pixel, row by row, frame after frame; what was never painted is black. The
/// system removes the file with the last handle to it, even when the process is killed. Memory
/// does not grow with the picture: pixels are copied to and from the file at their offset, and
/// what the system keeps of them is its own cache.
#[derive(Debug)]
pub struct Spool {
    /// Seeking and reading are two calls and belong together.
    file: Mutex<File>,
    folder: PathBuf,
    w: usize,
    h: usize,
    frames: usize,
}

impl Spool {
    /// Room for `frames` frames of `w` x `h` pixels in `folder`: that of the output, since the
    /// system's folder for temporary files is often small.
    ///
    /// # Errors
    ///
    /// [`DataError`] if a number is 0 or the bytes cannot be counted, the folder takes no new
    /// file, or the disk has not enough room.
    pub fn create(folder: &Path, w: usize, h: usize, frames: usize) -> Result<Self, DataError> {
        let bytes = raw_bytes(w, h, frames).map_err(|rule| DataError::Unencodable {
            path: folder.to_owned(),
            w,
            h,
            rule,
        })?;
        check_room(folder, folder, bytes)?;
        let spool = |file| Self {
            file: Mutex::new(file),
            folder: folder.to_owned(),
            w,
            h,
            frames,
        };
        tempfile::tempfile_in(folder)
            .and_then(|file| file.set_len(bytes).map(|()| spool(file)))
            .map_err(|source| DataError::Write {
                path: folder.to_owned(),
                source,
            })
    }

    /// Width in pixels.
    #[must_use]
    pub fn w(&self) -> usize {
        self.w
    }

    /// Height in pixels.
    #[must_use]
    pub fn h(&self) -> usize {
        self.h
    }

    /// How many frames there are; a still picture has one.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The folder the file lies in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Copies `picture` into a frame, its upper left corner at (`x`, `y`). Any order will do.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] if the disk refuses.
    ///
    /// # Panics
    ///
    /// If it reaches outside.
    pub fn paste(
        &self,
        frame: usize,
        x: usize,
        y: usize,
        picture: &Picture,
    ) -> Result<(), DataError> {
        self.write_rect(frame, x, y, picture.w(), picture.rgb())
    }

    /// Reads `rows` whole rows from row `y` on; `rgb` holds them and nothing else afterwards.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the disk refuses.
    ///
    /// # Panics
    ///
    /// If they reach outside.
    pub fn read_rows(
        &self,
        frame: usize,
        y: usize,
        rows: usize,
        rgb: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        self.read_rect(frame, Rect::new(0, y, self.w, rows), rgb)
    }

    /// Reads the rectangle of `w` x `h` pixels whose upper left corner is at (`x`, `y`).
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the disk refuses.
    ///
    /// # Panics
    ///
    /// If it is empty or reaches outside.
    pub fn crop(
        &self,
        frame: usize,
        x: usize,
        y: usize,
        w: usize,
        h: usize,
    ) -> Result<Picture, DataError> {
        let mut rgb = Vec::new();
        self.read_rect(frame, Rect::new(x, y, w, h), &mut rgb)?;
        Ok(Picture::new(w, h, rgb))
    }

    /// Hands all rows of a frame to `take`, from the top, as many at once as fit in 1 MiB, and
    /// at least one.
    ///
    /// # Errors
    ///
    /// [`DataError::Read`] if the disk refuses, or what `take` gives.
    ///
    /// # Panics
    ///
    /// If there is no such frame.
    pub fn each_band(
        &self,
        frame: usize,
        mut take: impl FnMut(&[u8]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let rows_at_once = (BAND_BYTES / (3 * self.w)).max(1);
        let mut rgb = Vec::new();
        for y in (0..self.h).step_by(rows_at_once) {
            self.read_rows(frame, y, rows_at_once.min(self.h - y), &mut rgb)?;
            take(&rgb)?;
        }
        Ok(())
    }

    /// Reads a rectangle of a frame; `rgb` holds it and nothing else afterwards.
    pub(crate) fn read_rect(
        &self,
        frame: usize,
        rect: Rect,
        rgb: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let Rect { x, y, w, h } = rect;
        self.check_inside(frame, rect);
        rgb.resize(3 * w * h, 0);
        let failed = |source| DataError::Read {
            path: self.folder.clone(),
            source,
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Whole rows lie side by side: they are one piece.
        let piece = if w == self.w { rgb.len() } else { 3 * w };
        for (row, bytes) in rgb.chunks_exact_mut(piece).enumerate() {
            file.seek(self.place(frame, x, y + row))
                .and_then(|_| file.read_exact(bytes))
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Writes a rectangle of `w` columns, three bytes per pixel.
    pub(crate) fn write_rect(
        &self,
        frame: usize,
        x: usize,
        y: usize,
        w: usize,
        rgb: &[u8],
    ) -> Result<(), DataError> {
        self.check_inside(frame, Rect::new(x, y, w, rgb.len() / (3 * w)));
        let failed = |source: io::Error| DataError::Write {
            path: self.folder.clone(),
            source,
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = if w == self.w { rgb.len() } else { 3 * w };
        for (row, bytes) in rgb.chunks_exact(piece).enumerate() {
            file.seek(self.place(frame, x, y + row))
                .and_then(|_| file.write_all(bytes))
                .map_err(failed)?;
        }
        Ok(())
    }

    fn check_inside(&self, frame: usize, Rect { x, y, w, h }: Rect) {
        assert!(
            frame < self.frames && x + w <= self.w && y + h <= self.h,
            "{w}x{h} at {x},{y} in frame {frame} reaches outside"
        );
    }

    /// Where a pixel begins. It cannot overflow: the bytes were counted at the start.
    fn place(&self, frame: usize, x: usize, y: usize) -> SeekFrom {
        let [frame, x, y, w, h] = [frame, x, y, self.w, self.h].map(|number| number as u64);
        SeekFrom::Start(3 * ((frame * h + y) * w + x))
    }
}

/// A rectangle in pixels, from its upper left corner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rect {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) w: usize,
    pub(crate) h: usize,
}

impl Rect {
    pub(crate) fn new(x: usize, y: usize, w: usize, h: usize) -> Self {
        Self { x, y, w, h }
    }
}

/// The bytes of all pixels, or the rule that the numbers break.
pub(crate) fn raw_bytes(w: usize, h: usize, frames: usize) -> Result<u64, &'static str> {
    if w == 0 || h == 0 || frames == 0 {
        return Err("a picture has at least one pixel and a film at least one frame");
    }
    [w, h, frames]
        .into_iter()
        .try_fold(3_u64, |bytes, number| {
            bytes.checked_mul(u64::try_from(number).ok()?)
        })
        // Offsets in a file are signed.
        .filter(|&bytes| i64::try_from(bytes).is_ok())
        .ok_or("no file can hold that many bytes")
}

/// Refuses what would fill the disk under `folder` before `path` is complete.
pub(crate) fn check_room(path: &Path, folder: &Path, needed: u64) -> Result<(), DataError> {
    let available = fs4::available_space(folder).map_err(|source| DataError::Write {
        path: path.to_owned(),
        source,
    })?;
    if needed > available {
        return Err(DataError::DiskTooSmall {
            path: path.to_owned(),
            needed,
            available,
        });
    }
    Ok(())
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
    fn pieces_in_any_order_give_the_frames() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::create(folder.path(), 31, 20, 3).unwrap();
        let picture = noise(31, 20);
        for (frame, x, y) in [(2, 16, 8), (1, 0, 8), (2, 0, 0), (1, 16, 0), (2, 16, 0)] {
            let (w, h) = (if x == 0 { 16 } else { 15 }, if y == 0 { 8 } else { 12 });
            spool.paste(frame, x, y, &picture.crop(x, y, w, h)).unwrap();
        }
        spool.paste(2, 0, 8, &picture.crop(0, 8, 31, 12)).unwrap();
        let mut rgb = vec![9; 5];
        spool.read_rows(2, 0, 20, &mut rgb).unwrap();
        assert_eq!(rgb, picture.rgb());
        spool.read_rows(1, 7, 2, &mut rgb).unwrap();
        assert_eq!(rgb[..3 * 16], [0; 3 * 16]);
        assert_eq!(rgb[3 * 16..3 * 31], picture.crop(16, 7, 15, 1).rgb()[..]);
        assert_eq!(rgb[3 * 31..3 * 47], picture.crop(0, 8, 16, 1).rgb()[..]);
        spool.read_rows(0, 0, 20, &mut rgb).unwrap();
        assert!(rgb.iter().all(|&byte| byte == 0));
        spool.read_rect(2, Rect::new(3, 4, 5, 6), &mut rgb).unwrap();
        assert_eq!(rgb, picture.crop(3, 4, 5, 6).rgb());
    }

    #[test]
    fn bands_follow_each_other_without_gap() {
        let folder = tempfile::tempdir().unwrap();
        // 58 rows fit in a band.
        let spool = Spool::create(folder.path(), 6000, 130, 2).unwrap();
        let picture = noise(6000, 130);
        spool.paste(1, 0, 0, &picture).unwrap();
        let (mut all, mut bands) = (Vec::new(), 0);
        let collect = |rgb: &[u8]| {
            assert!(rgb.len() <= BAND_BYTES);
            all.extend_from_slice(rgb);
            bands += 1;
            Ok(())
        };
        spool.each_band(1, collect).unwrap();
        assert_eq!((all.as_slice(), bands), (picture.rgb(), 3));
    }

    #[test]
    fn nothing_is_seen_of_it_and_nothing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::create(folder.path(), 100, 100, 1).unwrap();
        if cfg!(unix) {
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        drop(spool);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn impossible_rooms_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let create = |w, h, frames| Spool::create(folder.path(), w, h, frames).unwrap_err();
        for (w, h, frames) in [
            (0, 1, 1),
            (1, 0, 1),
            (1, 1, 0),
            (usize::MAX, 2, 1),
            (1 << 62, 1, 1),
        ] {
            let error = create(w, h, frames);
            assert!(matches!(error, DataError::Unencodable { .. }), "{error:?}");
        }
        let error = create(1_000_000_000, 1_000_000, 5);
        assert!(matches!(error, DataError::DiskTooSmall { .. }), "{error:?}");
        let error = Spool::create(&folder.path().join("missing"), 1, 1, 1).unwrap_err();
        assert!(matches!(error, DataError::Write { .. }), "{error:?}");
    }

    #[test]
    #[should_panic(expected = "2x2 at 3,0 in frame 0 reaches outside")]
    fn a_piece_over_the_edge_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::create(folder.path(), 4, 4, 1).unwrap();
        let _ = spool.paste(0, 3, 0, &noise(2, 2));
    }
}
