//! What the compiler does not check: heads, names, lengths, forbidden imports, the README map.

mod source;

use self::source::{manifest, source};
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of any file.
const MOST_BYTES: u64 = 10_000_000;
/// Files at the top level; folders are those that the README's map names.
const TOP_FILES: [&str; 6] = [
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
];
/// Folders that are made and not kept.
const MADE_FOLDERS: [&str; 3] = ["target", "runs", "__pycache__"];

/// One untidy place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    path: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}: {}",
            self.path.display(),
            self.line,
            self.what
        )
    }
}

/// Everything that is untidy in a workspace, by path.
///
/// # Errors
///
/// If a file or folder cannot be read.
pub(crate) fn problems(root: &Path) -> Result<Vec<Problem>> {
    let mut files = Vec::new();
    walk(root, Path::new(""), &mut files)?;
    files.sort();
    let mut found = top_level(root)?;
    for path in &files {
        let size = read(fs::metadata(root.join(path)), path)?.len();
        if size > MOST_BYTES {
            found.push(problem(
                path,
                1,
                format!("{size} bytes, the most are {MOST_BYTES}"),
            ));
        }
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("rs") => found.extend(source(path, &read_text(root, path)?)),
            Some("toml") if path.ends_with("Cargo.toml") => {
                found.extend(manifest(path, &read_text(root, path)?));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn read<T>(result: std::io::Result<T>, path: &Path) -> Result<T> {
    result.with_context(|| format!("cannot read {}", path.display()))
}

fn read_text(root: &Path, path: &Path) -> Result<String> {
    read(fs::read_to_string(root.join(path)), path)
}

fn problem(path: &Path, line: usize, what: impl Into<String>) -> Problem {
    Problem {
        path: path.to_owned(),
        line,
        what: what.into(),
    }
}

/// Collects the files below a folder, relative to the root, leaving out what is hidden or made.
fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in read(fs::read_dir(root.join(folder)), folder)? {
        let entry = read(entry, folder)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = folder.join(&*name);
        if name.starts_with('.') {
            continue;
        }
        if !read(entry.file_type(), &path)?.is_dir() {
            files.push(path);
        } else if !MADE_FOLDERS.contains(&&*name) {
            walk(root, &path, files)?;
        }
    }
    Ok(())
}

/// The top level holds the known files and the folders of the README's map, and no others.
fn top_level(root: &Path) -> Result<Vec<Problem>> {
    let mut files = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for entry in read(fs::read_dir(root), root)? {
        let entry = read(entry, root)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || MADE_FOLDERS.contains(&&*name) {
            continue;
        }
        let is_folder = read(entry.file_type(), root)?.is_dir();
        if is_folder { &mut folders } else { &mut files }.insert(name);
    }
    let mut found = Vec::new();
    for name in &files {
        if !TOP_FILES.contains(&&**name) {
            found.push(problem(Path::new(name), 1, "has no place at the top level"));
        }
    }
    let readme = Path::new("README.md");
    if !files.contains("README.md") {
        found.push(problem(readme, 1, "is missing"));
        return Ok(found);
    }
    let map = map(&read_text(root, readme)?);
    for (line, name) in &map {
        if !root.join(name).exists() {
            found.push(problem(
                readme,
                *line,
                format!("the map names '{name}', which is not there"),
            ));
        }
    }
    for name in folders {
        if !map.iter().any(|(_, mapped)| *mapped == name) {
            found.push(problem(
                readme,
                1,
                format!("the map does not name '{name}'"),
            ));
        }
    }
    Ok(found)
}

/// The paths that begin the rows and items of the section `Map`, with their lines.
fn map(readme: &str) -> Vec<(usize, String)> {
    let is_map = |line: &str| line.trim_start_matches('#').trim() == "Map";
    let lines = readme.lines().enumerate();
    let section = lines
        .skip_while(|(_, line)| !(line.starts_with('#') && is_map(line)))
        .skip(1)
        .take_while(|(_, line)| !line.starts_with('#'));
    let path = |(index, line): (usize, &str)| {
        let rest = line
            .trim_start_matches(['|', '-', '*', ' '])
            .strip_prefix('`')?;
        let (path, _) = rest.split_once('`')?;
        Some((index + 1, path.trim_end_matches('/').to_owned()))
    };
    section.filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(found: Vec<Problem>) -> Vec<String> {
        found
            .into_iter()
            .map(|problem| problem.to_string())
            .collect()
    }

    #[test]
    fn the_map_and_the_tree_agree() {
        let root = tempfile::tempdir().unwrap();
        let readme = "# Name\n`model` is not in the map\n## Map\n| room | what |\n| --- | --- |\n\
                      | `model` | `networks` |\n- `gone/`: nothing\n\n## Next\n- `data`\n";
        fs::write(root.path().join("README.md"), readme).unwrap();
        fs::write(root.path().join("notes.txt"), "").unwrap();
        for folder in ["model", "data", "target", ".git"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let found = whats(top_level(root.path()).unwrap());
        assert_eq!(
            found,
            [
                "notes.txt:1: has no place at the top level",
                "README.md:7: the map names 'gone', which is not there",
                "README.md:1: the map does not name 'data'"
            ]
        );
    }

    #[test]
    fn large_files_and_made_folders_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("model/target")).unwrap();
        fs::write(root.path().join("README.md"), "## Map\n- `model`\n").unwrap();
        fs::write(root.path().join("model/target/a.rs"), "no head").unwrap();
        let large = fs::File::create(root.path().join("model/weights")).unwrap();
        large.set_len(MOST_BYTES + 1).unwrap();
        let found = whats(problems(root.path()).unwrap());
        assert_eq!(
            found,
            ["model/weights:1: 10000001 bytes, the most are 10000000"]
        );
    }
}
