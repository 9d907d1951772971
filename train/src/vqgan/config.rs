//! The numbers of a training of stage one on a dataset; written to the run as they were used.

use std::path::{Path, PathBuf};

use nuwa_model::preset::Size;
use nuwa_model::vqgan::VqganConfig;
use serde::{Deserialize, Serialize};

use super::loss::VqganLossConfig;
use crate::run_folder::read_config;

/// Smallest crop of which the strided layers of the adversary leave something to judge.
const LEAST_JUDGED_PX: usize = 32;

/// Everything a training of stage one depends on, besides the pictures themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VqganRunConfig {
    /// Seed of initial weights, sample order and crops.
    pub seed: u64,
    /// Folder of the dataset.
    pub data: PathBuf,
    /// Folder of the weights of the perceptual distance; without, there is none in the loss.
    #[serde(default)]
    pub lpips: Option<PathBuf>,
    /// The VQGAN.
    pub vqgan: VqganConfig,
    /// How it is trained.
    pub stage_one: VqganTrainingConfig,
}

/// How a VQGAN is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VqganTrainingConfig {
    /// Side of a crop in pixels.
    pub crop_px: usize,
    /// Crops per update.
    pub batch: usize,
    /// Optimizer updates of the VQGAN.
    pub updates: u64,
    /// Peak learning rate of both players.
    pub peak_rate: f64,
    /// Share of the updates that warm up.
    pub warmup: f64,
    /// Weights of the parts of the loss; `gan_start_step` is the update from which on there is an
    /// adversary.
    pub loss: VqganLossConfig,
    /// What rare codes cost, see [`CodeRate`](super::rate::CodeRate); 0 is nothing.
    #[serde(default)]
    pub rate_weight: f64,
    /// Channels of the adversary's first layer.
    pub discriminator_width: usize,
    /// Updates between two revivals of lost codes.
    pub revive_every: u64,
    /// Update after which lost codes stay lost.
    pub revive_until: u64,
    /// Largest norm of all gradients of a player together; 0 is any.
    pub clip: f64,
    /// Decay of the averaged weights that are used afterwards; 0 uses the last ones.
    pub average: f64,
    /// Updates between two checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept, besides the best one.
    pub keep: usize,
    /// Updates between two lines of the log.
    pub log_every: u64,
    /// Updates between two pictures of what comes back.
    pub grid_every: u64,
}

impl VqganRunConfig {
    /// Gives the numbers of a size.
    ///
    /// `base` and `large` are the released f16 model with 16384 codes ("Taming Transformers": batch
    /// times 4.5e-6, adversary from update 50,000 on as its configs have it). ours: `tiny`, for
    /// machines without a GPU, with the 1024 codes of the tiny renderer and 16 pixels per token.
    pub fn new(size: Size, data: &Path) -> Self {
        let tiny = size == Size::Tiny;
        let updates = if tiny { 3000 } else { 200_000 };
        let gan_start_step = if tiny { 2000 } else { 50_000 };
        let vqgan = match size {
            Size::Tiny => VqganConfig {
                ch: 32,
                multipliers: vec![1, 1, 2, 2, 2],
                blocks: 1,
                z: 64,
                n_codes: 1024,
                code_dim: 32,
            },
            Size::Base | Size::Large => VqganConfig::f16(),
        };
        let batch = if tiny { 2 } else { 32 };
        Self {
            seed: 0,
            data: data.to_owned(),
            lpips: None,
            vqgan,
            stage_one: VqganTrainingConfig {
                crop_px: if tiny { 128 } else { 256 },
                batch,
                updates,
                peak_rate: if tiny { 6e-4 } else { 4.5e-6 * batch as f64 },
                warmup: 0.02,
                loss: VqganLossConfig {
                    gan_start_step,
                    gan_weight: if tiny { 0.4 } else { 0.8 },
                    ..VqganLossConfig::default()
                },
                rate_weight: 0.0,
                discriminator_width: if tiny { 16 } else { 64 },
                revive_every: 50,
                revive_until: updates * 3 / 5,
                clip: 0.0,
                average: 0.995,
                checkpoint_every: if tiny { 250 } else { 2500 },
                keep: 2,
                log_every: 10,
                grid_every: if tiny { 250 } else { 2500 },
            },
        }
    }

    /// Reads the config of a run.
    ///
    /// # Errors
    /// When there is none, or it is not that of a stage-one training.
    pub fn of_run(run: &Path) -> anyhow::Result<Self> {
        read_config(run)
    }

    /// Names the first thing that cannot work, or nothing.
    pub fn problem(&self) -> Option<String> {
        if let Err(error) = self.vqgan.check() {
            return Some(error.to_string());
        }
        let problem = self.stage_one.problem(self.vqgan.stride())?;
        Some(format!("stage_one.{problem}"))
    }
}

impl VqganTrainingConfig {
    /// Names the first number that cannot work with a VQGAN of this stride, without its section, or
    /// nothing.
    pub(super) fn problem(&self, stride: usize) -> Option<&'static str> {
        let plays = (self.loss.gan_start_step as u64) < self.updates;
        let checks = [
            (
                self.batch == 0 || self.updates == 0,
                "batch and updates must be at least 1",
            ),
            (
                self.crop_px == 0 || !self.crop_px.is_multiple_of(stride),
                "crop_px must be a multiple of the VQGAN's stride",
            ),
            (
                plays && self.crop_px < LEAST_JUDGED_PX,
                "crop_px must be at least 32 for the adversary to see anything",
            ),
            (
                [
                    self.revive_every,
                    self.checkpoint_every,
                    self.log_every,
                    self.grid_every,
                ]
                .contains(&0),
                "*_every must be at least 1",
            ),
            (
                ![self.warmup, self.average]
                    .into_iter()
                    .all(|share| (0.0..1.0).contains(&share)),
                "warmup and average must be at least 0 and below 1",
            ),
            (
                !self.checkpoint_every.is_multiple_of(self.log_every.max(1)),
                "checkpoint_every must be whole lines of the log, so that going on from a \
                 checkpoint writes the same lines",
            ),
            (
                self.clip < 0.0 || self.rate_weight < 0.0,
                "clip and rate_weight must not be negative",
            ),
        ];
        checks
            .into_iter()
            .find_map(|(broken, text)| broken.then_some(text))
    }
}
