//! Maps as the kernels read them: rows with zeros on either side.

use rayon::prelude::*;

use super::taps::REGISTERS;
use super::weight_gradient::RUN;

/// Numbers in the widest register there is.
const WIDEST: usize = 16;

/// Maps with room between the rows, and behind the last one.
pub(super) struct Padded {
    values: Vec<f32>,
    /// Distance of two rows.
    pub(super) row: usize,
    /// Distance of two channels.
    pub(super) plane: usize,
}

impl Padded {
    /// Copies maps; `border` zeros go before each row and map, the rest of the room behind.
    pub(super) fn new(maps: &[f32], h: usize, w: usize, border: usize) -> Self {
        let row = w + 2;
        let plane = (h + 2 * border) * row;
        let n_planes = maps.len() / (h * w).max(1);
        // What the last block of places, or of gradients, may read beyond the end.
        let beyond = 2 * row + 2 + RUN.max(REGISTERS * WIDEST);
        let mut values = vec![0.0; n_planes * plane + beyond];
        let copy = |(to, from): (&mut [f32], &[f32])| {
            let rows = to[border * row..].chunks_mut(row);
            for (to, from) in rows.zip(from.chunks(w)) {
                to[border..border + w].copy_from_slice(from);
            }
        };
        let planes = values[..n_planes * plane].par_chunks_mut(plane.max(1));
        planes.zip(maps.par_chunks((h * w).max(1))).for_each(copy);
        Self { values, row, plane }
    }

    pub(super) fn planes_from(&self, first: usize) -> &[f32] {
        &self.values[first * self.plane..]
    }
}
