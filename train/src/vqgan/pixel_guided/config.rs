//! The numbers of a training of a pixel-guided decoder; written to the run as they were used.

use std::path::{Path, PathBuf};

use nuwa_model::preset::Size;
use serde::{Deserialize, Serialize};

use crate::run_folder::read_config;
use crate::vqgan::loss::VqganLossConfig;
use crate::vqgan::{VqganRunConfig, VqganTrainingConfig};

/// Everything a training of a pixel-guided decoder depends on, besides the clips and the VQGAN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PgVqganRunConfig {
    /// Seed of initial weights, sample order and crops.
    pub seed: u64,
    /// Folder of the dataset.
    pub data: PathBuf,
    /// Folder of the weights of the perceptual distance; without, there is none in the loss.
    #[serde(default)]
    pub lpips: Option<PathBuf>,
    /// How it is trained.
    pub pixel_guided: VqganTrainingConfig,
}

impl PgVqganRunConfig {
    /// Gives the numbers of a size.
    ///
    /// not in the paper: any of them. They are those of stage one, whose loss it is, without what
    /// moves the encoder and the codes.
    pub fn new(size: Size, data: &Path) -> Self {
        let VqganRunConfig {
            seed,
            data,
            stage_one,
            ..
        } = VqganRunConfig::new(size, data);
        let loss = VqganLossConfig {
            beta: 0.0,
            ..stage_one.loss.clone()
        };
        Self {
            seed,
            data,
            lpips: None,
            pixel_guided: VqganTrainingConfig {
                loss,
                revive_until: 0,
                ..stage_one
            },
        }
    }

    /// Reads the config of a run.
    ///
    /// # Errors
    /// When there is none, or it is not that of a training of a pixel-guided decoder.
    pub fn of_run(run: &Path) -> anyhow::Result<Self> {
        read_config(run)
    }

    /// Names the first thing that cannot work with a VQGAN of this stride, or nothing.
    pub fn problem(&self, stride: usize) -> Option<String> {
        let stage = &self.pixel_guided;
        let moves_codes =
            stage.loss.beta != 0.0 || stage.revive_until != 0 || stage.rate_weight != 0.0;
        let frozen =
            "loss.beta, revive_until and rate_weight must be 0: encoder and codes are frozen";
        let problem = stage.problem(stride).or(moves_codes.then_some(frozen))?;
        Some(format!("pixel_guided.{problem}"))
    }
}
