//! The numbers of a training of a pixel-guided decoder; written to the run as they were used.

use std::path::{Path, PathBuf};

use nuwa_model::preset::Size;
use serde::{Deserialize, Serialize};

use crate::run_folder::read_config;
use crate::vqgan::loss::VqganLossConfig;
use crate::vqgan::{VqganRunConfig, VqganTrainingConfig};

/// Those that a clip of the papers has between its first frame and its last.
const OWN_FRAMES: usize = 3;

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
    /// The most frames that lie between a true one and the one that is learned, and that it decodes
    /// itself, as it does in a film. Updates take their turns from none to all of them.
    ///
    /// not in the paper: a decoder that has only seen true frames before its own adds to its own
    /// mistakes, frame by frame (Bengio et al., "Scheduled Sampling", 2015).
    #[serde(default)]
    pub own_frames: usize,
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
            own_frames: OWN_FRAMES,
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

    /// Frames of a sample: a true one, those in between, and the one that is learned.
    pub fn frames(&self) -> usize {
        self.own_frames + 2
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
