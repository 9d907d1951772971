//! What is done of a dataset so far: JSON lines that are only ever added to.

use crate::DataError;
use crate::lock::Lock;
use crate::manifest::Record;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Name of the file in the folder of a dataset.
const JOURNAL: &str = "journal.jsonl";
/// Changes when the lines change.
const VERSION: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize, PartialEq)]
struct Head {
    version: u32,
    settings: Value,
}

/// One finished item: its files, and why it or a part of it was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) item: String,
    pub(super) records: Vec<Record>,
    pub(super) skipped: Option<String>,
}

/// The journal of one folder, which nobody else has open.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    _lock: Lock,
    done: HashMap<String, Line>,
}

impl Journal {
    /// Opens the journal in a folder and cuts off a line that was not finished.
    pub(super) fn open(out: &Path, settings: &Value) -> Result<Self, DataError> {
        let path = out.join(JOURNAL);
        let write = |source| DataError::Write {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(out).map_err(write)?;
        let options = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .clone();
        let mut file = options.open(&path).map_err(write)?;
        let lock = Lock::exclusive(&path, &file)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(write)?;
        let mut journal = Self {
            done: HashMap::new(),
            path,
            file,
            _lock: lock,
        };
        let whole = journal.read(&text, settings)?;
        if whole == 0 {
            journal.restart(settings)?;
        } else if whole < text.len() {
            journal.cut(whole)?;
        }
        remove_unfinished(out);
        Ok(journal)
    }

    /// Whether an item is done and its files are there. What was left out is tried again: the
    /// file may have been repaired.
    pub(super) fn is_done(&self, out: &Path, item: &str) -> bool {
        self.done.get(item).is_some_and(|line| {
            line.skipped.is_none()
                && line
                    .records
                    .iter()
                    .all(|record| out.join(&record.file).is_file())
        })
    }

    /// What is known of an item.
    pub(super) fn line(&self, item: &str) -> Option<&Line> {
        self.done.get(item)
    }

    /// Adds the line of an item to the file.
    pub(super) fn append(&self, line: &Line) -> Result<(), DataError> {
        let text = serde_json::to_string(line).expect("lines are plain values");
        self.write(&format!("{text}\n"))
    }

    /// Takes note of lines that were appended.
    pub(super) fn extend(&mut self, lines: Vec<Line>) {
        let named = lines.into_iter().map(|line| (line.item.clone(), line));
        self.done.extend(named);
    }

    /// Reads all whole lines; gives the bytes they take.
    fn read(&mut self, text: &[u8], settings: &Value) -> Result<usize, DataError> {
        let mut whole = 0;
        for (index, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let is_last = whole + line.len() == text.len();
            let damaged = |error: serde_json::Error| DataError::Line {
                path: self.path.clone(),
                line: index + 1,
                source: error.into(),
            };
            if index == 0 {
                match serde_json::from_slice::<Head>(line) {
                    Err(_) if is_last => return Ok(0),
                    Err(error) => return Err(damaged(error)),
                    Ok(head) if head.version == VERSION && head.settings == *settings => {}
                    Ok(_) => {
                        let path = self.path.clone();
                        return Err(DataError::OtherPreparation { path });
                    }
                }
                if !line.ends_with(b"\n") {
                    return Ok(0);
                }
            } else {
                match serde_json::from_slice::<Line>(line) {
                    // A machine that lost its power can leave anything at the end.
                    Err(_) if is_last => break,
                    Err(error) => return Err(damaged(error)),
                    Ok(_) if !line.ends_with(b"\n") => break,
                    Ok(line) => {
                        self.done.insert(line.item.clone(), line);
                    }
                }
            }
            whole += line.len();
        }
        Ok(whole)
    }

    fn restart(&mut self, settings: &Value) -> Result<(), DataError> {
        self.cut(0)?;
        let head = Head {
            version: VERSION,
            settings: settings.clone(),
        };
        let text = serde_json::to_string(&head).expect("settings are plain values");
        self.write(&format!("{text}\n"))
    }

    fn cut(&mut self, bytes: usize) -> Result<(), DataError> {
        let cut = self.file.set_len(bytes as u64);
        cut.and_then(|()| self.file.seek(SeekFrom::End(0)))
            .map(|_| ())
            .map_err(|source| self.failed(source))
    }

    fn write(&self, text: &str) -> Result<(), DataError> {
        (&self.file)
            .write_all(text.as_bytes())
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> DataError {
        DataError::Write {
            path: self.path.clone(),
            source,
        }
    }
}

/// Removes what a killed run had begun. It is no harm where that fails.
fn remove_unfinished(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_unfinished(&entry.path());
        } else if name.starts_with(".nuwa-") && name.ends_with(".part") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(item: &str) -> Line {
        Line {
            item: item.to_owned(),
            records: Vec::new(),
            skipped: None,
        }
    }

    fn filled(out: &Path) -> PathBuf {
        let journal = Journal::open(out, &json!({"n": 1})).unwrap();
        journal.append(&line("a")).unwrap();
        journal.append(&line("b")).unwrap();
        out.join(JOURNAL)
    }

    #[test]
    fn cut_off_anywhere_it_goes_on_with_the_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = filled(folder.path());
        let whole = fs::read(&path).unwrap();
        let ends: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] == b'\n').collect();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let journal = Journal::open(folder.path(), &json!({"n": 1})).unwrap();
            let has = |item: &str| journal.is_done(folder.path(), item);
            assert_eq!(
                (has("a"), has("b")),
                (length > ends[1], length > ends[2]),
                "{length}"
            );
            journal.append(&line("c")).unwrap();
            drop(journal);
            let again = Journal::open(folder.path(), &json!({"n": 1})).unwrap();
            assert!(again.is_done(folder.path(), "c"), "{length}");
        }
    }

    #[test]
    fn garbage_at_the_end_is_cut_and_in_the_middle_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = filled(folder.path());
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}\0\0\0\n")).unwrap();
        let journal = Journal::open(folder.path(), &json!({"n": 1})).unwrap();
        assert!(journal.is_done(folder.path(), "b"));
        drop(journal);
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        fs::write(
            &path,
            whole.replacen("{\"item\":\"a\"", "{\"itm\":\"a\"", 1),
        )
        .unwrap();
        let error = Journal::open(folder.path(), &json!({"n": 1})).unwrap_err();
        assert!(error.to_string().starts_with("line 2 of"), "{error}");
    }

    #[test]
    fn other_settings_and_other_processes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path());
        let error = Journal::open(folder.path(), &json!({"n": 2})).unwrap_err();
        assert!(
            matches!(error, DataError::OtherPreparation { .. }),
            "{error:?}"
        );
        let open = Journal::open(folder.path(), &json!({"n": 1})).unwrap();
        let error = Journal::open(folder.path(), &json!({"n": 1})).unwrap_err();
        assert!(matches!(error, DataError::InUse { .. }), "{error:?}");
        drop(open);
        assert!(Journal::open(folder.path(), &json!({"n": 1})).is_ok());
    }

    #[test]
    fn leftovers_of_a_killed_run_go() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("files/sub");
        fs::create_dir_all(&files).unwrap();
        fs::write(files.join(".nuwa-1-2.part"), "half").unwrap();
        fs::write(files.join("whole.part"), "theirs").unwrap();
        filled(folder.path());
        let names: Vec<_> = fs::read_dir(&files).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }
}
