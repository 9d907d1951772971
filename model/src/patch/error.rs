//! What can be wrong with a route.

use thiserror::Error;

use super::{GridSize, PatchRect};

/// Why a route cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouteError {
    /// A grid without patches.
    #[error("a grid of {0:?} has no patches")]
    EmptyGrid(GridSize),
    /// The known rectangle is empty or not inside the grid.
    #[error("the known rectangle {rect:?} does not lie inside the grid {grid:?}")]
    KnownOutside {
        /// The rectangle asked for.
        rect: PatchRect,
        /// The grid.
        grid: GridSize,
    },
    /// More known frames than frames.
    #[error("{known} known frames in a grid of {grid:?}")]
    TooManyKnownFrames {
        /// Known frames asked for.
        known: usize,
        /// The grid.
        grid: GridSize,
    },
}
