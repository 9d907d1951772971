//! Procedural landscapes as a dataset.

use super::{Origin, Outcome, Plan, Run, Sizes, Watch, settings};
use crate::DataError;
use crate::synthetic::Scene;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A dataset of landscapes that are made, not found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synthetic {
    /// How many pictures or clips.
    pub n: usize,
    /// Width in pixels.
    pub w: usize,
    /// Height in pixels.
    pub h: usize,
    /// Frames of each; 1 for pictures, in which nothing moves.
    pub frames: usize,
    /// Seed of the first landscape; the next ones follow.
    pub seed: u64,
    /// How many of them are for measuring.
    pub test: usize,
}

impl Synthetic {
    /// Makes the dataset in a folder, or what an earlier run has left to make.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the folder holds something else or the disk refuses.
    ///
    /// # Panics
    ///
    /// If a side or the number of frames is 0.
    pub fn prepare(&self, out: &Path, watch: Watch<'_>) -> Result<Outcome, DataError> {
        let Self {
            n,
            w,
            h,
            frames,
            seed,
            test,
        } = *self;
        assert!(
            w > 0 && h > 0 && frames > 0,
            "{frames} frames of {w}x{h} pixels"
        );
        let seeds = (0..n as u64).map(|index| seed.wrapping_add(index));
        let sizes = Sizes {
            train: None,
            test,
            seed,
        };
        let plan = Plan {
            settings: settings("synthetic", self),
            origin: Origin {
                source: "procedural landscape".to_owned(),
                licence: "CC0-1.0".to_owned(),
            },
            items: sizes.split(seeds.map(|seed| (format!("{seed:08}"), seed)).collect()),
            skipped: Vec::new(),
        };
        Run::open(plan, out)?.go(watch, |&seed, sink| {
            let scene = match frames {
                1 => Scene::of_picture(seed),
                _ => Scene::of_film(seed),
            };
            sink.clip(&scene.clip(w, h, frames), Some(scene.caption()))
        })
    }
}
