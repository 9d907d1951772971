//! The gradient of the weights.

use pulp::bytemuck::cast_slice;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Shape;
use super::padded::Padded;

/// Gradients of output channels that are multiplied together: with three taps, twelve registers.
const GRADIENTS: usize = 4;

/// Places whose gradients stay in the nearest cache while all weights pass over them.
pub(super) const RUN: usize = 1024;

/// Gives the gradient of the weight from the input and the gradient of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn weight_gradient(input: &[f32], gradient: &[f32], shape: Shape) -> Vec<f32> {
    shape.check(input, gradient, &[]);
    let Shape {
        batch,
        channels_in,
        channels_out,
        h,
        w,
    } = shape;
    let input = Padded::new(input, h, w, 1);
    let gradient = Padded::new(gradient, h, w, 0);
    let blocks = channels_out.div_ceil(GRADIENTS);
    let part = |n: usize| {
        let (item, block) = (n / blocks, n % blocks);
        let first = block * GRADIENTS;
        let outputs = GRADIENTS.min(channels_out - first);
        Arch::new().dispatch(WeightGradient {
            input: input.planes_from(item * channels_in),
            input_plane: input.plane,
            gradient: gradient.planes_from(item * channels_out + first),
            gradient_plane: gradient.plane,
            row: input.row,
            channels_in,
            outputs,
        })
    };
    let parts: Vec<_> = (0..batch * blocks).into_par_iter().map(part).collect();
    let mut sum = vec![0.0; channels_out * channels_in * 9];
    for (n, part) in parts.iter().enumerate() {
        let start = n % blocks * GRADIENTS * channels_in * 9;
        for (sum, value) in sum[start..].iter_mut().zip(part) {
            *sum += value;
        }
    }
    sum
}

/// The weight gradient of up to [`GRADIENTS`] output channels, from one map.
struct WeightGradient<'a> {
    input: &'a [f32],
    input_plane: usize,
    gradient: &'a [f32],
    gradient_plane: usize,
    row: usize,
    channels_in: usize,
    outputs: usize,
}

impl WithSimd for WeightGradient<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let mut weights = vec![0.0; self.outputs * self.channels_in * 9];
        let mut gradients = [[0.0; RUN]; GRADIENTS];
        for start in (0..self.gradient_plane).step_by(RUN) {
            let places = RUN.min(self.gradient_plane - start);
            for (output, run) in gradients.iter_mut().enumerate().take(self.outputs) {
                let from = output * self.gradient_plane + start;
                run[..places].copy_from_slice(&self.gradient[from..from + places]);
                run[places..].fill(0.0);
            }
            for channel in 0..self.channels_in {
                for down in 0..3 {
                    let at = channel * self.input_plane + start + down * self.row;
                    let input = &self.input[at..at + RUN + 2];
                    let products = products(simd, input, &gradients, places);
                    for (output, taps) in products.iter().enumerate().take(self.outputs) {
                        let first = (output * self.channels_in + channel) * 9 + down * 3;
                        for (weight, tap) in weights[first..first + 3].iter_mut().zip(taps) {
                            *weight += tap;
                        }
                    }
                }
            }
        }
        weights
    }
}

/// Gives the products of three runs of inputs, each a place further right, with the runs of
/// gradients.
#[inline(always)]
fn products<S: Simd>(
    simd: S,
    input: &[f32],
    gradients: &[[f32; RUN]; GRADIENTS],
    places: usize,
) -> [[f32; 3]; GRADIENTS] {
    let mut sums = [[simd.splat_f32s(0.0); 3]; GRADIENTS];
    let [left, middle, right] = [0, 1, 2].map(|tap| S::as_simd_f32s(&input[tap..tap + RUN]).0);
    let (middle, right) = (&middle[..left.len()], &right[..left.len()]);
    let gradients: [&[S::f32s]; GRADIENTS] =
        std::array::from_fn(|output| S::as_simd_f32s(&gradients[output]).0);
    let gradients: [&[S::f32s]; GRADIENTS] = gradients.map(|run| &run[..left.len()]);
    for n in 0..places.div_ceil(S::F32_LANES).min(left.len()) {
        let values = [left[n], middle[n], right[n]];
        for output in 0..GRADIENTS {
            let gradient = gradients[output][n];
            for tap in 0..3 {
                let sum = &mut sums[output][tap];
                *sum = simd.mul_add_e_f32s(values[tap], gradient, *sum);
            }
        }
    }
    across(cast_slice(sums.as_flattened()))
}

/// Adds up the lanes of each sum. Kept apart: otherwise the compiler lays the registers of the loop
/// above out for this sum instead.
#[inline(never)]
fn across(sums: &[f32]) -> [[f32; 3]; GRADIENTS] {
    let lanes = sums.len() / (3 * GRADIENTS);
    // Four chains of additions at once.
    let sum = |n: usize| {
        let (fours, rest) = sums[n * lanes..(n + 1) * lanes].as_chunks::<4>();
        let add = |sum: [f32; 4], four: &[f32; 4]| std::array::from_fn(|i| sum[i] + four[i]);
        let [a, b, c, d] = fours.iter().fold([0.0; 4], add);
        (a + b) + (c + d) + rest.iter().sum::<f32>()
    };
    std::array::from_fn(|output| std::array::from_fn(|tap| sum(3 * output + tap)))
}
