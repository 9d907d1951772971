//! Landscape videos, LHQ-V (\[P\] 4.1): videos in which somebody or something is seen that does not
//! belong to a landscape are dropped; the clips are 38,000 to learn from and 2,000 to measure with.

use super::folder::find;
use super::{Folder, Listing, Origin, Outcome, Plan, Sizes, Watch, settings};
use crate::DataError;
use crate::manifest::Skipped;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Labels that a landscape does not have.
///
/// ours: persons, animals, vehicles and things indoors, by the names that detectors of the COCO
/// classes use. They can be replaced by others.
pub const LABELS: [&str; 30] = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "stop sign",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "chair",
    "couch",
    "bed",
    "dining table",
    "tv",
    "laptop",
    "cell phone",
    "book",
    "umbrella",
];

/// A dataset of a folder of landscape videos.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lhqv {
    /// The folder of videos.
    pub folder: PathBuf,
    /// What a detector has found: JSON, `{"NAME": ["label", ...], ...}`. A video that is not in
    /// it was not looked at, and is kept.
    pub detections: Option<PathBuf>,
    /// Labels for which a video is dropped, in any case of letters.
    pub labels: Vec<String>,
    /// Width and height of the frames in pixels (\[P\]: 1024 x 1024).
    pub size: (usize, usize),
    /// Frames of a clip (\[P\]: 5, at 5 a second).
    pub frames: usize,
    /// How many videos go where. Clips of one video stay together.
    pub sizes: Sizes,
    /// Where it comes from.
    pub origin: Origin,
}

impl Lhqv {
    /// The numbers of the paper, with a seed that says which ones.
    #[must_use]
    pub fn sizes(seed: u64) -> Sizes {
        Sizes {
            train: Some(38_000),
            test: 2_000,
            seed,
        }
    }

    /// Makes the dataset in a folder, or what an earlier run has left to make.
    ///
    /// # Errors
    ///
    /// As [`Folder::prepare`], or if the detections cannot be read.
    pub fn prepare(&self, out: &Path, watch: Watch<'_>) -> Result<Outcome, DataError> {
        let detections = match &self.detections {
            Some(path) => read_detections(path)?,
            None => BTreeMap::new(),
        };
        let Listing { all, mut skipped } = find(&self.folder, None, out)?;
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        for (id, found) in all {
            match self.unwanted(detections.get(&id).map_or(&[], Vec::as_slice)) {
                None => kept.push((id, found)),
                Some(label) => dropped.push(Skipped {
                    item: id,
                    reason: format!("it shows: {label}"),
                }),
            }
        }
        skipped.append(&mut dropped);
        let plan = Plan {
            settings: settings("lhqv", self),
            origin: self.origin.clone(),
            items: self.sizes.split(kept),
            skipped,
        };
        let folder = Folder {
            folder: self.folder.clone(),
            captions: None,
            size: Some(self.size),
            frames: self.frames,
            sizes: self.sizes.clone(),
            origin: self.origin.clone(),
        };
        folder.go(plan, out, watch)
    }

    fn unwanted<'a>(&self, found: &'a [String]) -> Option<&'a str> {
        let is_unwanted = |found: &&String| {
            let label = found.trim();
            self.labels
                .iter()
                .any(|unwanted| unwanted.eq_ignore_ascii_case(label))
        };
        found.iter().find(is_unwanted).map(String::as_str)
    }
}

fn read_detections(path: &Path) -> Result<BTreeMap<String, Vec<String>>, DataError> {
    let text = fs::read_to_string(path).map_err(|source| DataError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|error| DataError::Line {
        path: path.to_owned(),
        line: error.line(),
        source: error.into(),
    })
}
