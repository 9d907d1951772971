//! Files that one process at a time may change.

use crate::DataError;
use std::fs::{File, TryLockError};
use std::path::Path;

/// A lock on an open file, given back when it is dropped.
///
/// It would be given back with the file, too, but not at once: a program that another thread is
/// just starting holds every open file until it has begun.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// A lock that nobody else has.
    ///
    /// # Errors
    ///
    /// [`DataError::InUse`] if somebody else has one, or [`DataError::Read`] if there are no locks.
    pub(crate) fn exclusive(path: &Path, file: &File) -> Result<Self, DataError> {
        Self::take(path, file, File::try_lock)
    }

    /// A lock that keeps exclusive ones out.
    ///
    /// # Errors
    ///
    /// As [`Lock::exclusive`].
    pub(crate) fn shared(path: &Path, file: &File) -> Result<Self, DataError> {
        Self::take(path, file, File::try_lock_shared)
    }

    fn take(
        path: &Path,
        file: &File,
        try_lock: impl Fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Self, DataError> {
        let path = path.to_owned();
        let file = match file.try_clone() {
            Ok(file) => file,
            Err(source) => return Err(DataError::Read { path, source }),
        };
        match try_lock(&file) {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(DataError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(DataError::Read { path, source }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, the lock goes with the file.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let [first, second] = [(); 2].map(|()| File::create(&path).unwrap());
        // As a program that is being started would hold it.
        let _held = first.try_clone().unwrap();
        let shared = Lock::shared(&path, &first).unwrap();
        drop(Lock::shared(&path, &second).unwrap());
        let error = Lock::exclusive(&path, &second).unwrap_err();
        assert!(matches!(error, DataError::InUse { .. }), "{error:?}");
        drop(shared);
        drop(Lock::exclusive(&path, &second).unwrap());
        assert!(Lock::exclusive(&path, &first).is_ok());
    }
}
