//! Where the files of an item go.

use super::Origin;
use crate::manifest::{Record, Split};
use crate::pending::PendingFile;
use crate::{DataError, Picture, video};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// The folder of files beside the manifest.
const FILES: &str = "files";

/// Takes the pictures and clips of one item.
pub(super) struct Sink<'a> {
    out: &'a Path,
    /// The item's name, fit for a file.
    stem: String,
    split: Split,
    origin: &'a Origin,
    records: Vec<Record>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(out: &'a Path, id: &str, split: Split, origin: &'a Origin) -> Self {
        Self {
            out,
            stem: stem(id),
            split,
            origin,
            records: Vec::new(),
        }
    }

    /// Keeps a picture as PNG.
    pub(super) fn picture(
        &mut self,
        picture: &Picture,
        caption: Option<String>,
    ) -> Result<(), DataError> {
        let size = (picture.w(), picture.h(), 1);
        self.keep("png", size, caption, |path| picture.write(path))
    }

    /// Keeps a clip as APNG; one of a single frame is a picture.
    pub(super) fn clip(
        &mut self,
        frames: &[Picture],
        caption: Option<String>,
    ) -> Result<(), DataError> {
        if let [picture] = frames {
            return self.picture(picture, caption);
        }
        let size = (frames[0].w(), frames[0].h(), frames.len());
        self.keep("apng", size, caption, |path| {
            video::write_clip(path, frames)
        })
    }

    /// Keeps a picture file as it is; `picture` is what it decodes to.
    pub(super) fn file(
        &mut self,
        bytes: &[u8],
        ending: &str,
        picture: &Picture,
        caption: Option<String>,
    ) -> Result<(), DataError> {
        let size = (picture.w(), picture.h(), 1);
        self.keep(ending, size, caption, |path| {
            let mut file = PendingFile::create(path)?;
            file.write_all(bytes)
                .map_err(|source| write_error(path, source))?;
            file.commit()
        })
    }

    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }

    fn keep(
        &mut self,
        ending: &str,
        (w, h, frames): (usize, usize, usize),
        caption: Option<String>,
        write: impl FnOnce(&Path) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        // The first file has the item's name alone: most items are one file.
        let number = match self.records.len() {
            0 => String::new(),
            n => format!("-{n:05}"),
        };
        let ending = ending.to_lowercase();
        let dot = if self.stem.to_lowercase().ends_with(&format!(".{ending}")) && number.is_empty()
        {
            String::new()
        } else {
            format!(".{ending}")
        };
        let file = format!("{FILES}/{}{number}{dot}", self.stem);
        let path = self.out.join(&file);
        let folder = path.parent().expect("it is in a folder of files");
        fs::create_dir_all(folder).map_err(|source| write_error(folder, source))?;
        write(&path)?;
        self.records.push(Record {
            file,
            sha256: hash_of(&path)?,
            w,
            h,
            frames,
            caption,
            split: self.split,
            source: self.origin.source.clone(),
            licence: self.origin.licence.clone(),
        });
        Ok(())
    }
}

fn write_error(path: &Path, source: io::Error) -> DataError {
    DataError::Write {
        path: path.to_owned(),
        source,
    }
}

/// The name of an item as a path below the folder of files, whatever the name is. Where it has to
/// be changed a piece of its hash keeps it apart from others.
fn stem(id: &str) -> String {
    let fits = |letter: char| letter.is_alphanumeric() || "._-".contains(letter);
    let parts = id
        .split('/')
        .filter(|part| !part.trim_matches('.').is_empty());
    let parts: Vec<String> = parts
        .map(|part| part.replace(|letter| !fits(letter), "_"))
        .collect();
    let stem = parts.join("/");
    if stem == id && !id.is_empty() {
        return stem;
    }
    let hash = hexadecimal(&Sha256::digest(id.as_bytes())[..4]);
    match stem.is_empty() {
        true => hash,
        false => format!("{stem}.{hash}"),
    }
}

/// SHA-256 of a file that was just written.
fn hash_of(path: &Path) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut hash))
        .map_err(|source| write_error(path, source))?;
    Ok(hexadecimal(&hash.finalize()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_folder_and_apart() {
        let check = |id: &str, expected: &str| assert_eq!(stem(id), expected);
        check("a/b.jpg", "a/b.jpg");
        check("ä.png", "ä.png");
        for id in ["../../a", "/etc/a", "a//b", "C:\\a", "..", ""] {
            let stem = stem(id);
            let parts: Vec<&str> = stem.split('/').collect();
            assert!(
                parts.iter().all(|part| !part.trim_matches('.').is_empty()),
                "{id}: {stem}"
            );
            assert!(!stem.contains('\\') && !stem.contains(':'), "{id}: {stem}");
        }
        assert_ne!(stem("a b"), stem("a_b"));
        assert_ne!(stem("a b"), stem("a?b"));
    }

    #[test]
    fn records_tell_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin {
            source: "a test".to_owned(),
            licence: "none".to_owned(),
        };
        let mut sink = Sink::new(folder.path(), "x/a.PNG", Split::Test, &origin);
        let picture = Picture::filled(4, 3, [1, 2, 3]);
        sink.picture(&picture, Some("flat".to_owned())).unwrap();
        sink.clip(&[picture.clone(), picture.clone()], None)
            .unwrap();
        sink.file(b"abc", "jpg", &picture, None).unwrap();
        let records = sink.into_records();
        let files: Vec<&str> = records.iter().map(|record| record.file.as_str()).collect();
        let expected = [
            "files/x/a.PNG",
            "files/x/a.PNG-00001.apng",
            "files/x/a.PNG-00002.jpg",
        ];
        assert_eq!(files, expected);
        // The digest that the standard gives for these three letters.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(records[2].sha256, abc);
        assert_eq!((records[1].w, records[1].h, records[1].frames), (4, 3, 2));
        assert_eq!(records[0].caption.as_deref(), Some("flat"));
        assert_eq!(
            (records[0].split, &*records[0].source),
            (Split::Test, "a test")
        );
        assert_eq!(
            Picture::read(&folder.path().join(&records[0].file)).unwrap(),
            picture
        );
        let clip = video::read_clip(&folder.path().join(&records[1].file)).unwrap();
        assert_eq!(clip, [picture.clone(), picture]);
    }
}
