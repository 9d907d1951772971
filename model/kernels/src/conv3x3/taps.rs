//! The convolution itself, for outputs and for the gradients of inputs.

use pulp::bytemuck::cast_slice;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::Shape;
use super::padded::Padded;

/// Output channels that are computed together.
const OUTPUTS: usize = 4;

/// Registers of places that are computed together: with four outputs, twelve of sixteen.
pub(super) const REGISTERS: usize = 3;

/// Numbers of the input that stay in the second cache while all outputs are computed from them.
const BAND: usize = 1 << 16;

/// Weights of [`OUTPUTS`] output channels, for every input channel and tap; channels beyond the
/// last are zero.
pub(super) type Packed = Vec<[[f32; OUTPUTS]; 9]>;

pub(super) fn by_output(weight: &[f32], shape: Shape) -> Packed {
    let at = |output: usize, input: usize, tap: usize| {
        weight[(output * shape.channels_in + input) * 9 + tap]
    };
    pack(shape.channels_out, shape.channels_in, at)
}

/// As [`by_output`], for the convolution that leads gradients back: channels change places, and the
/// nine taps are turned by half a circle.
pub(super) fn by_input(weight: &[f32], shape: Shape) -> Packed {
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

pub(super) fn convolve(input: &[f32], packed: &Packed, bias: &[f32], shape: Shape) -> Vec<f32> {
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
    fn with_simd<S: Simd>(self, simd: S) {
        self.run(simd)
    }
}

impl Block<'_> {
    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let weights = self.weight.chunks(self.channels_in);
        for (n, (output, weight)) in self.output.chunks_mut(OUTPUTS).zip(weights).enumerate() {
            let bias: [f32; OUTPUTS] =
                std::array::from_fn(|o| self.bias.get(n * OUTPUTS + o).copied().unwrap_or(0.0));
            let places = output[0].len() / self.w * self.row;
            for start in (0..places).step_by(REGISTERS * S::F32_LANES) {
                let input = &self.input[start..];
                let tile = tile(simd, input, self.plane, self.row, weight, bias);
                for (output, tile) in output.iter_mut().zip(&tile) {
                    put(output, cast_slice(tile), start, self.row, self.w);
                }
            }
        }
    }
}

/// Copies a run of places to where they belong, without those between the rows.
#[inline(always)]
fn put(output: &mut [f32], tile: &[f32], start: usize, row: usize, w: usize) {
    let (mut y, mut x, mut at) = (start / row, start % row, 0);
    while at < tile.len() && y * w < output.len() {
        let n = (row - x).min(tile.len() - at);
        let inside = w.saturating_sub(x).min(n);
        output[y * w + x.min(w)..][..inside].copy_from_slice(&tile[at..at + inside]);
        (y, x, at) = (y + 1, 0, at + n);
    }
}

/// Gives [`REGISTERS`] registers of places of [`OUTPUTS`] channels.
#[inline(always)]
fn tile<S: Simd>(
    simd: S,
    input: &[f32],
    plane: usize,
    row: usize,
    weight: &[[[f32; OUTPUTS]; 9]],
    bias: [f32; OUTPUTS],
) -> [[S::f32s; REGISTERS]; OUTPUTS] {
    let places = REGISTERS * S::F32_LANES;
    let mut sums = bias.map(|bias| [simd.splat_f32s(bias); REGISTERS]);
    for (channel, taps) in weight.iter().enumerate() {
        for down in 0..3 {
            let start = channel * plane + down * row;
            let line = &input[start..start + places + 2];
            for right in 0..3 {
                let values = registers::<S, REGISTERS>(&line[right..]);
                let weights = &taps[down * 3 + right];
                for output in 0..OUTPUTS {
                    let weight = simd.splat_f32s(weights[output]);
                    for n in 0..REGISTERS {
                        let sum = &mut sums[output][n];
                        *sum = simd.mul_add_e_f32s(values[n], weight, *sum);
                    }
                }
            }
        }
    }
    sums
}

/// Gives the first numbers as registers.
#[inline(always)]
fn registers<S: Simd, const N: usize>(values: &[f32]) -> &[S::f32s; N] {
    let (registers, _) = S::as_simd_f32s(values);
    registers.first_chunk().expect("room behind the last place")
}
