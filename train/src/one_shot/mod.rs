//! One-shot training: a small VQGAN and a small renderer from a single picture, within a budget of
//! wall time.
//!
//! Stage one learns to encode crops of the picture; stage two renders larger crops, encoded on the
//! fly, by render-and-optimize. Both can be stopped at any step and leave usable weights.

mod config;
mod crops;
mod run;
mod stage_one;
mod stage_two;

pub use config::{OneShotConfig, StageOneConfig, StageTwoConfig};
pub use run::{Job, Outcome, Start, run};

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where a stage is; what a progress bar shows.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Which stage, 1 or 2.
    pub stage: usize,
    /// Optimizer steps done in it.
    pub steps: usize,
    /// Share of its budget spent, 0 to 1.
    pub spent: f64,
    /// Time since it started.
    pub elapsed: Duration,
    /// Loss, averaged over the steps since the last report.
    pub loss: f64,
    /// Learning rate.
    pub rate: f64,
    /// Anything else worth a word.
    pub note: String,
}

/// What both stages need from outside: where to report, and when to stop early.
pub struct Watch<'a> {
    /// Is told how it goes, every few steps.
    pub report: &'a mut dyn FnMut(Progress),
    /// Stops the training cleanly when set, between two steps.
    pub stop: &'a AtomicBool,
}

impl Watch<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
