//! The windows between tokens and pixels.

use nuwa_model::vqgan::tiled::{Statistics, Tiling};

use crate::model_run::RIM;

/// Decoding and encoding reach beyond the tokens by a rim.
pub(super) fn rimmed(size: [usize; 2]) -> [usize; 2] {
    size.map(|side| side + 2 * RIM)
}

/// The windows in which a grid of tokens is decoded, or encoded.
pub(super) struct Windows {
    /// The largest one, rows and columns.
    pub(super) size: [usize; 2],
    n: usize,
    /// Those computed at once for their statistics.
    pub(super) n_together: usize,
    /// How often that is.
    pub(super) n_stretches: usize,
}

impl Windows {
    /// Gives the windows of a sweep along an axis.
    pub(super) fn new(tiling: &Tiling, size: [usize; 2], along: usize) -> Self {
        let tiling = tiling.fitted(size);
        let spans = size.map(|side| tiling.spans(side));
        let around = 2 * (tiling.blend + tiling.margin);
        let side = |axis: usize| {
            let longest = spans[axis].iter().map(ExactSizeIterator::len).max();
            size[axis].min(longest.unwrap_or(0) + around)
        };
        let n = spans[0].len() * spans[1].len();
        let n_together = match tiling.statistics {
            Statistics::Sampled(count) => n.min(count),
            Statistics::PerWindow | Statistics::Exact => 1,
        };
        Self {
            size: [side(0), side(1)],
            n,
            n_together,
            n_stretches: tiling.stretches(size[along]).len(),
        }
    }

    /// A single window is the whole, and needs no statistics beforehand.
    pub(super) fn n_passes(&self) -> usize {
        match self.n {
            1 => 1,
            n => n + self.n_stretches * self.n_together,
        }
    }
}
