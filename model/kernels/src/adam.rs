//! One step of Adam, in one pass over the numbers.

use rayon::prelude::*;

use crate::fresh::in_parts;
use crate::multiply_add;
use crate::simd::{Kernel, dispatch};

/// Numbers that one thread takes at a time.
const CHUNK: usize = 1 << 14;

/// The factors of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// What is kept of the first moment.
    pub beta_1: f32,
    /// What is kept of the second moment.
    pub beta_2: f32,
    /// Learning rate with both bias corrections in it.
    pub rate: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
}

/// Updates both moments by the gradient, and gives the weights that follow from them. Whoever trains holds the old ones
/// until it has all new ones, so there is nothing to be written in place.
///
/// # Panics
/// If the lengths differ.
pub fn step(
    weights: &[f32],
    gradient: &[f32],
    moment_1: &mut [f32],
    moment_2: &mut [f32],
    factors: Factors,
) -> Vec<f32> {
    let n = weights.len();
    let all = [gradient.len(), moment_1.len(), moment_2.len()];
    assert_eq!(all, [n; 3], "lengths");
    let moments = moment_1
        .par_chunks_mut(CHUNK)
        .zip(moment_2.par_chunks_mut(CHUNK));
    let weights = weights.par_chunks(CHUNK).zip(gradient.par_chunks(CHUNK));
    in_parts(
        n,
        CHUNK,
        weights.zip(moments),
        |(weights, moments), output| {
            dispatch(Step {
                weights,
                moments,
                output,
                factors,
            });
        },
    )
}

struct Step<'a> {
    /// Weights and their gradients.
    weights: (&'a [f32], &'a [f32]),
    moments: (&'a mut [f32], &'a mut [f32]),
    output: &'a mut [f32],
    factors: Factors,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Factors {
            beta_1,
            beta_2,
            rate,
            epsilon,
        } = self.factors;
        let moments = self.moments.0.iter_mut().zip(self.moments.1);
        let weights = self.weights.0.iter().zip(self.weights.1);
        for (((w, g), (m, v)), output) in weights.zip(moments).zip(self.output) {
            *m = multiply_add::<FUSED>(*m, beta_1, g * (1.0 - beta_1));
            *v = multiply_add::<FUSED>(*v, beta_2, g * g * (1.0 - beta_2));
            *output = w - rate * *m / (v.sqrt() + epsilon);
        }
    }
}
