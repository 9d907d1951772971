//! 3 × 3 convolution of stride 1 with a border of one zero, and its gradients.
//!
//! Every map is copied once into rows with a zero on either side (`padded`). There, the nine
//! neighbors of a place lie at nine fixed distances, also across the ends of rows, so that a map is
//! one long run of places. What comes out between two rows is thrown away.

mod padded;
mod taps;
mod weight_gradient;

use self::taps::{by_input, by_output, convolve};

pub use self::weight_gradient::weight_gradient;

/// Numbers that are summed side by side for a bias.
const LANES: usize = 8;

/// Runs of them that are summed in single precision before the sum goes on in double.
const RUN: usize = 1024;

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Maps in the batch.
    pub batch: usize,
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Shape {
    fn places(&self) -> usize {
        self.h * self.w
    }

    fn check(&self, input: &[f32], output: &[f32], weight: &[f32]) {
        let (pixels, pair) = (
            self.batch * self.places(),
            self.channels_in * self.channels_out,
        );
        assert!(
            input.is_empty() || input.len() == pixels * self.channels_in,
            "input"
        );
        assert!(
            output.is_empty() || output.len() == pixels * self.channels_out,
            "output"
        );
        assert!(weight.is_empty() || weight.len() == pair * 9, "weight");
    }
}

/// Gives the convolution of `input` `[b, c_in, h, w]` with `weight` `[c_out, c_in, 3, 3]`, plus
/// `bias` `[c_out]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(input: &[f32], weight: &[f32], bias: &[f32], shape: Shape) -> Vec<f32> {
    shape.check(input, &[], weight);
    assert!(bias.is_empty() || bias.len() == shape.channels_out, "bias");
    convolve(input, &by_output(weight, shape), bias, shape)
}

/// Gives the gradient of the input from the gradient of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn input_gradient(gradient: &[f32], weight: &[f32], shape: Shape) -> Vec<f32> {
    shape.check(&[], gradient, weight);
    let turned = Shape {
        channels_in: shape.channels_out,
        channels_out: shape.channels_in,
        ..shape
    };
    convolve(gradient, &by_input(weight, shape), &[], turned)
}

/// Gives the gradient of the bias from the gradient of the output.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn bias_gradient(gradient: &[f32], shape: Shape) -> Vec<f32> {
    shape.check(&[], gradient, &[]);
    let mut sums = vec![0.0_f64; shape.channels_out];
    for (plane, values) in gradient.chunks(shape.places().max(1)).enumerate() {
        let (lanes, rest) = values.as_chunks::<LANES>();
        // Runs short enough that single precision does not lose the tail.
        let runs = lanes.chunks(RUN).map(|run| {
            let add = |sums: [f32; LANES], lanes: &[f32; LANES]| {
                std::array::from_fn(|n| sums[n] + lanes[n])
            };
            run.iter()
                .fold([0.0; LANES], add)
                .map(f64::from)
                .iter()
                .sum::<f64>()
        });
        let rest = rest.iter().copied().map(f64::from);
        sums[plane % shape.channels_out] += runs.sum::<f64>() + rest.sum::<f64>();
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}
