//! Files and folders that appear under their name only when they are complete.

mod folder;

pub(crate) use self::folder::PendingFolder;

use crate::DataError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file being written beside its final place, under a temporary name.
///
/// [`PendingFile::commit`] moves it to its name; dropped before that, it leaves nothing behind.
/// After a write has failed every later one fails too, so an encoder that swallows an error
/// (in its destructor, say) cannot lead to a committed file with a hole.
#[derive(Debug)]
pub struct PendingFile {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    failure: Option<io::ErrorKind>,
    is_committed: bool,
}

impl PendingFile {
    /// Opens a temporary file in the folder of `path`.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] if the folder is missing or does not allow it.
    pub fn create(path: &Path) -> Result<Self, DataError> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let failed = |source| DataError::Write {
            path: path.to_owned(),
            source,
        };
        if path.file_name().is_none() || path.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let process = std::process::id();
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let temporary = folder_of(path).join(format!(".nuwa-{process}-{number}.part"));
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&temporary)
            {
                // Left by an earlier process of the same number: take the next one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
                Ok(file) => {
                    return Ok(Self {
                        path: path.to_owned(),
                        temporary,
                        file: BufWriter::with_capacity(1 << 16, file),
                        failure: None,
                        is_committed: false,
                    });
                }
            }
        }
    }

    /// The name the file will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name it has until then, for another program to write to.
    pub(crate) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Writes what is left to the disk and moves the file to its name, replacing what was there.
    ///
    /// # Errors
    ///
    /// [`DataError::Write`] if any write to the file has failed; the temporary file is removed.
    pub fn commit(mut self) -> Result<(), DataError> {
        let moved = self
            .flush()
            .and_then(|()| self.file.get_ref().sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.path));
        match moved {
            Ok(()) => {
                self.is_committed = true;
                Ok(())
            }
            Err(source) => Err(DataError::Write {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Refuses after the first failure, and remembers a new one.
    fn guarded<T>(
        &mut self,
        act: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(kind) = self.failure {
            return Err(kind.into());
        }
        act(&mut self.file).inspect_err(|error| {
            // An interrupted write is tried again by its caller and has lost nothing.
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure = Some(error.kind());
            }
        })
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.guarded(|file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.guarded(Write::flush)
    }
}

impl Seek for PendingFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.guarded(|file| file.seek(position))
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if !self.is_committed {
            // Nobody is left to tell if this fails too.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The folder a file lies in; the current one for a bare name.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");

        let mut dropped = PendingFile::create(&path).unwrap();
        dropped.write_all(&[1; 100_000]).unwrap();
        assert!(!path.exists());
        drop(dropped);
        assert!(names(folder.path()).is_empty());

        let mut kept = PendingFile::create(&path).unwrap();
        kept.write_all(b"whole").unwrap();
        kept.commit().unwrap();
        assert_eq!(names(folder.path()), ["out.bin"]);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn an_older_file_stays_until_the_new_one_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");
        fs::write(&path, "old").unwrap();
        let mut pending = PendingFile::create(&path).unwrap();
        pending.write_all(b"new").unwrap();
        pending.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        pending.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    /// A disk without room: writes come to the buffer, and no further.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_stops_the_commit_even_if_the_error_was_swallowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");
        let full = || {
            let mut pending = PendingFile::create(&path).unwrap();
            let disk = OpenOptions::new().write(true).open("/dev/full").unwrap();
            pending.file = BufWriter::new(disk);
            pending
        };
        let check = |pending: PendingFile| {
            let DataError::Write { path: at, source } = pending.commit().unwrap_err() else {
                panic!("another error");
            };
            assert_eq!(
                (at, source.kind()),
                (path.clone(), io::ErrorKind::StorageFull)
            );
            assert!(names(folder.path()).is_empty());
        };
        let mut late = full();
        late.write_all(b"little").unwrap();
        check(late);

        let mut swallowed = full();
        let _ = swallowed.write_all(&[0; 100_000]);
        // The disk has room again; the hole in the file stays.
        swallowed.file = BufWriter::new(File::create(&swallowed.temporary).unwrap());
        assert!(swallowed.write(b"more").is_err());
        check(swallowed);
    }

    #[test]
    fn impossible_places_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let missing = folder.path().join("missing/out.png");
        for path in [missing, file.join("out.png"), folder.path().to_owned()] {
            let error = PendingFile::create(&path).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("cannot write {}", path.display())
            );
        }
        assert_eq!(names(folder.path()), ["file"]);
    }
}
