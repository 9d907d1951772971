//! The list of a prepared dataset: JSON lines, one for each picture or clip.

use crate::DataError;
use crate::pending::PendingFile;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;

/// Name of the list in the folder of a dataset.
pub const MANIFEST: &str = "manifest.jsonl";
/// Name of the list of what could not be used.
pub const SKIPPED: &str = "skipped.jsonl";

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// To learn from.
    Train,
    /// To measure with.
    Test,
}

/// One picture or clip of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The file, relative to the folder of the list, with `/` between folders.
    pub file: String,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// Width in pixels.
    pub w: usize,
    /// Height in pixels.
    pub h: usize,
    /// How many frames; a picture has one.
    pub frames: usize,
    /// What it shows, where that is known.
    pub caption: Option<String>,
    /// What it is for.
    pub split: Split,
    /// Where it comes from.
    pub source: String,
    /// Terms under which it may be used.
    pub licence: String,
}

/// Something that could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// What it is called in its source.
    pub item: String,
    /// Why.
    pub reason: String,
}

/// Reads the list of a dataset.
///
/// # Errors
///
/// [`DataError`] if the file cannot be read or a line is damaged.
pub fn read(path: &Path) -> Result<Vec<Record>, DataError> {
    read_lines(path)
}

/// Reads the list of what could not be used.
///
/// # Errors
///
/// As [`read`].
pub fn read_skipped(path: &Path) -> Result<Vec<Skipped>, DataError> {
    read_lines(path)
}

/// A file of JSON lines; empty lines are passed over.
pub(crate) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, DataError> {
    let failed = |source| DataError::Read {
        path: path.to_owned(),
        source,
    };
    let mut items = Vec::new();
    for (index, line) in BufReader::new(File::open(path).map_err(failed)?)
        .lines()
        .enumerate()
    {
        let line = line.map_err(failed)?;
        if !line.trim().is_empty() {
            let item = serde_json::from_str(&line).map_err(|error| DataError::Line {
                path: path.to_owned(),
                line: index + 1,
                source: error.into(),
            })?;
            items.push(item);
        }
    }
    Ok(items)
}

/// Writes JSON lines; the file appears when it is complete.
pub(crate) fn write_lines<T: Serialize>(
    path: &Path,
    items: impl Iterator<Item = T>,
) -> Result<(), DataError> {
    let mut file = PendingFile::create(path)?;
    for item in items {
        let line = serde_json::to_string(&item).expect("a list of plain values");
        writeln!(file, "{line}").map_err(|source| DataError::Write {
            path: path.to_owned(),
            source,
        })?;
    }
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn record(file: &str) -> Record {
        Record {
            file: file.to_owned(),
            sha256: "00".repeat(32),
            w: 3,
            h: 2,
            frames: 1,
            caption: Some("a \"quoted\"\nline".to_owned()),
            split: Split::Test,
            source: "a test".to_owned(),
            licence: "none".to_owned(),
        }
    }

    #[test]
    fn records_come_back_one_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MANIFEST);
        let records = [record("files/a.png"), record("files/ä/b.png")];
        write_lines(&path, records.iter()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert_eq!(read(&path).unwrap(), records);
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MANIFEST);
        write_lines(&path, [record("a")].iter()).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{good}\n{{\"file\": 3}}\n")).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().starts_with("line 3 of"), "{error}");
        assert!(matches!(
            read(&folder.path().join("no")),
            Err(DataError::Read { .. })
        ));
    }
}
