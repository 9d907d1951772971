//! The windows between tokens and pixels.

use std::ops::Range;

use nuwa_model::vqgan::tiled::{Statistics, Sweep, Tiling};

use super::networks::Networks;
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
    /// Those computed at once for their statistics, and how large they are.
    pub(super) n_together: usize,
    sampled: [usize; 2],
    /// How often that is.
    pub(super) n_stretches: usize,
    /// Rows or columns of the longest band, fades with them.
    pub(super) band: usize,
}

impl Windows {
    pub(super) fn new(tiling: &Tiling, size: [usize; 2], sweep: Sweep) -> Self {
        let tiling = tiling.fitted(size);
        let along = sweep.axis();
        let cuts = tiling.cuts(size, along);
        let around = 2 * (tiling.blend + tiling.margin);
        let longest = |spans: &[Range<usize>]| spans.iter().map(Range::len).max().unwrap_or(0);
        let largest = |axis: usize, spans: &[Range<usize>]| match spans.len() {
            1 => size[axis],
            _ => size[axis].min(longest(spans) + around),
        };
        let of = |cuts: &[Vec<Range<usize>>; 2]| [0, 1].map(|axis| largest(axis, &cuts[axis]));
        let plain = size.map(|side| tiling.spans(side));
        let n = cuts[0].len() * cuts[1].len();
        let n_together = match tiling.statistics {
            Statistics::Sampled(count) if n > 1 => count.min(plain[0].len() * plain[1].len()),
            _ => 1,
        };
        Self {
            size: of(&cuts),
            n,
            n_together,
            sampled: of(&plain),
            n_stretches: tiling.stretches(size[along]).len(),
            band: longest(&cuts[along]) + 2 * tiling.blend,
        }
    }

    /// How many windows are computed, those that are only sampled by their area. A single window is
    /// the whole, and needs no statistics beforehand.
    pub(super) fn n_passes(&self) -> usize {
        let area = |[h, w]: [usize; 2]| h * w;
        let n_sampled = self.n_stretches * self.n_together;
        match self.n {
            1 => 1,
            n => n + (n_sampled * area(self.sampled)).div_ceil(area(self.size)),
        }
    }

    /// What those take that are computed at a time.
    pub(super) fn bytes(&self, networks: &Networks) -> u64 {
        let together = networks.window_bytes(self.sampled) * self.n_together as u64;
        match self.n {
            1 => networks.window_bytes(self.size),
            _ => together.max(networks.window_bytes(self.size)),
        }
    }
}
