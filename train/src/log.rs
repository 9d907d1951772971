//! What a training writes down as it goes: JSON lines, TensorBoard events, a line or bar on screen.

mod board;
mod screen;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use nuwa_data::pending::PendingFile;
use serde_json::{Map, Value};

use self::board::Board;
pub use self::screen::Screen;

/// Name of the JSON lines in a run.
pub const LOG: &str = "log.jsonl";
/// Key of the number of updates in every line.
pub(crate) const UPDATES: &str = "updates";

/// The written part: numbers with names, by updates.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    lines: File,
    board: Board,
    began: Instant,
}

impl Log {
    /// Opens the log of a run that stands at a number of updates. What was written about later
    /// ones, by a process that was killed before its next checkpoint, is dropped: it comes again.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn open(run: &Path, updates: u64) -> anyhow::Result<Self> {
        let path = run.join(LOG);
        let open = || -> anyhow::Result<(File, Board)> {
            keep_until(&path, updates)?;
            let lines = File::options().create(true).append(true).open(&path)?;
            Ok((lines, Board::create(run, updates)?))
        };
        let (lines, board) = open().with_context(|| path.display().to_string())?;
        Ok(Self {
            path,
            lines,
            board,
            began: Instant::now(),
        })
    }

    /// Writes what is known after a number of updates. Numbers that are not finite are `null`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&mut self, updates: u64, values: &[(&str, f64)]) -> anyhow::Result<()> {
        let mut line = Map::new();
        line.insert(UPDATES.into(), updates.into());
        line.insert("seconds".into(), self.began.elapsed().as_secs_f64().into());
        line.extend(
            values
                .iter()
                .map(|&(name, value)| (name.into(), value.into())),
        );
        let mut line = Value::from(line).to_string();
        line.push('\n');
        let written = self.lines.write_all(line.as_bytes());
        let written = written.and_then(|()| self.board.scalars(updates, values));
        written.with_context(|| self.path.display().to_string())
    }
}

/// Drops the lines about later updates, and a last line that is torn.
fn keep_until(path: &Path, updates: u64) -> anyhow::Result<()> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let holds = |line: &&str| {
        let line: Value = serde_json::from_str(line).ok()?;
        line.get(UPDATES)?.as_u64().filter(|&at| at <= updates)
    };
    let kept: String = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n') && holds(line).is_some())
        .collect();
    if kept.len() == text.len() {
        return Ok(());
    }
    let mut file = PendingFile::create(path)?;
    file.write_all(kept.as_bytes())?;
    Ok(file.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updates(run: &Path) -> Vec<u64> {
        let text = fs::read_to_string(run.join(LOG)).expect("a log");
        let line =
            |line: &str| serde_json::from_str::<Value>(line).expect("JSON")[UPDATES].as_u64();
        text.lines()
            .map(|text| line(text).expect("a number"))
            .collect()
    }

    #[test]
    fn going_on_from_a_checkpoint_drops_what_came_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path();
        let mut log = Log::open(run, 0).expect("opened");
        for at in [10, 20, 30] {
            log.write(at, &[("loss", 1.0 / at as f64), ("rate", f64::NAN)])
                .expect("written");
        }
        log.lines.write_all(b"{\"updates\": 4").expect("written");
        drop(log);
        let mut log = Log::open(run, 20).expect("opened");
        assert_eq!(updates(run), [10, 20]);
        log.write(30, &[("loss", 0.5)]).expect("written");
        assert_eq!(updates(run), [10, 20, 30]);
        let text = fs::read_to_string(run.join(LOG)).expect("a log");
        assert!(
            text.contains("\"rate\":null") && text.contains("\"loss\":0.5"),
            "{text}"
        );
    }
}
