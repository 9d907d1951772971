//! Products of some rows with a matrix: what a linear layer does for the tokens that are written at
//! a time. For a few of them the time goes to reading the matrix, which is read once, in its own
//! order; for more, to multiplying, and the matrix is read in panels that stay in the cache.
//!
//! A row gets the same bits in any company: its sums begin with the bias and take what is added in
//! the order of the matrix's rows, either way.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Rows that share one reading of the matrix.
const ROWS: usize = 4;

/// Rows of the matrix that are added before a sum is written back.
const DEPTH: usize = 8;

/// Rows from which on panels pay.
const MANY: usize = 6;

/// Rows of a panel's tile: with two registers of columns each, all sums stay in registers.
const TILE: usize = 6;

/// Numbers in the widest register there is.
const WIDEST: usize = 16;

/// Multiplications below which a second thread costs more than it brings.
const WORTH_SHARING: usize = 1 << 15;

/// Gives `input` `[rows, k]` times `weight` `[k, n]` plus `bias` `[n]`, as `[rows, n]`. An empty
/// bias is zero.
///
/// # Panics
/// If a length does not fit.
pub fn product(input: &[f32], weight: &[f32], bias: &[f32], [k, n]: [usize; 2]) -> Vec<f32> {
    assert!(input.len().is_multiple_of(k.max(1)), "input");
    assert_eq!(weight.len(), k * n, "weight");
    assert!(bias.is_empty() || bias.len() == n, "bias");
    let rows = input.len() / k.max(1);
    let part = |columns: Range<usize>| {
        let mut output = vec![0.0; rows * columns.len()];
        if rows >= MANY {
            let panels = Panels {
                input,
                weight,
                bias,
                output: &mut output,
                columns,
                shape: [k, n],
            };
            Arch::new().dispatch(panels);
            return output;
        }
        let blocks = input
            .chunks(ROWS * k)
            .zip(output.chunks_mut(ROWS * columns.len()));
        for (input, output) in blocks {
            for output in output.chunks_mut(columns.len()) {
                if !bias.is_empty() {
                    output.copy_from_slice(&bias[columns.clone()]);
                }
            }
            let block = Block {
                input,
                weight,
                output,
                columns: columns.clone(),
                n,
            };
            Arch::new().dispatch(block);
        }
        output
    };
    let threads = rayon::current_num_threads();
    if threads == 1 || rows * k * n < WORTH_SHARING {
        return part(0..n);
    }
    let width = n.div_ceil(threads).next_multiple_of(WIDEST);
    let ranges: Vec<Range<usize>> = (0..n)
        .step_by(width)
        .map(|start| start..n.min(start + width))
        .collect();
    let parts: Vec<Vec<f32>> = ranges.par_iter().cloned().map(part).collect();
    let mut output = vec![0.0; rows * n];
    for (columns, part) in ranges.iter().zip(&parts) {
        let rows = output.chunks_mut(n).zip(part.chunks(columns.len()));
        rows.for_each(|(output, part)| output[columns.clone()].copy_from_slice(part));
    }
    output
}

/// Up to [`ROWS`] rows of the input and some columns of the weight.
struct Block<'a> {
    input: &'a [f32],
    weight: &'a [f32],
    output: &'a mut [f32],
    columns: Range<usize>,
    n: usize,
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.output.len() / self.columns.len() {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            3 => self.run::<S, 3>(simd),
            _ => self.run::<S, ROWS>(simd),
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn run<S: Simd, const R: usize>(self, simd: S) {
        let (k, width) = (self.input.len() / R, self.columns.len());
        for first in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - first);
            // Beyond the last row, zero times the last row.
            let factors: [[f32; DEPTH]; R] = std::array::from_fn(|r| {
                std::array::from_fn(|i| {
                    if i < depth {
                        self.input[r * k + first + i]
                    } else {
                        0.0
                    }
                })
            });
            let lines: [&[f32]; DEPTH] = std::array::from_fn(|i| {
                let row = first + i.min(depth - 1);
                &self.weight[row * self.n..][self.columns.clone()]
            });
            for at in (0..width).step_by(S::F32_LANES) {
                let end = width.min(at + S::F32_LANES);
                let whole = end - at == S::F32_LANES;
                let load = |values: &[f32]| {
                    if whole {
                        S::as_simd_f32s(values).0[0]
                    } else {
                        simd.partial_load_f32s(values)
                    }
                };
                let mut sums: [S::f32s; R] =
                    std::array::from_fn(|r| load(&self.output[r * width + at..r * width + end]));
                for (i, line) in lines.iter().enumerate() {
                    let weights = load(&line[at..end]);
                    for (sum, factors) in sums.iter_mut().zip(&factors) {
                        *sum = simd.mul_add_e_f32s(simd.splat_f32s(factors[i]), weights, *sum);
                    }
                }
                for (r, sum) in sums.into_iter().enumerate() {
                    let output = &mut self.output[r * width + at..r * width + end];
                    if whole {
                        S::as_mut_simd_f32s(output).0[0] = sum;
                    } else {
                        simd.partial_store_f32s(output, sum);
                    }
                }
            }
        }
    }
}

