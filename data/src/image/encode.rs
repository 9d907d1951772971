//! Pictures into files.

use super::Picture;
use crate::DataError;
use crate::out::{self, Options};
use crate::pending::folder_of;
use crate::spool::Spool;
use std::path::Path;

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
