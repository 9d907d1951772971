//! Group normalization followed by swish, and its gradients.
//!
//! With mean μ and deviation σ of a group: n = (x − μ)/σ, v = γn + β, y = v · sigmoid(v).

use rayon::prelude::*;

use crate::simd::{Kernel, dispatch};
use crate::sums::{moments, sum};
use crate::{exp, multiply_add};

/// The sizes of a normalization.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Channels, in all groups.
    pub channels: usize,
    /// Groups of adjacent channels.
    pub groups: usize,
    /// Numbers per channel.
    pub places: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

/// What the gradient of the output becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Gradient of the input, `[b, c, places]`.
    pub input: Vec<f32>,
    /// Gradient of γ, `[c]`.
    pub gamma: Vec<f32>,
    /// Gradient of β, `[c]`.
    pub beta: Vec<f32>,
}

/// Gives y for `input` `[b, c, places]`; `gamma` and `beta` are `[c]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(input: &[f32], gamma: &[f32], beta: &[f32], shape: Shape) -> Vec<f32> {
    let group = shape.check(input, gamma, beta);
    let mut output = vec![0.0; input.len()];
    let groups = output.par_chunks_mut(group).zip(input.par_chunks(group));
    groups.enumerate().for_each(|(n, (output, input))| {
        let (gamma, beta) = (shape.of_group(gamma, n), shape.of_group(beta, n));
        dispatch(Forward {
            input,
            gamma,
            beta,
            output,
            shape,
        });
    });
    output
}

/// Gives v · sigmoid(v) with v = slope · x + shift for `input` `[b, c, places]`, `slope` and
/// `shift` `[c]`: the same with moments from elsewhere.
///
/// # Panics
/// If a length does not fit.
pub fn line_swish(input: &[f32], slope: &[f32], shift: &[f32], places: usize) -> Vec<f32> {
    assert_eq!(slope.len(), shift.len(), "slope and shift");
    let map = (slope.len() * places).max(1);
    assert!(input.len().is_multiple_of(map), "input");
    let mut output = vec![0.0; input.len()];
    let channels = output
        .par_chunks_mut(places.max(1))
        .zip(input.par_chunks(places.max(1)));
    channels.enumerate().for_each(|(n, (output, input))| {
        let n = n % slope.len();
        let (slope, shift) = (slope[n], shift[n]);
        dispatch(LineSwish {
            input,
            slope,
            shift,
            output,
        });
    });
    output
}

/// Gives the gradients of everything that [`forward`] takes.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn gradients(
    input: &[f32],
    gamma: &[f32],
    beta: &[f32],
    gradient: &[f32],
    shape: Shape,
) -> Gradients {
    let group = shape.check(input, gamma, beta);
    assert_eq!(gradient.len(), input.len(), "gradient");
    let mut found = vec![0.0; input.len()];
    let groups = found.par_chunks_mut(group).zip(input.par_chunks(group));
    let affine: Vec<_> = groups
        .zip(gradient.par_chunks(group))
        .enumerate()
        .map(|(n, ((output, input), gradient))| {
            let (gamma, beta) = (shape.of_group(gamma, n), shape.of_group(beta, n));
            let forward = Forward {
                input,
                gamma,
                beta,
                output,
                shape,
            };
            dispatch(Backward { forward, gradient })
        })
        .collect();
    let mut sums = Gradients {
        input: found,
        gamma: vec![0.0; shape.channels],
        beta: vec![0.0; shape.channels],
    };
    for (n, channels) in affine.iter().enumerate() {
        let first = n % shape.groups * (shape.channels / shape.groups);
        for (n, [gamma, beta]) in channels.iter().enumerate() {
            sums.gamma[first + n] += gamma;
            sums.beta[first + n] += beta;
        }
    }
    sums
}

