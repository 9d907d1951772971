//! Checkpoints of a training: whole ones only, each with a list of its files and their checksums.
//!
//! A checkpoint is a folder named by the number of updates. It is written under another name, put
//! on the disk and renamed, so that whatever carries its name is whole; the checksums find what
//! the disk has lost since. The last few are kept, and the best one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

/// What a checkpoint says of itself.
const LIST: &str = "checkpoint.json";
/// How the name of one that is being written begins.
const UNFINISHED: &str = ".unfinished-";

/// The checkpoints of a run, in one folder.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

/// A checkpoint that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Optimizer updates that led to it.
    pub updates: u64,
    /// Where its files are.
    pub folder: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct List {
    updates: u64,
    /// What the best is chosen by: the lower, the better.
    loss: Option<f64>,
    files: BTreeMap<String, Summary>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Summary {
    bytes: u64,
    crc32: u32,
}

impl Checkpoints {
    /// Gives the checkpoints in a folder, which need not be there yet; `keep` is how many of the
    /// last ones stay, at least 1.
    pub fn new(folder: &Path, keep: usize) -> Self {
        Self {
            folder: folder.to_owned(),
            keep: keep.max(1),
        }
    }

    /// Writes a checkpoint and drops those that are neither among the last nor the best. `write`
    /// puts its files into the folder it is given.
    ///
    /// # Errors
    /// That of `write`, or when the disk refuses; the checkpoints there were stay then.
    pub fn save(
        &self,
        updates: u64,
        loss: Option<f64>,
        write: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Checkpoint> {
        let unfinished = self.folder.join(format!("{UNFINISHED}{updates:09}"));
        let folder = self.folder.join(format!("{updates:09}"));
        let saved = self.write_whole(&unfinished, &folder, updates, loss, write);
        saved.with_context(|| format!("checkpoint {}", folder.display()))?;
        self.prune()?;
        Ok(Checkpoint { updates, folder })
    }

    fn write_whole(
        &self,
        unfinished: &Path,
        folder: &Path,
        updates: u64,
        loss: Option<f64>,
        write: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        fs::create_dir_all(&self.folder)?;
        remove(unfinished)?;
        fs::create_dir(unfinished)?;
        write(unfinished)?;
        let mut files = BTreeMap::new();
        for name in names(unfinished)? {
            files.insert(name.clone(), summarize(&unfinished.join(name))?);
        }
        let list = List {
            updates,
            loss,
            files,
        };
        let path = unfinished.join(LIST);
        fs::write(&path, serde_json::to_vec_pretty(&list)?)?;
        File::open(&path)?.sync_all()?;
        remove(folder)?;
        fs::rename(unfinished, folder)?;
        sync_folder(&self.folder)?;
        Ok(())
    }

    /// Gives the newest checkpoint that is whole; `damaged` hears of the newer ones that are not.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn newest(
        &self,
        mut damaged: impl FnMut(&Path, &anyhow::Error),
    ) -> anyhow::Result<Option<Checkpoint>> {
        for updates in self.all()?.into_iter().rev() {
            let folder = self.folder.join(format!("{updates:09}"));
            match check(&folder) {
                Ok(()) => return Ok(Some(Checkpoint { updates, folder })),
                Err(error) => damaged(&folder, &error),
            }
        }
        Ok(None)
    }

    /// Gives the checkpoint with the lowest loss, and that loss, if any has one.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn best(&self) -> anyhow::Result<Option<(f64, Checkpoint)>> {
        let scored = self.all()?.into_iter().filter_map(|updates| {
            let folder = self.folder.join(format!("{updates:09}"));
            let loss = read_list(&folder).ok()?.loss?;
            Some((loss, Checkpoint { updates, folder }))
        });
        Ok(scored.min_by(|a, b| a.0.total_cmp(&b.0)))
    }

    /// Gives the updates of all checkpoints, rising.
    fn all(&self) -> anyhow::Result<Vec<u64>> {
        let entries = match names(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| self.folder.display().to_string())?,
        };
        let mut all: Vec<u64> = entries
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        all.sort_unstable();
        Ok(all)
    }

    fn prune(&self) -> anyhow::Result<()> {
        let all = self.all()?;
        let of = |updates: &u64| self.folder.join(format!("{updates:09}"));
        let best = self.best()?.map(|(_, best)| best.updates);
        let n_old = all.len().saturating_sub(self.keep);
        for updates in all[..n_old].iter().filter(|&&at| Some(at) != best) {
            remove(&of(updates)).with_context(|| of(updates).display().to_string())?;
        }
        Ok(())
    }
}

