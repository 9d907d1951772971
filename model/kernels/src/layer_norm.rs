//! Layer normalization over rows, and its gradients.
//!
//! With mean μ and deviation σ of a row: n = (x − μ)/σ, y = γ ⊙ n + β.

use rayon::prelude::*;

use crate::fresh::in_parts;
use crate::multiply_add;
use crate::simd::{Kernel, dispatch};
use crate::sums::{moments, sum};

/// Numbers below which a second thread costs more than it brings.
const WORTH_SHARING: usize = 1 << 14;

/// What the gradient of the output becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Gradient of the input; empty when nobody wants it.
    pub input: Vec<f32>,
    /// Gradient of γ, one row.
    pub gamma: Vec<f32>,
    /// Gradient of β, one row.
    pub beta: Vec<f32>,
}

/// Gives y for rows as long as `gamma` and `beta`. `epsilon` is added to the variance.
///
/// # Panics
/// If a length does not fit.
pub fn forward(input: &[f32], gamma: &[f32], beta: &[f32], epsilon: f64) -> Vec<f32> {
    let chunk = chunk(input, gamma);
    assert_eq!(gamma.len(), beta.len(), "affine");
    in_parts(
        input.len(),
        chunk,
        input.par_chunks(chunk),
        |input, output| {
            dispatch(Forward {
                input,
                gamma,
                beta,
                epsilon,
                output,
            });
        },
    )
}

/// Gives the gradients of what [`forward`] takes; that of the input only when `wanted`.
///
/// # Panics
/// If a length does not fit.
pub fn gradients(
    input: &[f32],
    gamma: &[f32],
    gradient: &[f32],
    epsilon: f64,
    wanted: bool,
) -> Gradients {
    let chunk = chunk(input, gamma);
    assert_eq!(gradient.len(), input.len(), "gradient");
    let mut found = vec![0.0; if wanted { input.len() } else { 0 }];
    let mut parts: Vec<&mut [f32]> = found.chunks_mut(chunk).collect();
    parts.resize_with(input.len().div_ceil(chunk), Default::default);
    let chunks = parts.into_par_iter().zip(input.par_chunks(chunk));
    let affine: Vec<[Vec<f32>; 2]> = chunks
        .zip(gradient.par_chunks(chunk))
        .map(|((found, input), gradient)| {
            dispatch(Backward {
                input,
                gamma,
                gradient,
                epsilon,
                found,
            })
        })
        .collect();
    let total = |which: usize| {
        let mut total = vec![0.0; gamma.len()];
        for part in &affine {
            for (total, part) in total.iter_mut().zip(&part[which]) {
                *total += part;
            }
        }
        total
    };
    let (gamma, beta) = (total(0), total(1));
    Gradients {
        input: found,
        gamma,
        beta,
    }
}

/// Gives how many numbers one thread takes at a time: whole rows.
fn chunk(input: &[f32], gamma: &[f32]) -> usize {
    let n = gamma.len().max(1);
    assert!(input.len().is_multiple_of(n), "rows");
    (WORTH_SHARING / n).max(1) * n
}

struct Forward<'a> {
    input: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f64,
    output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let n = self.gamma.len();
        let rows = self.output.chunks_exact_mut(n);
        for (output, input) in rows.zip(self.input.chunks_exact(n)) {
            let (mean, scale) = moments(input, self.epsilon);
            let affine = self.gamma.iter().zip(self.beta);
            for ((output, input), (gamma, beta)) in output.iter_mut().zip(input).zip(affine) {
                *output = multiply_add::<FUSED>((input - mean) * scale, *gamma, *beta);
            }
        }
    }
}

struct Backward<'a> {
    input: &'a [f32],
    gamma: &'a [f32],
    gradient: &'a [f32],
    epsilon: f64,
    /// Empty when nobody wants it.
    found: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    /// The sums for γ and β.
    type Output = [Vec<f32>; 2];

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> [Vec<f32>; 2] {
        let n = self.gamma.len();
        let mut sums = [vec![0.0; n], vec![0.0; n]];
        let mut pull = vec![0.0; n]; // γ ⊙ gradient
        let mut normal = vec![0.0; n];
        let mut found = self.found.chunks_exact_mut(n);
        let rows = self.input.chunks_exact(n);
        for (input, gradient) in rows.zip(self.gradient.chunks_exact(n)) {
            let (mean, scale) = moments(input, self.epsilon);
            let [for_gamma, for_beta] = &mut sums;
            for at in 0..n {
                normal[at] = (input[at] - mean) * scale;
                for_gamma[at] = multiply_add::<FUSED>(gradient[at], normal[at], for_gamma[at]);
                for_beta[at] += gradient[at];
            }
            let Some(found) = found.next() else { continue };
            for ((pull, gradient), gamma) in pull.iter_mut().zip(gradient).zip(self.gamma) {
                *pull = gradient * gamma;
            }
            let shift = (sum(pull.iter().copied()) / n as f64) as f32;
            let along = pull.iter().zip(&normal).map(|(pull, normal)| pull * normal);
            let slope = (sum(along) / n as f64) as f32;
            for ((found, pull), normal) in found.iter_mut().zip(&pull).zip(&normal) {
                *found = scale * multiply_add::<FUSED>(-slope, *normal, pull - shift);
            }
        }
        sums
    }
}
