//! GEGLU: value ⊙ gelu(gate) with the exact gelu, and its gradient. Every row holds its values
//! first, then its gates.
//!
//! gelu(x) = x · Φ(x) with Φ the normal distribution, to about 1e-7 by Abramowitz and Stegun,
//! "Handbook of Mathematical Functions", 7.1.26.

use rayon::prelude::*;

use crate::fresh::in_parts;
use crate::simd::{Kernel, dispatch};
use crate::{exp, multiply_add};

/// Numbers below which a second thread costs more than it brings.
const WORTH_SHARING: usize = 1 << 13;

/// Gives rows of `width` numbers for `input`, rows of 2 · `width`.
///
/// # Panics
/// If the numbers are no whole rows.
pub fn forward(input: &[f32], width: usize) -> Vec<f32> {
    assert!(input.len().is_multiple_of(2 * width), "rows");
    let rows = (WORTH_SHARING / width).max(1);
    let inputs = input.par_chunks(rows * 2 * width);
    in_parts(input.len() / 2, rows * width, inputs, |input, output| {
        dispatch(Forward {
            input,
            output,
            width,
        });
    })
}

/// Gives the gradient of the input, rows of 2 · `width`, from that of the output.
///
/// # Panics
/// If the lengths do not fit, or the numbers are no whole rows.
pub fn gradient(input: &[f32], gradient: &[f32], width: usize) -> Vec<f32> {
    assert!(input.len().is_multiple_of(2 * width), "rows");
    assert_eq!(2 * gradient.len(), input.len(), "gradient");
    let rows = (WORTH_SHARING / width).max(1);
    let inputs = input.par_chunks(rows * 2 * width);
    let inputs = inputs.zip(gradient.par_chunks(rows * width));
    in_parts(
        input.len(),
        rows * 2 * width,
        inputs,
        |(input, gradient), found| {
            dispatch(Backward {
                input,
                gradient,
                found,
                width,
            });
        },
    )
}

/// Gives Φ(x), and the density of the normal distribution at x.
#[inline(always)]
fn normal<const FUSED: bool>(x: f32) -> [f32; 2] {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const ONE_OVER_SQRT_2_PI: f32 = 0.398_942_3;
    let bell = exp::<FUSED>(-0.5 * x * x);
    let t = 1.0 / multiply_add::<FUSED>(P, x.abs(), 1.0);
    let mut series = 1.061_405_4;
    for coefficient in [-1.453_152, 1.421_413_7, -0.284_496_73, 0.254_829_6] {
        series = multiply_add::<FUSED>(series, t, coefficient);
    }
    let tail = 0.5 * series * t * bell;
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    [below, ONE_OVER_SQRT_2_PI * bell]
}

struct Forward<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
    width: usize,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let rows = self.output.chunks_exact_mut(self.width);
        for (output, input) in rows.zip(self.input.chunks_exact(2 * self.width)) {
            let (values, gates) = input.split_at(self.width);
            for ((output, value), gate) in output.iter_mut().zip(values).zip(gates) {
                let [below, _] = normal::<FUSED>(*gate);
                *output = value * gate * below;
            }
        }
    }
}

struct Backward<'a> {
    input: &'a [f32],
    gradient: &'a [f32],
    found: &'a mut [f32],
    width: usize,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let rows = self.found.chunks_exact_mut(2 * self.width);
        let inputs = self.input.chunks_exact(2 * self.width);
        let gradients = self.gradient.chunks_exact(self.width);
        for ((found, input), gradient) in rows.zip(inputs).zip(gradients) {
            let (values, gates) = input.split_at(self.width);
            let (of_values, of_gates) = found.split_at_mut(self.width);
            let found = of_values.iter_mut().zip(of_gates);
            let inputs = values.iter().zip(gates);
            for ((found, input), gradient) in found.zip(inputs).zip(gradient) {
                let ((of_value, of_gate), (value, gate)) = (found, input);
                let [below, density] = normal::<FUSED>(*gate);
                *of_value = gradient * gate * below;
                *of_gate = gradient * value * multiply_add::<FUSED>(*gate, density, below);
            }
        }
    }
}