fn read_list(folder: &Path) -> anyhow::Result<List> {
    Ok(serde_json::from_slice(&fs::read(folder.join(LIST))?)?)
}

/// Compares every file with the list.
fn check(folder: &Path) -> anyhow::Result<()> {
    for (name, expected) in read_list(folder).context(LIST)?.files {
        let found = summarize(&folder.join(&name)).with_context(|| name.clone())?;
        ensure!(found == expected, "{name} is not what was written");
    }
    Ok(())
}

/// Reads a file through, and makes sure that it is on the disk.
fn summarize(path: &Path) -> io::Result<Summary> {
    let mut file = File::open(path)?;
    let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        bytes += n as u64;
    }
    file.sync_all()?;
    Ok(Summary {
        bytes,
        crc32: hasher.finalize(),
    })
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into());
    fs::read_dir(folder)?.map(name).collect()
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Makes a renaming last; elsewhere than on Unix a folder cannot be opened for that.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save(checkpoints: &Checkpoints, updates: u64, loss: Option<f64>) -> Checkpoint {
        let write = |folder: &Path| Ok(fs::write(folder.join("weights"), updates.to_le_bytes())?);
        checkpoints.save(updates, loss, write).expect("saved")
    }

    fn newest(checkpoints: &Checkpoints) -> (Option<u64>, Vec<String>) {
        let mut said = Vec::new();
        let found =
            checkpoints.newest(|folder, error| said.push(format!("{}: {error}", folder.display())));
        (found.expect("readable").map(|found| found.updates), said)
    }

    #[test]
    fn the_last_ones_stay_and_the_best() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(&folder.path().join("checkpoints"), 2);
        assert_eq!(newest(&checkpoints), (None, vec![]));
        for (updates, loss) in [
            (5, Some(3.0)),
            (10, Some(1.0)),
            (15, None),
            (20, Some(2.0)),
            (100, None),
        ] {
            save(&checkpoints, updates, loss);
        }
        assert_eq!(checkpoints.all().expect("readable"), [10, 20, 100]);
        assert_eq!(newest(&checkpoints).0, Some(100));
        let (loss, best) = checkpoints
            .best()
            .expect("readable")
            .expect("one has a loss");
        assert_eq!((loss, best.updates), (1.0, 10));
    }

    #[test]
    fn a_damaged_one_falls_back_to_the_one_before_and_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path(), 5);
        let saved: Vec<Checkpoint> = (1..=5).map(|at| save(&checkpoints, at, None)).collect();
        fs::write(saved[4].folder.join("weights"), 7_u64.to_le_bytes()).expect("written");
        fs::remove_file(saved[3].folder.join("weights")).expect("removed");
        fs::write(saved[2].folder.join(LIST), "{").expect("written");
        let (found, said) = newest(&checkpoints);
        assert_eq!(found, Some(2));
        assert_eq!(said.len(), 3);
        assert!(
            said[0].contains("000000005: weights is not what was written"),
            "{said:?}"
        );
        assert!(
            said[1].contains("000000004: weights") && said[2].contains(LIST),
            "{said:?}"
        );
    }

    #[test]
    fn one_that_could_not_be_written_leaves_what_there_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::new(folder.path(), 1);
        save(&checkpoints, 1, None);
        let failed = checkpoints.save(2, None, |folder| {
            fs::write(folder.join("weights"), "half")?;
            anyhow::bail!("the disk is full")
        });
        let line = format!("{:#}", failed.expect_err("refused"));
        assert!(line.ends_with("000000002: the disk is full"), "{line}");
        assert_eq!(newest(&checkpoints), (Some(1), vec![]));
        save(&checkpoints, 2, None);
        assert_eq!(names(folder.path()).expect("readable"), ["000000002"]);
    }
}
