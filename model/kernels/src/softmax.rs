//! Softmax over rows, and its gradient.

use rayon::prelude::*;

use crate::exp;
use crate::fresh::in_parts;
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
    let chunk = chunk(input, n);
    in_parts(
        input.len(),
        chunk,
        input.par_chunks(chunk),
        |input, output| {
            dispatch(Forward { input, output, n });
        },
    )
}

/// Gives the gradient of the input from the output and its gradient.
///
/// # Panics
/// If the lengths differ, or the numbers are no whole rows.
pub fn gradient(output: &[f32], gradient: &[f32], n: usize) -> Vec<f32> {
    assert_eq!(output.len(), gradient.len(), "gradient");
    let chunk = chunk(output, n);
    let items = output.par_chunks(chunk).zip(gradient.par_chunks(chunk));
    in_parts(output.len(), chunk, items, |(output, gradient), found| {
        dispatch(Backward {
            output,
            gradient,
            found,
            n,
        });
    })
}

/// Gives ln Σ exp of every row of `n` numbers.
///
/// # Panics
/// If the numbers are no whole rows, or those are empty.
pub fn totals(input: &[f32], n: usize) -> Vec<f32> {
    let chunk = chunk(input, n);
    let items = input.par_chunks(chunk);
    in_parts(input.len() / n, chunk / n, items, |input, totals| {
        dispatch(Totals { input, totals, n });
    })
}

/// Gives the gradient of the input of [`totals`] from what that gave and its gradient.
///
/// # Panics
/// If a length does not fit.
pub fn of_totals(input: &[f32], totals: &[f32], gradient: &[f32], n: usize) -> Vec<f32> {
    let chunk = chunk(input, n);
    assert_eq!(totals.len() * n, input.len(), "totals");
    assert_eq!(gradient.len(), totals.len(), "gradient");
    let rows = totals
        .par_chunks(chunk / n)
        .zip(gradient.par_chunks(chunk / n));
    let items = input.par_chunks(chunk).zip(rows);
    in_parts(
        input.len(),
        chunk,
        items,
        |(input, (totals, gradient)), found| {
            dispatch(OfTotals {
                input,
                totals,
                gradient,
                found,
                n,
            });
        },
    )
}

/// Gives how many numbers one thread takes at a time: whole rows, as one is soon done.
fn chunk(numbers: &[f32], n: usize) -> usize {
    assert!(numbers.len().is_multiple_of(n.max(1)), "rows");
    (WORTH_SHARING / n.max(1)).max(1) * n.max(1)
}

/// Gives the largest of some numbers.
#[inline(always)]
fn highest(numbers: &[f32]) -> f32 {
    let (lanes, rest) = numbers.as_chunks::<LANES>();
    let mut highest = [f32::NEG_INFINITY; LANES];
    for lanes in lanes {
        for (highest, value) in highest.iter_mut().zip(lanes) {
            *highest = if *value > *highest { *value } else { *highest };
        }
    }
    let highest = highest.iter().chain(rest).copied();
    highest.fold(f32::NEG_INFINITY, f32::max)
}

struct Totals<'a> {
    input: &'a [f32],
    totals: &'a mut [f32],
    n: usize,
}

impl Kernel for Totals<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let rows = self.input.chunks_exact(self.n);
        for (input, total) in rows.zip(self.totals) {
            let highest = highest(input);
            let sum = sum(input.iter().map(|input| exp::<FUSED>(input - highest)));
            *total = highest + sum.ln() as f32;
        }
    }
}

struct OfTotals<'a> {
    input: &'a [f32],
    totals: &'a [f32],
    gradient: &'a [f32],
    found: &'a mut [f32],
    n: usize,
}

impl Kernel for OfTotals<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let rows = self.input.chunks_exact(self.n);
        let rows = rows.zip(self.found.chunks_exact_mut(self.n));
        let gradients = self.totals.iter().zip(self.gradient);
        for ((input, found), (total, gradient)) in rows.zip(gradients) {
            for (found, input) in found.iter_mut().zip(input) {
                *found = gradient * exp::<FUSED>(input - total);
            }
        }
    }
}

struct Forward<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
    n: usize,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let rows = self.output.chunks_exact_mut(self.n);
        for (output, input) in rows.zip(self.input.chunks_exact(self.n)) {
            let highest = highest(input);
            for (output, input) in output.iter_mut().zip(input) {
                *output = exp::<FUSED>(*input - highest);
            }
            let scale = (1.0 / sum(output.iter().copied())) as f32;
            for output in output {
                *output *= scale;
            }
        }
    }
}

struct Backward<'a> {
    output: &'a [f32],
    gradient: &'a [f32],
    found: &'a mut [f32],
    n: usize,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let rows = self.output.chunks_exact(self.n);
        let rows = rows.zip(self.gradient.chunks_exact(self.n));
        for ((output, gradient), found) in rows.zip(self.found.chunks_exact_mut(self.n)) {
            for ((found, output), gradient) in found.iter_mut().zip(output).zip(gradient) {
                *found = output * gradient;
            }
            let mean = sum(found.iter().copied()) as f32;
            for ((found, output), gradient) in found.iter_mut().zip(output).zip(gradient) {
                *found = output * (gradient - mean);
            }
        }
    }
}
