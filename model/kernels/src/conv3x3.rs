//! 3 × 3 convolution of stride 1 with a border of one zero, and its gradients.
//!
//! Every map is copied once into rows with a zero on either side (`Padded`). There, the nine
//! neighbors of a place lie at nine fixed distances, also across the ends of rows, so that a map is
//! one long run of places. What comes out between two rows is thrown away.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::multiply_add;

/// Output channels that are computed together.
const OUTPUTS: usize = 4;

/// Places that are computed together: with four outputs, twelve registers of eight numbers.
const PLACES: usize = 24;

/// Numbers of the input that stay in the second cache while all outputs are computed from them.
const BAND: usize = 1 << 16;

/// Gradients of output channels that are multiplied together.
const GRADIENTS: usize = 8;

/// Numbers in a register.
const LANES: usize = 8;

/// Places whose gradients stay in the nearest cache while all weights pass over them.
const RUN: usize = 512;

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

/// Maps with room between the rows, and behind the last one.
struct Padded {
    values: Vec<f32>,
    /// Distance of two rows.
    row: usize,
    /// Distance of two channels.
    plane: usize,
}

impl Padded {
    /// Copies maps; `border` zeros go before each row and map, the rest of the room behind.
    fn new(maps: &[f32], h: usize, w: usize, border: usize) -> Self {
        let row = w + 2;
        let plane = (h + 2 * border) * row;
        let n_planes = maps.len() / (h * w).max(1);
        // What the last block of places may read beyond the end.
        let beyond = 2 * row + 2 + PLACES.max(RUN);
        let mut values = vec![0.0; n_planes * plane + beyond];
        let copy = |(to, from): (&mut [f32], &[f32])| {
            let rows = to[border * row..].chunks_mut(row);
            for (to, from) in rows.zip(from.chunks(w)) {
                to[border..border + w].copy_from_slice(from);
            }
        };
        let planes = values[..n_planes * plane].par_chunks_mut(plane.max(1));
        planes.zip(maps.par_chunks((h * w).max(1))).for_each(copy);
        Self { values, row, plane }
    }

    fn planes_from(&self, first: usize) -> &[f32] {
        &self.values[first * self.plane..]
    }
}

/// Weights of [`OUTPUTS`] output channels, for every input channel and tap; channels beyond the
/// last are zero.
type Packed = Vec<[[f32; OUTPUTS]; 9]>;

fn by_output(weight: &[f32], shape: Shape) -> Packed {
    let at = |output: usize, input: usize, tap: usize| {
        weight[(output * shape.channels_in + input) * 9 + tap]
    };
    pack(shape.channels_out, shape.channels_in, at)
}

/// As [`by_output`], for the convolution that leads gradients back: channels change places, and the
/// nine taps are turned by half a circle.
fn by_input(weight: &[f32], shape: Shape) -> Packed {
    let at = |output: usize, input: usize, tap: usize| {
        weight[(input * shape.channels_in + output) * 9 + 8 - tap]
    };
    pack(shape.channels_in, shape.channels_out, at)
}

fn pack(outputs: usize, inputs: usize, at: impl Fn(usize, usize, usize) -> f32) -> Packed {
    let mut packed = vec![[[0.0; OUTPUTS]; 9]; outputs.div_ceil(OUTPUTS) * inputs];
    for output in 0..outputs {
        for input in 0..inputs {
            let taps = &mut packed[output / OUTPUTS * inputs + input];
            for (tap, values) in taps.iter_mut().enumerate() {
                values[output % OUTPUTS] = at(output, input, tap);
            }
        }
    }
    packed
}

fn convolve(input: &[f32], packed: &Packed, bias: &[f32], shape: Shape) -> Vec<f32> {
    let Shape {
        batch,
        channels_in,
        channels_out,
        h,
        w,
    } = shape;
    let padded = Padded::new(input, h, w, 1);
    let mut output = vec![0.0; batch * channels_out * shape.places()];
    let rows = (BAND / (channels_in * padded.row).max(1)).clamp(1, h.max(1));
    let bands = h.div_ceil(rows);
    let n_blocks = channels_out.div_ceil(OUTPUTS);
    // Enough tasks for every thread, as few as that takes: each reads its whole band.
    let groups = (4 * rayon::current_num_threads()).div_ceil((batch * bands).max(1));
    let group = n_blocks.div_ceil(groups.max(1)).max(1);

    let mut tasks: Vec<_> = (0..batch * bands * n_blocks.div_ceil(group))
        .map(|_| vec![])
        .collect();
    for (plane, values) in output.chunks_mut(shape.places().max(1)).enumerate() {
        let (item, channel) = (plane / channels_out, plane % channels_out);
        for (band, values) in values.chunks_mut(rows * w).enumerate() {
            let task = (channel / OUTPUTS / group * batch + item) * bands + band;
            tasks[task].push(values);
        }
    }
    tasks.into_par_iter().enumerate().for_each(|(n, output)| {
        let (first, item, band) = (n / bands / batch * group, n / bands % batch, n % bands);
        Arch::new().dispatch(Block {
            input: &padded.planes_from(item * channels_in)[band * rows * padded.row..],
            plane: padded.plane,
            row: padded.row,
            channels_in,
            weight: &packed[first * channels_in..],
            bias: bias.get(first * OUTPUTS..).unwrap_or_default(),
            output,
            w,
        });
    });
    output
}

