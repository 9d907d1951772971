//! What pictures show, as their owners have written it down.

use crate::DataError;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Files of captions that are looked for in a folder.
const NAMES: [&str; 3] = ["captions.jsonl", "captions.csv", "metadata.jsonl"];
/// What the fields of such a file may be called.
const FILE: [&str; 4] = ["file", "file_name", "filename", "image"];
const CAPTION: [&str; 3] = ["caption", "text", "description"];

/// Where captions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Captions {
    /// In a text file beside each picture, `NAME.txt`, or nowhere.
    Beside,
    /// In one file for all: captions by the names of the pictures.
    Listed {
        path: PathBuf,
        by_name: HashMap<String, String>,
    },
}

impl Captions {
    /// The captions in `file`, or those that the folder is seen to have.
    ///
    /// A file of captions is JSON lines or CSV with a column for the name of a picture, relative
    /// to the folder, and one for its caption. Of several captions of one picture the first counts.
    ///
    /// # Errors
    ///
    /// [`DataError`] if a file of captions cannot be read or understood.
    pub(super) fn of(folder: &Path, file: Option<&Path>) -> Result<Self, DataError> {
        let found = NAMES
            .iter()
            .map(|name| folder.join(name))
            .find(|path| path.is_file());
        let Some(path) = file.map(Path::to_owned).or(found) else {
            return Ok(Self::Beside);
        };
        let is_csv = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        let pairs = if is_csv {
            from_csv(&path)?
        } else {
            from_json(&path)?
        };
        let mut by_name = HashMap::new();
        for (name, caption) in pairs {
            by_name.entry(name).or_insert(caption);
        }
        Ok(Self::Listed { path, by_name })
    }

    /// The caption of a picture, `name` relative to the folder.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the text file beside it cannot be read.
    pub(super) fn get(&self, folder: &Path, name: &str) -> Result<Option<String>, DataError> {
        let text = match self {
            Self::Listed { by_name, .. } => by_name.get(name).cloned(),
            Self::Beside => {
                let path = folder.join(name).with_extension("txt");
                match fs::read_to_string(&path) {
                    Ok(text) => Some(text),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(source) => return Err(DataError::Read { path, source }),
                }
            }
        };
        let text = text.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// Names that have a caption and are none of `names`, with the file that has them.
    pub(super) fn without_picture<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let Self::Listed { by_name, .. } = self else {
            return Vec::new();
        };
        let names: std::collections::HashSet<&str> = names.collect();
        let mut left: Vec<String> = by_name
            .keys()
            .filter(|name| !names.contains(name.as_str()))
            .cloned()
            .collect();
        left.sort();
        left
    }
}

fn from_csv(path: &Path) -> Result<Vec<(String, String)>, DataError> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_path(path)
        .map_err(|error| csv_error(path, error))?;
    let head = reader
        .headers()
        .map_err(|error| csv_error(path, error))?
        .clone();
    let column = |names: &'static [&str], what, all| {
        let is_it = |name: &str| names.contains(&name.trim().to_lowercase().as_str());
        head.iter()
            .position(is_it)
            .ok_or_else(|| DataError::NoColumn {
                path: path.to_owned(),
                what,
                names: all,
            })
    };
    let file = column(&FILE, "pictures", "file, file_name, filename or image")?;
    let caption = column(&CAPTION, "captions", "caption, text or description")?;
    let mut pairs = Vec::new();
    for (index, row) in reader.records().enumerate() {
        let row = row.map_err(|error| csv_error(path, error))?;
        let (Some(file), Some(caption)) = (row.get(file), row.get(caption)) else {
            let line = row.position().map_or(index + 2, |at| at.line() as usize);
            return Err(short_line(path, line));
        };
        pairs.push((file.to_owned(), caption.to_owned()));
    }
    Ok(pairs)
}

fn from_json(path: &Path) -> Result<Vec<(String, String)>, DataError> {
    let values: Vec<Value> = crate::manifest::read_lines(path)?;
    let text = |value: &Value, names: &[&str]| {
        let found = names.iter().find_map(|name| value.get(name)?.as_str());
        found.map(str::to_owned)
    };
    let pair = |(index, value): (usize, &Value)| {
        let pair = text(value, &FILE).zip(text(value, &CAPTION));
        pair.ok_or_else(|| short_line(path, index + 1))
    };
    values.iter().enumerate().map(pair).collect()
}

fn short_line(path: &Path, line: usize) -> DataError {
    DataError::Line {
        path: path.to_owned(),
        line,
        source: "it does not hold a name and a caption".into(),
    }
}

fn csv_error(path: &Path, error: csv::Error) -> DataError {
    let line = error.position().map_or(0, |at| at.line() as usize);
    let path = path.to_owned();
    match error.into_kind() {
        csv::ErrorKind::Io(source) => DataError::Read { path, source },
        kind => DataError::Line {
            path,
            line,
            source: format!("{kind:?}").into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the captions of `a.png` and `sub/b.png` in a folder with one more file.
    fn check(name: &str, text: &str, a: Option<&str>, b: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let captions = Captions::of(folder.path(), None).unwrap();
        let get = |name: &str| captions.get(folder.path(), name).unwrap();
        assert_eq!(get("a.png").as_deref(), a, "{name}");
        assert_eq!(get("sub/b.png").as_deref(), b, "{name}");
    }

    #[test]
    fn captions_are_found_where_people_keep_them() {
        check(
            "a.txt",
            " a lake\n at dawn \n",
            Some("a lake at dawn"),
            None,
        );
        check("sub/b.txt", "hills", None, Some("hills"));
        check("a.txt", "\n", None, None);
        let jsonl = "{\"file\": \"a.png\", \"caption\": \"one\"}\n\n{\"file_name\": \"sub/b.png\", \"text\": \"two\"}";
        check("captions.jsonl", jsonl, Some("one"), Some("two"));
        check("metadata.jsonl", jsonl, Some("one"), Some("two"));
        let csv = "id,Caption,image\n1,\"one, \"\"two\"\"\",a.png\n2,,sub/b.png\n3,late,a.png\n";
        check("captions.csv", csv, Some("one, \"two\""), None);
    }

    #[test]
    fn names_without_a_picture_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.csv");
        fs::write(&path, "file,caption\nb.png,x\na.png,y\nc.png,z\n").unwrap();
        let captions = Captions::of(folder.path(), Some(&path)).unwrap();
        assert_eq!(
            captions.without_picture(["a.png"].into_iter()),
            ["b.png", "c.png"]
        );
    }

    #[test]
    fn files_that_are_no_captions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            Captions::of(folder.path(), Some(&path))
                .unwrap_err()
                .to_string()
        };
        let line = of("a.csv", "name,caption\na,b\n");
        assert!(line.contains("names no pictures"), "{line}");
        let line = of("b.csv", "file,caption\na.png\n");
        assert!(line.starts_with("line 2 of"), "{line}");
        let line = of("c.jsonl", "{\"file\": \"a.png\"}\n");
        assert!(line.starts_with("line 1 of"), "{line}");
        let missing = Captions::of(folder.path(), Some(&folder.path().join("no.csv")));
        assert!(matches!(missing, Err(DataError::Read { .. })));
    }
}
