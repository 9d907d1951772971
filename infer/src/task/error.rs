//! What cannot be painted.

use nuwa_model::patch::RouteError;
use thiserror::Error;

use super::{PointPx, RegionPx, SizePx};

/// What cannot be painted, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TaskError {
    /// A side of nothing.
    #[error("a picture of {0} has no pixels")]
    Empty(SizePx),
    /// More pixels than can be counted.
    #[error("a picture of {0} is too large to count its pixels")]
    TooLarge(SizePx),
    /// A film without frames.
    #[error("a film of 0 frames")]
    NoFrames,
    /// More frames than can be counted.
    #[error("{frames} frames of {size} are too many to count their pixels")]
    TooLong {
        /// One frame.
        size: SizePx,
        /// The frames asked for.
        frames: usize,
    },
    /// The picture to extend does not lie inside the result.
    #[error("a picture of {picture} at {at} does not lie inside {size}")]
    Outside {
        /// The picture to extend.
        picture: SizePx,
        /// Where it was to lie.
        at: PointPx,
        /// The result asked for.
        size: SizePx,
    },
    /// The mask has another size than the picture.
    #[error("the mask has {mask}, its picture {picture}")]
    MaskSize {
        /// The mask.
        mask: SizePx,
        /// The picture.
        picture: SizePx,
    },
    /// A region to paint again that is empty or not inside the painting.
    #[error("a region of {region} does not lie inside {size}")]
    NoSuchRegion {
        /// The region.
        region: RegionPx,
        /// The painting.
        size: SizePx,
    },
    /// The route does not exist.
    #[error(transparent)]
    Route(#[from] RouteError),
}
