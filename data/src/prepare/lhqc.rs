//! Landscapes with captions, LHQC (\[P\] 4.1): 85,000 pictures to learn from, 5,000 to measure with.

use super::folder::find;
use super::{Folder, Listing, Origin, Outcome, Plan, Sizes, Watch, settings};
use crate::DataError;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A dataset of a folder of landscapes and a file of captions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lhqc {
    /// The folder of pictures.
    pub folder: PathBuf,
    /// The captions, JSON lines or CSV; else what lies in the folder.
    pub captions: Option<PathBuf>,
    /// Width and height in pixels (\[P\]: 1024 x 1024).
    pub size: Option<(usize, usize)>,
    /// How many pictures go where.
    pub sizes: Sizes,
    /// A text file of the names of those to measure with, one a line; else the seed decides.
    pub test_list: Option<PathBuf>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Lhqc {
    /// The numbers of the paper, with a seed that says which ones.
    #[must_use]
    pub fn sizes(seed: u64) -> Sizes {
        Sizes {
            train: Some(85_000),
            test: 5_000,
            seed,
        }
    }

    /// Makes the dataset in a folder, or what an earlier run has left to make.
    ///
    /// # Errors
    ///
    /// As [`Folder::prepare`], or if the list cannot be read.
    pub fn prepare(&self, out: &Path, watch: Watch<'_>) -> Result<Outcome, DataError> {
        let listed = self.test_list.as_deref().map(read_list).transpose()?;
        let Listing { all, skipped } = find(&self.folder, self.captions.as_deref(), out)?;
        let plan = Plan {
            settings: settings("lhqc", self),
            origin: self.origin.clone(),
            items: self.sizes.split_with(all, listed.as_ref()),
            skipped,
        };
        let folder = Folder {
            folder: self.folder.clone(),
            captions: self.captions.clone(),
            size: self.size,
            frames: 1,
            sizes: self.sizes.clone(),
            origin: self.origin.clone(),
        };
        folder.go(plan, out, watch)
    }
}

fn read_list(path: &Path) -> Result<HashSet<String>, DataError> {
    let text = fs::read_to_string(path).map_err(|source| DataError::Read {
        path: path.to_owned(),
        source,
    })?;
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}
