//! One item of a dataset.

use crate::Picture;

/// A picture and, where there is one, the text that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The picture, cropped and augmented.
    pub pixels: Picture,
    /// What it shows.
    pub caption: Option<String>,
}
