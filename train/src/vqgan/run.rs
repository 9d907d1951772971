//! A training of stage one from its folder to its weights: made, gone on with, finished.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::Device;
use nuwa_data::dataset::{Entry, Prefetch};
use nuwa_model::vqgan::Vqgan;

use super::config::VqganRunConfig;
use super::training::Training;
use crate::log::Screen;

/// Batches that may wait for the device.
const AHEAD: usize = 2;

/// What a training is about.
#[derive(Debug)]
pub struct VqganJob<'a> {
    /// Its numbers.
    pub config: &'a VqganRunConfig,
    /// Its folder.
    pub run: &'a Path,
    /// Its pictures and clips.
    pub entries: Vec<Entry>,
    /// Weights to begin with, if not random ones.
    pub first: Option<Vqgan>,
    /// Where to compute.
    pub device: &'a Device,
    /// Set when it is to end after the update at hand.
    pub stop: Arc<AtomicBool>,
    /// What people see.
    pub screen: Screen,
}

/// What a training came to.
#[derive(Debug, Clone, PartialEq)]
pub struct VqganOutcome {
    /// Updates of the whole run.
    pub updates: u64,
    /// How well the shown pictures come back, in dB.
    pub psnr_db: f64,
    /// Seconds of this process.
    pub seconds: f64,
    /// Share of the time that was spent waiting for data.
    pub waited: f64,
    /// Whether there is more to do.
    pub stopped: bool,
}

/// Trains until the config's updates are made or `stop` is set, from the newest whole checkpoint if
/// the run has one, and writes `vqgan` to the run.
///
/// # Errors
/// When the run cannot be read or written, a picture cannot be read, or a gradient is not finite;
/// checkpoints stay.
pub fn run(job: VqganJob) -> anyhow::Result<VqganOutcome> {
    let mut training = Training::open(job)?;
    let began = Instant::now();
    let mut source = training.source()?;
    let total = training.job.config.stage_one.updates;
    let make = move |number| source.batch(number);
    let mut batches = Prefetch::new(training.updates..total, AHEAD, make);
    while training.updates < total && !training.job.stop.load(Ordering::Relaxed) {
        let crops = batches.next().expect("one batch for each update")?;
        training.update(&crops, batches.waited())?;
    }
    let waited = batches.waited();
    drop(batches);
    if training.updates > training.saved {
        training.checkpoint()?;
    }
    let psnr_db = training.grid()?;
    training.save()?;
    training.job.screen.close();
    let seconds = began.elapsed().as_secs_f64();
    Ok(VqganOutcome {
        updates: training.updates,
        psnr_db,
        seconds,
        waited: waited.as_secs_f64() / seconds,
        stopped: training.updates < total,
    })
}
