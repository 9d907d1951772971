//! What there is to read: the list of a prepared dataset, or the pictures of a plain folder.

use super::folder::{caption_of, pictures_at};
use crate::DataError;
use crate::manifest::{self, MANIFEST, Split};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A picture or clip on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its line in the list, from 0, or its place among the names of the folder; it grows from one
    /// entry to the next.
    pub key: u64,
    /// The file, relative to the folder, with `/` between folders.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What it shows, where that is known.
    pub caption: Option<String>,
    /// Width, height and frames, where the list says so.
    pub size: Option<(usize, usize, usize)>,
}

/// Pictures and clips in a fixed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// At least one of them.
    pub entries: Vec<Entry>,
    /// Digest of all names and captions, and of all files where the list has their digests: 32
    /// hexadecimal digits that change when something else is listed.
    pub digest: String,
}

/// Whether a folder holds the list of a prepared dataset.
#[must_use]
pub fn is_prepared(data: &Path) -> bool {
    data.join(MANIFEST).is_file()
}

impl Listing {
    /// Lists the dataset that was prepared in a folder, all of it or one split; or the pictures of
    /// any other folder by name, with the captions in `NAME.txt` beside them.
    ///
    /// # Errors
    ///
    /// [`DataError`] if there is nothing, or the folder, the list or a caption cannot be read.
    pub fn read(data: &Path, split: Option<Split>) -> Result<Self, DataError> {
        let mut digest = Sha256::new();
        let mut add = |parts: &[&str]| {
            for part in parts {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        };
        let mut entries = Vec::new();
        if is_prepared(data) {
            let records = manifest::read(&data.join(MANIFEST))?;
            for (key, record) in (0..).zip(records) {
                if split.is_some_and(|split| split != record.split) {
                    continue;
                }
                let caption = record.caption.as_deref().unwrap_or("\0");
                add(&[&record.file, &record.sha256, caption]);
                entries.push(Entry {
                    key,
                    path: data.join(&record.file),
                    name: record.file,
                    caption: record.caption,
                    size: Some((record.w, record.h, record.frames)),
                });
            }
        } else {
            for (key, path) in (0..).zip(pictures_at(data)?) {
                let caption = caption_of(&path)?;
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let name = name.into_owned();
                add(&[&name, caption.as_deref().unwrap_or("\0")]);
                entries.push(Entry {
                    key,
                    name,
                    path,
                    caption,
                    size: None,
                });
            }
        }
        if entries.is_empty() {
            return Err(DataError::NothingToPrepare {
                path: data.to_owned(),
                what: match split {
                    Some(Split::Train) => "picture to learn from",
                    Some(Split::Test) => "picture to measure with",
                    None => "picture",
                },
            });
        }
        let digest = digest.finalize();
        Ok(Self {
            entries,
            digest: digest[..16].iter().fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").expect("a string takes any text");
                text
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Picture;
    use crate::manifest::Record;
    use std::fs;

    fn record(file: &str, caption: Option<&str>, split: Split) -> Record {
        Record {
            file: file.to_owned(),
            sha256: "ab".repeat(32),
            w: 30,
            h: 20,
            frames: 5,
            caption: caption.map(str::to_owned),
            split,
            source: "a test".to_owned(),
            licence: "none".to_owned(),
        }
    }

    #[test]
    fn a_split_of_a_list_keeps_its_lines_as_keys() {
        let folder = tempfile::tempdir().unwrap();
        let records = [
            record("files/a.png", None, Split::Test),
            record("files/b.apng", Some("b"), Split::Train),
            record("files/c.png", None, Split::Test),
        ];
        manifest::write_lines(&folder.path().join(MANIFEST), records.iter()).unwrap();
        let keys = |split| {
            let listing = Listing::read(folder.path(), split).unwrap();
            let keys: Vec<u64> = listing.entries.iter().map(|entry| entry.key).collect();
            (keys, listing)
        };
        assert_eq!(keys(None).0, [0, 1, 2]);
        assert_eq!(keys(Some(Split::Test)).0, [0, 2]);
        let (only, listing) = keys(Some(Split::Train));
        assert_eq!(only, [1]);
        let entry = &listing.entries[0];
        assert_eq!(entry.path, folder.path().join("files/b.apng"));
        assert_eq!(entry.caption.as_deref(), Some("b"));
        assert_eq!(entry.size, Some((30, 20, 5)));
        assert_ne!(listing.digest, keys(None).1.digest);
        manifest::write_lines(&folder.path().join(MANIFEST), records[..1].iter()).unwrap();
        let error = Listing::read(folder.path(), Some(Split::Train)).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("holds no picture to learn from"),
            "{error}"
        );
    }

    #[test]
    fn a_plain_folder_is_listed_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| Picture::filled(3, 2, [9; 3]).write(&folder.path().join(name));
        write("b.png").unwrap();
        write("a.tif").unwrap();
        fs::write(folder.path().join("b.txt"), "words\n").unwrap();
        assert!(!is_prepared(folder.path()));
        let listing = Listing::read(folder.path(), None).unwrap();
        let told: Vec<_> = listing
            .entries
            .iter()
            .map(|entry| (entry.key, entry.name.as_str(), entry.caption.as_deref()))
            .collect();
        assert_eq!(told, [(0, "a.tif", None), (1, "b.png", Some("words"))]);
        fs::write(folder.path().join("b.txt"), "other words").unwrap();
        let other = Listing::read(folder.path(), None).unwrap();
        assert_ne!(other.digest, listing.digest);
    }
}