/// Many rows of the input and some columns of the weight.
struct Panels<'a> {
    input: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    output: &'a mut [f32],
    columns: Range<usize>,
    shape: [usize; 2],
}

impl WithSimd for Panels<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let ([k, n], width) = (self.shape, self.columns.len());
        let wide = 2 * S::F32_LANES;
        let mut panel = vec![0.0; k * wide];
        let mut first = [0.0; 2 * WIDEST];
        for at in (0..width).step_by(wide) {
            let (columns, live) = (self.columns.start + at, wide.min(width - at));
            if live < wide {
                panel.fill(0.0);
                first.fill(0.0);
            }
            for (row, line) in panel.chunks_exact_mut(wide).zip(self.weight.chunks(n)) {
                row[..live].copy_from_slice(&line[columns..columns + live]);
            }
            if !self.bias.is_empty() {
                first[..live].copy_from_slice(&self.bias[columns..columns + live]);
            }
            let (panel, first) = (S::as_simd_f32s(&panel).0, S::as_simd_f32s(&first).0);
            let first = [first[0], first[1]];
            let inputs = self.input.chunks(TILE * k);
            for (input, output) in inputs.zip(self.output.chunks_mut(TILE * width)) {
                let place = (output, width, at, live);
                match input.len() / k {
                    1 => tile::<S, 1>(simd, input, panel, first, place),
                    2 => tile::<S, 2>(simd, input, panel, first, place),
                    3 => tile::<S, 3>(simd, input, panel, first, place),
                    4 => tile::<S, 4>(simd, input, panel, first, place),
                    5 => tile::<S, 5>(simd, input, panel, first, place),
                    _ => tile::<S, TILE>(simd, input, panel, first, place),
                }
            }
        }
    }
}

/// Gives some rows of the output, `(rows, width of a row, first column, columns)`, in a panel.
#[inline(always)]
fn tile<S: Simd, const R: usize>(
    simd: S,
    input: &[f32],
    panel: &[S::f32s],
    first: [S::f32s; 2],
    (output, width, at, live): (&mut [f32], usize, usize, usize),
) {
    let k = panel.len() / 2;
    let rows: [&[f32]; R] = std::array::from_fn(|r| &input[r * k..][..k]);
    let mut sums = [first; R];
    for (i, weights) in panel.chunks_exact(2).enumerate() {
        for (row, sums) in rows.iter().zip(&mut sums) {
            let factor = simd.splat_f32s(row[i]);
            sums[0] = simd.mul_add_e_f32s(factor, weights[0], sums[0]);
            sums[1] = simd.mul_add_e_f32s(factor, weights[1], sums[1]);
        }
    }
    for (output, sums) in output.chunks_mut(width).zip(&sums) {
        let output = &mut output[at..at + live];
        let (whole, rest) = S::as_mut_simd_f32s(output);
        for (output, &sums) in whole.iter_mut().zip(sums) {
            *output = sums;
        }
        if let (false, Some(&sums)) = (rest.is_empty(), sums.get(whole.len())) {
            simd.partial_store_f32s(rest, sums);
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
        for [k, n] in [[1, 1], [3, 40], [9, 7], [64, 33], [70, 96]] {
            let (input, weight) = (numbers(20 * k, 1), numbers(k * n, 2));
            for bias in [numbers(n, 3), Vec::new()] {
                let alone: Vec<f32> = input
                    .chunks(k)
                    .flat_map(|row| product(row, &weight, &bias, [k, n]))
                    .collect();
                for rows in [2, 4, 5, 6, 7, 11, 12, 20] {
                    let together = product(&input[..rows * k], &weight, &bias, [k, n]);
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
