//! Products of a few rows with a matrix: what a linear layer does for the few tokens that are
//! written at a time. The time goes to reading the matrix, which is read once, in its own order.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Rows that share one reading of the matrix.
const ROWS: usize = 4;

/// Rows of the matrix that are added before a sum is written back.
const DEPTH: usize = 8;

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