impl Shape {
    /// Gives the numbers per group.
    fn check(&self, input: &[f32], gamma: &[f32], beta: &[f32]) -> usize {
        assert!(self.channels.is_multiple_of(self.groups), "groups");
        assert!(
            input
                .len()
                .is_multiple_of((self.channels * self.places).max(1)),
            "input"
        );
        assert!(
            gamma.len() == self.channels && beta.len() == self.channels,
            "affine"
        );
        (self.channels / self.groups * self.places).max(1)
    }

    fn of_group<'a>(&self, values: &'a [f32], n: usize) -> &'a [f32] {
        let size = self.channels / self.groups;
        &values[n % self.groups * size..][..size]
    }
}

/// One channel of one map.
struct LineSwish<'a> {
    input: &'a [f32],
    slope: f32,
    shift: f32,
    output: &'a mut [f32],
}

impl Kernel for LineSwish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        for (output, input) in self.output.iter_mut().zip(self.input) {
            let value = multiply_add::<FUSED>(*input, self.slope, self.shift);
            *output = value * sigmoid::<FUSED>(value);
        }
    }
}

/// One group of one map.
struct Forward<'a> {
    input: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    output: &'a mut [f32],
    shape: Shape,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let (mean, scale) = moments(self.input, self.shape.epsilon);
        let places = self.shape.places;
        let channels = self
            .input
            .chunks(places)
            .zip(self.output.chunks_mut(places));
        for ((input, output), (gamma, beta)) in channels.zip(self.gamma.iter().zip(self.beta)) {
            let slope = gamma * scale;
            let shift = beta - mean * slope;
            let line = LineSwish {
                input,
                slope,
                shift,
                output,
            };
            line.run::<FUSED>();
        }
    }
}

struct Backward<'a> {
    /// Its output is the gradient of the input.
    forward: Forward<'a>,
    gradient: &'a [f32],
}

impl Kernel for Backward<'_> {
    /// Gradients of γ and β of each channel.
    type Output = Vec<[f32; 2]>;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> Vec<[f32; 2]> {
        let Forward {
            input,
            gamma,
            beta,
            output,
            shape,
        } = self.forward;
        let (mean, scale) = moments(input, shape.epsilon);
        let places = shape.places;
        let mut affine = Vec::with_capacity(gamma.len());
        // Sums over the group of γ·dv and of γ·dv·n.
        let (mut plain, mut along) = (0.0, 0.0);
        for (channel, output) in output.chunks_mut(places).enumerate() {
            let at = channel * places..(channel + 1) * places;
            let (input, gradient) = (&input[at.clone()], &self.gradient[at]);
            let (gamma, beta) = (gamma[channel], beta[channel]);
            let slope = gamma * scale;
            let shift = beta - mean * slope;
            for ((output, input), gradient) in output.iter_mut().zip(input).zip(gradient) {
                let value = multiply_add::<FUSED>(*input, slope, shift);
                let gate = sigmoid::<FUSED>(value);
                *output = gradient * gate * multiply_add::<FUSED>(value, 1.0 - gate, 1.0);
            }
            let of_beta = sum(output.iter().copied());
            let of_gamma =
                sum(output.iter().zip(input).map(|(v, x)| v * (x - mean))) * scale as f64;
            plain += f64::from(gamma) * of_beta;
            along += f64::from(gamma) * of_gamma;
            affine.push([of_gamma as f32, of_beta as f32]);
        }
        let count = input.len() as f64;
        let (plain, along) = ((plain / count) as f32, (along / count) as f32 * scale);
        let channels = output.chunks_mut(places).zip(input.chunks(places));
        for ((output, input), gamma) in channels.zip(gamma) {
            for (output, input) in output.iter_mut().zip(input) {
                let through = multiply_add::<FUSED>(*output, *gamma, -plain);
                *output = scale * multiply_add::<FUSED>(mean - input, along, through);
            }
        }
        affine
    }
}

/// 1 / (1 + exp(−v)), to about 2e-7.
#[inline(always)]
fn sigmoid<const FUSED: bool>(value: f32) -> f32 {
    1.0 / (exp::<FUSED>(-value) + 1.0)
}
