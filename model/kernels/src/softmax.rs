//! Softmax over rows, and its gradient.

use rayon::prelude::*;

use crate::exp;
use crate::simd::{Kernel, dispatch};
use crate::sums::sum;

/// Numbers below which a second thread costs more than it brings.
const WORTH_SHARING: usize = 1 << 14;

/// Numbers that are summed side by side.
const LANES: usize = 16;

/// Gives the softmax of every row of `n` numbers.
///
/// # Panics
/// If the numbers are no whole rows.
pub fn forward(input: &[f32], n: usize) -> Vec<f32> {
    let mut output = vec![0.0; input.len()];
    each_row(n, &mut output, |row, output| {
        let input = &input[row * n..(row + 1) * n];
        dispatch(Forward { input, output });
    });
    output
}

/// Gives the gradient of the input from the output and its gradient.
///
/// # Panics
/// If the lengths differ, or the numbers are no whole rows.
pub fn gradient(output: &[f32], gradient: &[f32], n: usize) -> Vec<f32> {
    assert_eq!(output.len(), gradient.len(), "gradient");
    let mut found = vec![0.0; output.len()];
    each_row(n, &mut found, |row, found| {
        let at = row * n..(row + 1) * n;
        let (output, gradient) = (&output[at.clone()], &gradient[at]);
        dispatch(Backward {
            output,
            gradient,
            found,
        });
    });
    found
}

fn each_row(n: usize, output: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
    assert!(output.len().is_multiple_of(n.max(1)), "rows");
    // A few rows at a time: one is soon done.
    let rows = (WORTH_SHARING / n.max(1)).max(1);
    let chunks = output.par_chunks_mut(rows * n.max(1)).enumerate();
    chunks.for_each(|(chunk, output)| {
        for (row, output) in output.chunks_mut(n).enumerate() {
            work(chunk * rows + row, output);
        }
    });
}

struct Forward<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let (lanes, rest) = self.input.as_chunks::<LANES>();
        let mut highest = [f32::NEG_INFINITY; LANES];
        for lanes in lanes {
            for (highest, value) in highest.iter_mut().zip(lanes) {
                *highest = if *value > *highest { *value } else { *highest };
            }
        }
        let highest = highest.iter().chain(rest).copied();
        let highest = highest.fold(f32::NEG_INFINITY, f32::max);
        for (output, input) in self.output.iter_mut().zip(self.input) {
            *output = exp::<FUSED>(*input - highest);
        }
        let scale = (1.0 / sum(self.output.iter().copied())) as f32;
        for output in self.output {
            *output *= scale;
        }
    }
}

struct Backward<'a> {
    output: &'a [f32],
    gradient: &'a [f32],
    found: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self {
            output,
            gradient,
            found,
        } = self;
        for ((found, output), gradient) in found.iter_mut().zip(output).zip(gradient) {
            *found = output * gradient;
        }
        let mean = sum(found.iter().copied()) as f32;
        for ((found, output), gradient) in found.iter_mut().zip(output).zip(gradient) {
            *found = output * (gradient - mean);
        }
    }
}
