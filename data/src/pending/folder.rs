//! Folders that appear under their name only when they are complete.

use super::folder_of;
use crate::DataError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder being filled beside its final place, under a temporary name.
///
/// [`PendingFolder::commit`] moves it to its name; dropped before that, it leaves nothing behind.
/// It takes the place of an older folder only if every name in that one is of the kind it would
/// write itself: nobody's pictures are lost to a mistyped name.
#[derive(Debug)]
pub(crate) struct PendingFolder {
    path: PathBuf,
    temporary: TempDir,
    is_ours: fn(&str) -> bool,
}

impl PendingFolder {
    /// Opens a temporary folder beside `path`; `is_ours` knows the names of what will be in it.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the place is taken, or the folder above is missing or does not allow it.
    pub(crate) fn create(path: &Path, is_ours: fn(&str) -> bool) -> Result<Self, DataError> {
        let failed = |source| DataError::Write {
            path: path.to_owned(),
            source,
        };
        if path.file_name().is_none() {
            return Err(failed(io::ErrorKind::InvalidInput.into()));
        }
        check_place(path, is_ours)?;
        let temporary = tempfile::Builder::new()
            .prefix(".nuwa-")
            .suffix(".part")
            .tempdir_in(folder_of(path))
            .map_err(failed)?;
        // The temporary folder is closed to other users, the one inside it is as usual.
        fs::create_dir(temporary.path().join("new")).map_err(failed)?;
        Ok(Self {
            // Without the separator that may stand at the end.
            path: path.components().collect(),
            temporary,
            is_ours,
        })
    }

    /// The folder to fill.
    pub(crate) fn inside(&self) -> PathBuf {
        self.temporary.path().join("new")
    }

    /// Moves the folder to its name, replacing an older one.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the place was taken meanwhile or the disk refuses; an older folder is
    /// where it was then.
    pub(crate) fn commit(self) -> Result<(), DataError> {
        check_place(&self.path, self.is_ours)?;
        let old = self.temporary.path().join("old");
        let has_old = match fs::rename(&self.path, &old) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(self.failed(source)),
        };
        fs::rename(self.inside(), &self.path).map_err(|source| {
            if has_old {
                // If this fails too, the first reason is the one to tell.
                let _ = fs::rename(&old, &self.path);
            }
            self.failed(source)
        })
    }

    fn failed(&self, source: io::Error) -> DataError {
        DataError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

/// Refuses a place where something else than an earlier output lies.
fn check_place(path: &Path, is_ours: fn(&str) -> bool) -> Result<(), DataError> {
    let taken = || DataError::Taken {
        path: path.to_owned(),
    };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => return Err(taken()),
    };
    for entry in entries {
        let name = entry.map_err(|_| taken())?.file_name();
        if !name.to_str().is_some_and(is_ours) {
            return Err(taken());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ours(name: &str) -> bool {
        name.starts_with("ours")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["out", "slash/"] {
            let path = folder.path().join(name);
            let fill = |file: &str| {
                let pending = PendingFolder::create(&path, is_ours).unwrap();
                fs::write(pending.inside().join(file), file).unwrap();
                pending
            };
            drop(fill("ours1"));
            assert!(!path.exists());
            fill("ours2").commit().unwrap();
            assert_eq!(names(&path), ["ours2"]);
            let pending = fill("ours3");
            assert_eq!(names(&path), ["ours2"]);
            pending.commit().unwrap();
            assert_eq!(names(&path), ["ours3"]);
        }
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn what_others_put_there_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let pending = PendingFolder::create(&path, is_ours).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("ours"), "").unwrap();
        fs::write(path.join("diary"), "dear").unwrap();
        for error in [
            pending.commit().unwrap_err(),
            PendingFolder::create(&path, is_ours).unwrap_err(),
            PendingFolder::create(&path.join("diary"), is_ours).unwrap_err(),
        ] {
            assert!(matches!(error, DataError::Taken { .. }), "{error:?}");
        }
        assert_eq!(fs::read(path.join("diary")).unwrap(), b"dear");
        assert_eq!(names(folder.path()), ["out"]);
        let nowhere = PendingFolder::create(&folder.path().join("no/out"), is_ours).unwrap_err();
        assert!(matches!(nowhere, DataError::Write { .. }), "{nowhere:?}");
    }

    #[cfg(unix)]
    #[test]
    fn others_may_look_into_it_as_into_any_folder() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        PendingFolder::create(&path, is_ours)
            .unwrap()
            .commit()
            .unwrap();
        let usual = folder.path().join("usual");
        fs::create_dir(&usual).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode();
        assert_eq!(mode(&path), mode(&usual));
    }
}
