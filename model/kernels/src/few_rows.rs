//! Products of some rows with a matrix that stays: what a linear layer does for the tokens that are
//! written at a time. For a few of them the time goes to reading the matrix, so that it is laid out
//! beforehand in the order in which it is read: in panels of columns, one row of a panel after the
//! other.
//!
//! A row gets the same bits in any company: its sums begin with the bias and take what is added in
//! the order of the matrix's rows.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Columns of a panel: two of the widest registers there are.
pub const PANEL: usize = 32;

/// Rows of a tile: with two registers of columns each, all sums stay in registers.
const TILE: usize = 6;

/// Rows up to which four registers of columns fit beside each other, so that a sum need not wait for
/// the one before.
const FEW: usize = 3;

/// Multiplications below which a second thread costs more than it brings.
const WORTH_SHARING: usize = 1 << 15;

/// Lays out a matrix `[k, n]` as [`product`] reads it: `[panels, k, PANEL]`, zero beyond the last
/// column.
///
/// # Panics
/// If the length does not fit.
pub fn pack(weight: &[f32], [k, n]: [usize; 2]) -> Vec<f32> {
    assert_eq!(weight.len(), k * n, "weight");
    let mut packed = vec![0.0; n.div_ceil(PANEL) * k * PANEL];
    for (panel, start) in packed
        .chunks_exact_mut((k * PANEL).max(1))
        .zip((0..n).step_by(PANEL))
    {
        let width = PANEL.min(n - start);
        for (line, row) in panel.chunks_exact_mut(PANEL).zip(weight.chunks_exact(n)) {
            line[..width].copy_from_slice(&row[start..start + width]);
        }
    }
    packed
}

/// Gives `input` `[rows, k]` times a packed matrix `[k, n]` plus `bias` `[n]`, as `[rows, n]`. An empty
/// bias is zero.
///
/// # Panics
/// If a length does not fit.
pub fn product(input: &[f32], packed: &[f32], bias: &[f32], [k, n]: [usize; 2]) -> Vec<f32> {
    let (panel, n_panels) = (k * PANEL, n.div_ceil(PANEL));
    assert!(input.len().is_multiple_of(k.max(1)), "input");
    assert_eq!(packed.len(), n_panels * panel, "weight");
    assert!(bias.is_empty() || bias.len() == n, "bias");
    let rows = input.len() / k.max(1);
    let columns = |panels: &Range<usize>| panels.start * PANEL..n.min(panels.end * PANEL);
    let part = |panels: &Range<usize>| {
        let columns = columns(panels);
        let mut output = vec![0.0; rows * columns.len()];
        Arch::new().dispatch(Part {
            input,
            packed: &packed[panels.start * panel..panels.end * panel],
            bias: bias.get(columns.clone()).unwrap_or_default(),
            output: &mut output,
            width: columns.len(),
            k,
        });
        output
    };
    let threads = rayon::current_num_threads();
    if threads == 1 || n_panels < 2 || rows * k * n < WORTH_SHARING {
        return part(&(0..n_panels));
    }
    let each = n_panels.div_ceil(threads);
    let ranges = (0..n_panels).step_by(each);
    let ranges: Vec<_> = ranges
        .map(|start| start..n_panels.min(start + each))
        .collect();
    let parts: Vec<Vec<f32>> = ranges.par_iter().map(part).collect();
    let mut output = vec![0.0; rows * n];
    for (panels, part) in ranges.iter().zip(&parts) {
        let columns = columns(panels);
        let rows = output.chunks_mut(n).zip(part.chunks(columns.len()));
        rows.for_each(|(output, part)| output[columns.clone()].copy_from_slice(part));
    }
    output
}

