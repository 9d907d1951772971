//! A training of a VQGAN, plain or pixel-guided, from its folder to its weights: made, gone on with, finished.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::tensor::{Device, Tensor};
use nuwa_data::dataset::{Entry, Prefetch};
use nuwa_model::vqgan::{Vqgan, VqganConfig};

use super::config::VqganTrainingConfig;
use super::painter::Painter;
use super::training::Training;
use crate::log::Screen;

/// Batches that may wait for the device.
const AHEAD: usize = 2;

/// What a training is about.
#[derive(Debug)]
pub struct VqganJob<'a> {
    /// Seed of all that is random.
    pub seed: u64,
    /// How it is done.
    pub stage: &'a VqganTrainingConfig,
    /// The VQGAN's numbers.
    pub architecture: &'a VqganConfig,
    /// Folder of the dataset, for who asks where the weights come from.
    pub data: &'a Path,
    /// Weights of the perceptual distance, if there are any.
    pub lpips: Option<&'a Path>,
    /// Its folder.
    pub run: &'a Path,
    /// Its pictures and clips.
    pub entries: Vec<Entry>,
    /// Frames of a sample, which follow each other.
    pub frames: usize,
    /// Weights to begin with, if not random ones, on the device with gradients.
    pub first: Option<Vqgan>,
    /// Where to compute.
    pub device: &'a Device,
    /// Set when it is to end after the update at hand.
    pub stop: Arc<AtomicBool>,
    /// What people see.
    pub screen: Screen,
}

impl VqganJob<'_> {
    /// Takes frames that lie sample after sample apart.
    ///
    /// # Shapes
    /// `[b · f, 3, h, w]` to `[b, f, 3, h, w]`.
    pub(super) fn clips(&self, pixels: Tensor<4>) -> Tensor<5> {
        let [n, c, h, w] = pixels.dims();
        pixels.reshape([n / self.frames, self.frames, c, h, w])
    }
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
/// the run has one, and writes the weights to the run, in a folder by the name of their kind.
///
/// # Errors
/// When the run cannot be read or written, a picture cannot be read, or a gradient is not finite;
/// checkpoints stay.
pub fn run<P: Painter>(job: VqganJob) -> anyhow::Result<VqganOutcome> {
    if job.stage.loss.perceptual_weight > 0.0 && job.lpips.is_none() {
        let note =
            "no LPIPS weights are named (--lpips): the perceptual distance is left out of the loss";
        job.screen.say(note);
    }
    let mut training = Training::<P>::open(job)?;
    let began = Instant::now();
    let mut source = training.source()?;
    let total = training.job.stage.updates;
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

impl VqganOutcome {
    /// Says it in one line.
    pub(super) fn summary(&self, run: &Path, stage: &VqganTrainingConfig) -> String {
        let Self {
            updates,
            psnr_db,
            seconds,
            waited,
            stopped,
        } = self;
        let ending = if *stopped {
            "stopped; the same command without --data goes on"
        } else {
            "done"
        };
        format!(
            "{}: {ending} after {updates} of {} updates, pictures come back at {psnr_db:.1} dB, \
             {seconds:.0} s ({:.1} % waiting for data)",
            run.display(),
            stage.updates,
            100.0 * waited
        )
    }
}
