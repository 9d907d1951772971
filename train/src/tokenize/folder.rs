//! What lies beside the records of a store: the arguments it was made with, and what was left out.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nuwa_data::manifest::{SKIPPED, Skipped};
use nuwa_data::pending::PendingFile;
use serde_json::{Map, Value};

/// Name of the arguments in the folder of a store.
const ARGUMENTS: &str = "tokenize.json";

/// Takes a folder for a store made with these arguments, or finds that it holds one.
pub(super) fn claim(folder: &Path, arguments: &Map<String, Value>) -> anyhow::Result<()> {
    let path = folder.join(ARGUMENTS);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let found: Map<String, Value> = serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged", path.display()))?;
            let differ = differences(&found, arguments);
            if !differ.is_empty() {
                bail!(
                    "{} was made otherwise: {}; choose another folder",
                    folder.display(),
                    differ.join(", ")
                );
            }
            return Ok(());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let failed = || format!("cannot write {}", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    for entry in fs::read_dir(folder).with_context(failed)? {
        // What is hidden is not ours, or what a killed run had begun.
        let name = entry.with_context(failed)?.file_name();
        if !name.to_string_lossy().starts_with('.') {
            bail!("{} holds something else than a store", folder.display());
        }
    }
    write_lines(&path, [serde_json::to_string_pretty(arguments)?])
}

/// Says where the arguments of a store are others than those given.
fn differences(found: &Map<String, Value>, given: &Map<String, Value>) -> Vec<String> {
    let keys = given.keys().chain(found.keys());
    let mut seen = HashSet::new();
    let told = |value: Option<&Value>| match value {
        None => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    keys.filter(|key| seen.insert(*key) && found.get(*key) != given.get(*key))
        .map(|key| {
            let (found, given) = (told(found.get(key)), told(given.get(key)));
            format!("{key} {found} and not {given}")
        })
        .collect()
}

fn write_lines(
    path: &Path,
    lines: impl IntoIterator<Item = impl AsRef<str>>,
) -> anyhow::Result<()> {
    let mut file = PendingFile::create(path)?;
    for line in lines {
        writeln!(file, "{}", line.as_ref())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(file.commit()?)
}

/// The list of what could not be used.
#[derive(Debug)]
pub(super) struct SkipList {
    path: PathBuf,
    file: File,
    items: HashSet<String>,
}

impl SkipList {
    /// Opens the list of a store. What is not `kept` is struck off, as is a line that a killed run
    /// has not finished: it comes again.
    pub(super) fn open(folder: &Path, kept: impl Fn(&str) -> bool) -> anyhow::Result<Self> {
        let path = folder.join(SKIPPED);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let text = String::from_utf8_lossy(&text);
        let mut items = HashSet::new();
        let lines = text.lines().filter(|line| {
            let skipped: Option<Skipped> = serde_json::from_str(line).ok();
            skipped.is_some_and(|it| kept(&it.item) && items.insert(it.item))
        });
        let lines: Vec<&str> = lines.collect();
        write_lines(&path, lines)?;
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path, file, items })
    }

    /// Gives how many items are on it.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds an item; nothing happens if it is there already. Gives whether it is new.
    pub(super) fn add(&mut self, item: &str, reason: &str) -> anyhow::Result<bool> {
        if !self.items.insert(item.to_owned()) {
            return Ok(false);
        }
        let skipped = Skipped {
            item: item.to_owned(),
            reason: reason.to_owned(),
        };
        let line = format!("{}\n", serde_json::to_string(&skipped)?);
        self.file
            .write_all(line.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuwa_data::manifest::read_skipped;
    use serde_json::json;

    fn arguments(value: &Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_folder_is_taken_once_and_tells_what_differs() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("a/store");
        let first = arguments(&json!({"seed": 1, "size": "8x8"}));
        for _ in 0..2 {
            claim(&folder, &first).expect("it is ours");
        }
        let other = arguments(&json!({"seed": 1, "size": "8x9", "crops": 2}));
        let error = claim(&folder, &other)
            .expect_err("another size")
            .to_string();
        assert!(
            error.contains("made otherwise: crops none and not 2, size 8x8 and not 8x9;"),
            "{error}"
        );
        fs::remove_file(folder.join(ARGUMENTS)).expect("removed");
        fs::write(folder.join(".nuwa-1-1.part"), "").expect("written");
        claim(&folder, &first).expect("only a rest of a killed run is there");
        let foreign = place.path().join("foreign");
        fs::create_dir(&foreign).expect("created");
        fs::write(foreign.join("store.json"), "{}").expect("written");
        let error = claim(&foreign, &first).expect_err("not ours").to_string();
        assert!(
            error.ends_with("holds something else than a store"),
            "{error}"
        );
    }

    #[test]
    fn a_list_goes_on_where_it_was_torn() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(SKIPPED);
        let mut list = SkipList::open(folder.path(), |_| true).expect("opened");
        assert!(list.add("a", "no reason").expect("added"));
        assert!(!list.add("a", "another").expect("there already"));
        assert!(list.add("b", "two\nlines").expect("added"));
        assert!(list.add("c", "c").expect("added"));
        drop(list);
        let whole = fs::read(&path).expect("a list");
        fs::write(&path, &whole[..whole.len() - 5]).expect("torn");
        let mut list = SkipList::open(folder.path(), |item| item != "b").expect("opened");
        assert_eq!(list.len(), 1);
        assert!(list.add("b", "again").expect("added"));
        let told = read_skipped(&path).expect("a list");
        let told: Vec<_> = told.iter().map(|it| (&*it.item, &*it.reason)).collect();
        assert_eq!(told, [("a", "no reason"), ("b", "again")]);
    }
}
