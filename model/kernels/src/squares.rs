//! The sum of squares: what the norm of a gradient is the root of.

use rayon::prelude::*;

use crate::simd::{Kernel, dispatch};

/// Numbers that one thread takes at a time. A fixed number: rounding must not depend on how many threads there are.
const CHUNK: usize = 1 << 14;

/// Gives Σ x².
pub fn sum(numbers: &[f32]) -> f64 {
    let parts = numbers
        .par_chunks(CHUNK)
        .map(|part| dispatch(Squares(part)));
    parts.collect::<Vec<f64>>().into_iter().sum()
}

struct Squares<'a>(&'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> f64 {
        crate::sums::sum(self.0.iter().map(|x| x * x))
    }
}
