//! Datasets from what people have: folders, tar shards, one giant painting, films with subtitles,
//! or nothing but a seed.
//!
//! Every source is a list of items, and an item becomes no, one or several files. A run does
//! the work once for all of them: in parallel, resumable, one journal line per finished item, and
//! the manifest at the end, in the order of the list. What cannot be used is
//! listed with its reason and left out; only a full disk, or the like, ends a run.
//!
//! | in the folder | |
//! | --- | --- |
//! | `manifest.jsonl` | the dataset, written when everything is done |
//! | `skipped.jsonl` | what was left out, and why |
//! | `files/` | pictures as they were or as PNG, clips as APNG |
//! | `journal.jsonl` | what is done so far, and the settings |

mod captions;
mod folder;
mod journal;
mod lhqc;
mod lhqv;
mod peppapig;
mod resample;
mod rqf;
mod shards;
mod sink;
mod split;
mod strips;
mod subtitles;
mod synthetic;

pub use self::folder::Folder;
pub use self::lhqc::Lhqc;
pub use self::lhqv::{LABELS, Lhqv};
pub use self::peppapig::PeppaPig;
pub use self::rqf::Rqf;
pub use self::shards::Shards;
pub use self::split::Sizes;
pub use self::synthetic::Synthetic;

use self::journal::{Journal, Line};
use self::sink::Sink;
use crate::DataError;
use crate::manifest::{self, MANIFEST, Record, SKIPPED, Skipped, Split};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Where a dataset comes from and may go to; written into every record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Where it comes from.
    pub source: String,
    /// Terms under which it may be used.
    pub licence: String,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Items that are done, those of earlier runs too.
    pub done: usize,
    /// All items.
    pub items: usize,
}

/// Who looks at a run and may end it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Hears of every finished item, from any thread.
    pub report: &'a (dyn Fn(Progress) + Sync),
    /// Set from outside: no further item is begun.
    pub stop: &'a AtomicBool,
}

/// What a run has left in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Records to learn from.
    pub train: usize,
    /// Records to measure with.
    pub test: usize,
    /// What was left out.
    pub skipped: usize,
    /// Whether it was stopped before the end: there is no manifest then.
    pub stopped: bool,
}

/// One thing of a source.
#[derive(Debug)]
struct Item<T> {
    /// What it is called in its source; no two are called alike.
    id: String,
    split: Split,
    what: T,
}

/// What a source holds.
#[derive(Debug)]
struct Listing<T> {
    /// Things by name, in their order.
    all: Vec<(String, T)>,
    /// What is left out before anything is done.
    skipped: Vec<Skipped>,
}

/// Everything there is to do.
#[derive(Debug)]
struct Plan<T> {
    /// What the result depends on; another run has to have the same ones to go on.
    settings: serde_json::Value,
    origin: Origin,
    items: Vec<Item<T>>,
    /// What is left out before anything is done.
    skipped: Vec<Skipped>,
}

/// A plan and what is done of it.
struct Run<T> {
    plan: Plan<T>,
    out: PathBuf,
    journal: Journal,
}

impl<T: Sync> Run<T> {
    /// Begins in a folder, or goes on where an earlier run with the same settings has ended.
    fn open(plan: Plan<T>, out: &Path) -> Result<Self, DataError> {
        let journal = Journal::open(out, &plan.settings)?;
        let out = out.to_owned();
        Ok(Self { plan, out, journal })
    }

    /// The items that are still to be done.
    fn left(&self) -> Vec<&Item<T>> {
        let done = |item: &&Item<T>| !self.journal.is_done(&self.out, &item.id);
        self.plan.items.iter().filter(done).collect()
    }

    /// Does what is left, and writes the lists.
    fn go(
        self,
        watch: Watch<'_>,
        make: impl Fn(&T, &mut Sink<'_>) -> Result<(), DataError> + Sync,
    ) -> Result<Outcome, DataError> {
        let left = self.left();
        let items = self.plan.items.len();
        let done = AtomicUsize::new(items - left.len());
        let journal = Mutex::new(&self.journal);
        let lines: Result<Vec<Option<Line>>, DataError> = left
            .par_iter()
            .map(|item| {
                if watch.stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let line = self.line(item, &make)?;
                journal
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .append(&line)?;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                (watch.report)(Progress { done, items });
                Ok(Some(line))
            })
            .collect();
        let lines = lines?;
        let stopped = lines.iter().any(Option::is_none);
        self.finish(lines.into_iter().flatten().collect(), stopped)
    }

    /// Makes the files of one item.
    fn line(
        &self,
        item: &Item<T>,
        make: &impl Fn(&T, &mut Sink<'_>) -> Result<(), DataError>,
    ) -> Result<Line, DataError> {
        let mut sink = Sink::new(&self.out, &item.id, item.split, &self.plan.origin);
        let skipped = match make(&item.what, &mut sink) {
            Ok(()) => None,
            Err(error) if error.stops_everything() => return Err(error),
            Err(error) => Some(chain(&error)),
        };
        Ok(Line {
            item: item.id.clone(),
            records: sink.into_records(),
            skipped,
        })
    }

    fn finish(mut self, lines: Vec<Line>, stopped: bool) -> Result<Outcome, DataError> {
        self.journal.extend(lines);
        let done = self
            .plan
            .items
            .iter()
            .filter_map(|item| self.journal.line(&item.id));
        let done: Vec<&Line> = done.collect();
        let records: Vec<&Record> = done.iter().flat_map(|line| &line.records).collect();
        let broken = done.iter().filter_map(|line| {
            let reason = line.skipped.clone()?;
            let item = line.item.clone();
            Some(Skipped { item, reason })
        });
        let skipped: Vec<Skipped> = self.plan.skipped.iter().cloned().chain(broken).collect();
        if !stopped {
            manifest::write_lines(&self.out.join(SKIPPED), skipped.iter())?;
            manifest::write_lines(&self.out.join(MANIFEST), records.iter())?;
        }
        let count = |split| {
            records
                .iter()
                .filter(|record| record.split == split)
                .count()
        };
        Ok(Outcome {
            train: count(Split::Train),
            test: count(Split::Test),
            skipped: skipped.len(),
            stopped,
        })
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.replace('\n', " ")
}

/// The settings of a source, with its kind, as they stand in the journal.
fn settings(kind: &str, source: &impl Serialize) -> serde_json::Value {
    let source = serde_json::to_value(source).expect("settings are plain values");
    serde_json::json!({ "kind": kind, "settings": source })
}

#[cfg(test)]
mod tests;
