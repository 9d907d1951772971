//! One step of Adam, in one pass over the numbers.

use pulp::Arch;
use rayon::prelude::*;

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
        Arch::new().dispatch(
            #[inline(always)]
            || {
                let moments = moment_1.iter_mut().zip(moment_2);
                for ((w, g), (m, v)) in weights.iter_mut().zip(gradient).zip(moments) {
                    *m = *m * factors.beta_1 + g * (1.0 - factors.beta_1);
                    *v = *v * factors.beta_2 + g * g * (1.0 - factors.beta_2);
                    *w -= factors.rate * *m / (v.sqrt() + factors.epsilon);
                }
            },
        );
    });
}
