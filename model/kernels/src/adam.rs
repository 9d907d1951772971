//! One step of Adam, in one pass over the numbers.

use rayon::prelude::*;

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

/// Updates both moments by the gradient, and the weights by the moments.
///
/// # Panics
/// If the lengths differ.
pub fn step(
    weights: &mut [f32],
    gradient: &[f32],
    moment_1: &mut [f32],
    moment_2: &mut [f32],
    factors: Factors,
) {
    let n = weights.len();
    let all = [gradient.len(), moment_1.len(), moment_2.len()];
    assert_eq!(all, [n; 3], "lengths");
    let chunks = weights
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(moment_1.par_chunks_mut(CHUNK))
        .zip(moment_2.par_chunks_mut(CHUNK));
    chunks.for_each(|(((weights, gradient), moment_1), moment_2)| {
        dispatch(Step {
            weights,
            gradient,
            moment_1,
            moment_2,
            factors,
        });
    });
}

struct Step<'a> {
    weights: &'a mut [f32],
    gradient: &'a [f32],
    moment_1: &'a mut [f32],
    moment_2: &'a mut [f32],
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
        let moments = self.moment_1.iter_mut().zip(self.moment_2);
        let weights = self.weights.iter_mut().zip(self.gradient);
        for ((w, g), (m, v)) in weights.zip(moments) {
            *m = multiply_add::<FUSED>(*m, beta_1, g * (1.0 - beta_1));
            *v = multiply_add::<FUSED>(*v, beta_2, g * g * (1.0 - beta_2));
            *w -= rate * *m / (v.sqrt() + epsilon);
        }
    }
}