/// A band of rows of some output channels of one map.
struct Block<'a> {
    input: &'a [f32],
    plane: usize,
    row: usize,
    channels_in: usize,
    weight: &'a [[[f32; OUTPUTS]; 9]],
    bias: &'a [f32],
    output: Vec<&'a mut [f32]>,
    w: usize,
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        // Every vector instruction set that is looked for has fused multiply-add.
        if S::F32_LANES > 1 {
            self.run::<true>()
        } else {
            self.run::<false>()
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(mut self) {
        let weights = self.weight.chunks(self.channels_in);
        for (n, (output, weight)) in self.output.chunks_mut(OUTPUTS).zip(weights).enumerate() {
            let bias: [f32; OUTPUTS] =
                std::array::from_fn(|o| self.bias.get(n * OUTPUTS + o).copied().unwrap_or(0.0));
            let places = output[0].len() / self.w * self.row;
            for start in (0..places).step_by(PLACES) {
                let input = &self.input[start..];
                let tile = tile::<FUSED>(input, self.plane, self.row, weight, bias);
                for (output, tile) in output.iter_mut().zip(&tile) {
                    put(output, tile, start, self.row, self.w);
                }
            }
        }
    }
}

/// Copies a run of places to where they belong, without those between the rows.
#[inline(always)]
fn put(output: &mut [f32], tile: &[f32; PLACES], start: usize, row: usize, w: usize) {
    let (mut y, mut x, mut at) = (start / row, start % row, 0);
    while at < PLACES && y * w < output.len() {
        let n = (row - x).min(PLACES - at);
        let inside = w.saturating_sub(x).min(n);
        output[y * w + x.min(w)..][..inside].copy_from_slice(&tile[at..at + inside]);
        (y, x, at) = (y + 1, 0, at + n);
    }
}

/// Gives [`PLACES`] places of [`OUTPUTS`] channels.
#[inline(always)]
fn tile<const FUSED: bool>(
    input: &[f32],
    plane: usize,
    row: usize,
    weight: &[[[f32; OUTPUTS]; 9]],
    bias: [f32; OUTPUTS],
) -> [[f32; PLACES]; OUTPUTS] {
    let mut sums = bias.map(|bias| [bias; PLACES]);
    for (channel, taps) in weight.iter().enumerate() {
        for down in 0..3 {
            let start = channel * plane + down * row;
            let line = &input[start..start + PLACES + 2];
            for right in 0..3 {
                let values = array::<PLACES>(&line[right..]);
                let weights = &taps[down * 3 + right];
                for output in 0..OUTPUTS {
                    for place in 0..PLACES {
                        sums[output][place] = multiply_add::<FUSED>(
                            values[place],
                            weights[output],
                            sums[output][place],
                        );
                    }
                }
            }
        }
    }
    sums
}

#[inline(always)]
fn array<const N: usize>(values: &[f32]) -> &[f32; N] {
    values.first_chunk().expect("room behind the last place")
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
    fn with_simd<S: Simd>(self, _simd: S) -> Vec<f32> {
        if S::F32_LANES > 1 {
            self.run::<true>()
        } else {
            self.run::<false>()
        }
    }
}

impl WeightGradient<'_> {
    #[inline(always)]
    fn run<const FUSED: bool>(self) -> Vec<f32> {
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
                for tap in 0..9 {
                    let at = channel * self.input_plane + start + tap / 3 * self.row + tap % 3;
                    let products = dot::<FUSED>(&self.input[at..at + RUN], &gradients, places);
                    for (output, product) in products.iter().enumerate().take(self.outputs) {
                        weights[(output * self.channels_in + channel) * 9 + tap] += product;
                    }
                }
            }
        }
        weights
    }
}

/// Gives the products of a run of inputs with the runs of gradients.
#[inline(always)]
fn dot<const FUSED: bool>(
    input: &[f32],
    gradients: &[[f32; RUN]; GRADIENTS],
    places: usize,
) -> [f32; GRADIENTS] {
    let mut sums = [[0.0; LANES]; GRADIENTS];
    let (input, _) = input.as_chunks::<LANES>();
    for (n, values) in input.iter().enumerate().take(places.div_ceil(LANES)) {
        for output in 0..GRADIENTS {
            let gradient = array::<LANES>(&gradients[output][n * LANES..]);
            for lane in 0..LANES {
                sums[output][lane] =
                    multiply_add::<FUSED>(values[lane], gradient[lane], sums[output][lane]);
            }
        }
    }
    across(&sums)
}

/// Adds up lanes. Kept apart: otherwise the compiler lays the registers of the loop above out for
/// this sum instead.
#[inline(never)]
fn across(sums: &[[f32; LANES]; GRADIENTS]) -> [f32; GRADIENTS] {
    sums.map(|lanes| lanes.iter().sum())
}
