//! Products of a few rows with a matrix: what a linear layer does for the few tokens that are
//! written at a time. The time goes to reading the matrix, which is read once, in its own order.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::multiply_add;

/// Rows that share one reading of the matrix.
const ROWS: usize = 4;

/// Rows of the matrix that are added before a sum is written back.
const DEPTH: usize = 8;

/// Sums that are computed together.
const LANES: usize = 16;

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
        let blocks = input.chunks(ROWS * k).zip(output.chunks_mut(ROWS * columns.len()));
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
    let width = n.div_ceil(threads).next_multiple_of(LANES);
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
    fn with_simd<S: Simd>(self, _simd: S) {
        match (S::F32_LANES > 1, self.output.len() / self.columns.len()) {
            (true, 1) => self.run::<true, 1>(),
            (true, 2) => self.run::<true, 2>(),
            (true, 3) => self.run::<true, 3>(),
            (true, _) => self.run::<true, 4>(),
            (false, 1) => self.run::<false, 1>(),
            (false, 2) => self.run::<false, 2>(),
            (false, 3) => self.run::<false, 3>(),
            (false, _) => self.run::<false, 4>(),
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn run<const FUSED: bool, const R: usize>(self) {
        let (k, width) = (self.input.len() / R, self.columns.len());
        let whole = width / LANES * LANES;
        let mut first = 0;
        while first + DEPTH <= k {
            let factors: [[f32; DEPTH]; R] =
                std::array::from_fn(|r| std::array::from_fn(|i| self.input[r * k + first + i]));
            let lines: [&[f32]; DEPTH] = std::array::from_fn(|i| {
                &self.weight[(first + i) * self.n..][self.columns.clone()]
            });
            for at in (0..whole).step_by(LANES) {
                let mut sums: [[f32; LANES]; R] =
                    std::array::from_fn(|r| *lanes(&self.output[r * width + at..]));
                for (i, line) in lines.iter().enumerate() {
                    let weights = lanes(&line[at..]);
                    for (sums, factors) in sums.iter_mut().zip(&factors) {
                        for (sum, weight) in sums.iter_mut().zip(weights) {
                            *sum = multiply_add::<FUSED>(factors[i], *weight, *sum);
                        }
                    }
                }
                for (r, sums) in sums.iter().enumerate() {
                    self.output[r * width + at..][..LANES].copy_from_slice(sums);
                }
            }
            for at in whole..width {
                for (r, factors) in factors.iter().enumerate() {
                    for (factor, line) in factors.iter().zip(&lines) {
                        let sum = &mut self.output[r * width + at];
                        *sum = multiply_add::<FUSED>(*factor, line[at], *sum);
                    }
                }
            }
            first += DEPTH;
        }
        for i in first..k {
            let line = &self.weight[i * self.n..][self.columns.clone()];
            for r in 0..R {
                let factor = self.input[r * k + i];
                for (sum, weight) in self.output[r * width..][..width].iter_mut().zip(line) {
                    *sum = multiply_add::<FUSED>(factor, *weight, *sum);
                }
            }
        }
    }
}

#[inline(always)]
fn lanes(values: &[f32]) -> &[f32; LANES] {
    values.first_chunk().expect("as many columns are left")
}