/// Some panels, and the columns of the output that they give.
struct Part<'a> {
    input: &'a [f32],
    packed: &'a [f32],
    bias: &'a [f32],
    output: &'a mut [f32],
    width: usize,
    k: usize,
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            input, output, k, ..
        } = self;
        let rows = input.len() / k.max(1);
        for (n, panel) in self.packed.chunks_exact((k * PANEL).max(1)).enumerate() {
            let start = n * PANEL;
            let live = PANEL.min(self.width - start);
            let mut first = [0.0; PANEL];
            if !self.bias.is_empty() {
                first[..live].copy_from_slice(&self.bias[start..start + live]);
            }
            let panel = Panel {
                values: panel,
                first,
                start,
                live,
                width: self.width,
            };
            if rows <= FEW && 4 * S::F32_LANES <= PANEL {
                match rows {
                    1 => panel.run::<S, 1, 4>(simd, input, output),
                    2 => panel.run::<S, 2, 4>(simd, input, output),
                    _ => panel.run::<S, 3, 4>(simd, input, output),
                }
                continue;
            }
            let tiles = input.chunks(TILE * k);
            for (input, output) in tiles.zip(output.chunks_mut(TILE * self.width)) {
                match input.len() / k {
                    1 => panel.run::<S, 1, 2>(simd, input, output),
                    2 => panel.run::<S, 2, 2>(simd, input, output),
                    3 => panel.run::<S, 3, 2>(simd, input, output),
                    4 => panel.run::<S, 4, 2>(simd, input, output),
                    5 => panel.run::<S, 5, 2>(simd, input, output),
                    _ => panel.run::<S, TILE, 2>(simd, input, output),
                }
            }
        }
    }
}

/// One panel, what its sums begin with, and which columns of an output it gives.
struct Panel<'a> {
    values: &'a [f32],
    first: [f32; PANEL],
    start: usize,
    live: usize,
    width: usize,
}

impl Panel<'_> {
    /// Gives `R` rows of the output, `G` registers of columns at a time.
    #[inline(always)]
    fn run<S: Simd, const R: usize, const G: usize>(
        &self,
        simd: S,
        input: &[f32],
        output: &mut [f32],
    ) {
        let k = self.values.len() / PANEL;
        let rows: [&[f32]; R] = std::array::from_fn(|r| &input[r * k..][..k]);
        for from in (0..self.live).step_by(G * S::F32_LANES) {
            let columns = from..from + G * S::F32_LANES;
            let load = |line: &[f32]| -> [S::f32s; G] {
                let (registers, _) = S::as_simd_f32s(&line[columns.clone()]);
                std::array::from_fn(|g| registers[g])
            };
            let mut sums = [load(&self.first); R];
            for (i, line) in self.values.chunks_exact(PANEL).enumerate() {
                let weights = load(line);
                for (row, sums) in rows.iter().zip(&mut sums) {
                    let factor = simd.splat_f32s(row[i]);
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = simd.mul_add_e_f32s(factor, weight, *sum);
                    }
                }
            }
            let place = self.start + from..self.start + self.live.min(columns.end);
            for (output, sums) in output.chunks_mut(self.width).zip(&sums) {
                let (whole, rest) = S::as_mut_simd_f32s(&mut output[place.clone()]);
                for (output, &sum) in whole.iter_mut().zip(sums) {
                    *output = sum;
                }
                if let (false, Some(&sum)) = (rest.is_empty(), sums.get(whole.len())) {
                    simd.partial_store_f32s(rest, sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        let number = |i: usize| ((i + seed).wrapping_mul(0x9e37_79b9) >> 9) % 1000;
        (0..n).map(|i| number(i) as f32 / 500.0 - 1.0).collect()
    }

    #[test]
    fn a_row_gets_the_same_bits_in_any_company() {
        for [k, n] in [[1, 1], [3, 40], [9, 7], [64, 33], [70, 96], [64, 700]] {
            let (input, weight) = (numbers(20 * k, 1), numbers(k * n, 2));
            let packed = pack(&weight, [k, n]);
            for bias in [numbers(n, 3), Vec::new()] {
                let alone: Vec<f32> = input
                    .chunks(k)
                    .flat_map(|row| product(row, &packed, &bias, [k, n]))
                    .collect();
                for rows in [2, 3, 4, 5, 6, 7, 11, 12, 20] {
                    let together = product(&input[..rows * k], &packed, &bias, [k, n]);
                    assert_eq!(together, alone[..rows * n], "{rows} rows of {k} x {n}");
                }
                let first = |column: usize| -> f64 {
                    let terms =
                        (0..k).map(|i| f64::from(input[i]) * f64::from(weight[i * n + column]));
                    terms.sum::<f64>() + bias.get(column).copied().map_or(0.0, f64::from)
                };
                for (column, &sum) in alone[..n].iter().enumerate() {
                    assert!((first(column) - f64::from(sum)).abs() < 1e-4);
                }
            }
        }
    }
}
