//! Pictures into files.

use super::Picture;
use crate::DataError;
use crate::out::{self, Options, PictureFormat};
use crate::pending::folder_of;
use crate::spool::Spool;
use std::path::Path;

/// Finds out before any work is done whether a picture of `w` x `h` pixels can be written to
/// `path`: [`out::check`] for one frame.
///
/// # Errors
///
/// [`DataError`] naming what is in the way.
pub fn check_output(path: &Path, w: usize, h: usize) -> Result<PictureFormat, DataError> {
    out::check(path, w, h, 1)
}

impl Picture {
    /// Writes the picture in the format its ending asks for, as [`out::write`] does.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the ending is unknown, the format cannot hold the picture, or the disk
    /// refuses; nothing is left behind then.
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        out::check(path, self.w(), self.h(), 1)?;
        let spool = Spool::create(folder_of(path), self.w(), self.h(), 1)?;
        spool.paste(0, 0, 0, self)?;
        out::write(&spool, path, &Options::default())
    }
}
