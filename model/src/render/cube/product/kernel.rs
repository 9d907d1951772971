//! The sums of a linear layer for a few rows: a cube for each stretch of columns and group of rows.

use cubecl::ir::ElemType;
use cubecl::prelude::*;

use crate::render::cube::UNITS;
use crate::render::cube::gather::sum_of_all;

/// Columns that a thread adds up at once: what one load brings.
pub(super) const WIDTH: usize = 4;
/// Threads side by side; together they read a whole stretch of memory.
const LANES: usize = 8;
/// Parts into which the sum over the rows of the weights is cut.
const SLICES: usize = UNITS / LANES;
/// Columns of one cube.
pub(super) const COLUMNS: usize = LANES * WIDTH;

/// That of every normalization here, as shaders take it.
const EPSILON: f32 = crate::render::norm::EPSILON as f32;

/// What becomes of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::render::cube) enum Epilogue {
    /// They are the output.
    Plain,
    /// They are added to a residual.
    Added,
    /// Their first half times gelu of the second.
    Geglu,
}

#[cube(launch)]
pub(super) fn product_kernel<F: Float, O: Float, N: Size>(
    x: &[F],
    norm: &[f32],
    weight: &[Vector<F, N>],
    bias: &[F],
    residual: &[F],
    output: &mut [O],
    k: u32,
    n_columns: u32,
    all_rows: u32,
    #[comptime] rows: usize,
    #[comptime] normed: bool,
    #[comptime] epilogue: Epilogue,
    #[define(F)] _states: ElemType,
    #[define(O)] _results: ElemType,
) {
    let (k, n) = (k as usize, n_columns as usize);
    let unit = UNIT_POS as usize;
    let (lane, slice) = (unit % LANES, unit / LANES);
    // Where the last group has fewer rows, its last one is worked out more than once.
    let mut start = Array::<usize>::new(rows);
    #[unroll]
    for row in 0..rows {
        let (at, end) = (CUBE_POS_Y as usize * rows + row, all_rows as usize - 1);
        start[row] = select(at < end, at, end);
    }
    let mut numbers = Shared::<[f32]>::new_slice(UNITS);
    let mut means = Array::<f32>::new(rows);
    let mut scales = Array::<f32>::new(rows);
    if comptime!(normed) {
        #[unroll]
        for row in 0..rows {
            let mut sum = 0.0f32;
            for at in range_stepped(unit, k, UNITS) {
                sum += f32::cast_from(x[start[row] * k + at]);
            }
            let mean = sum_of_all(&mut numbers, sum) / f32::cast_from(k as u32);
            let mut squares = 0.0f32;
            for at in range_stepped(unit, k, UNITS) {
                let apart = f32::cast_from(x[start[row] * k + at]) - mean;
                squares += apart * apart;
            }
            let variance = sum_of_all(&mut numbers, squares) / f32::cast_from(k as u32);
            means[row] = mean;
            scales[row] = 1.0f32 / (variance + EPSILON).sqrt();
        }
    }
    let outputs = match comptime!(epilogue) {
        Epilogue::Geglu => n / 2,
        _ => n,
    };
    let first = CUBE_POS_X as usize * COLUMNS;
    let column = first + lane * WIDTH;
    let mut sums = Array::<Vector<f32, N>>::new(rows);
    let mut gates = Array::<Vector<f32, N>>::new(rows);
    #[unroll]
    for row in 0..rows {
        sums[row] = Vector::new(0.0f32);
        gates[row] = Vector::new(0.0f32);
    }
    if column < outputs {
        for at in range_stepped(slice, k, SLICES) {
            let here = (at * n + column) / WIDTH;
            let weights = Vector::<f32, N>::cast_from(weight[here]);
            #[unroll]
            for row in 0..rows {
                let mut state = f32::cast_from(x[start[row] * k + at]);
                if comptime!(normed) {
                    state = (state - means[row]) * scales[row] * norm[at] + norm[k + at];
                    // As precise as states are.
                    state = f32::cast_from(F::cast_from(state));
                }
                sums[row] += weights * Vector::new(state);
                if comptime!(epilogue == Epilogue::Geglu) {
                    let theirs = Vector::<f32, N>::cast_from(weight[here + n / 2 / WIDTH]);
                    gates[row] += theirs * Vector::new(state);
                }
            }
        }
    }
    let mut parts = Shared::<[f32]>::new_slice(SLICES * COLUMNS);
    #[unroll]
    for row in 0..rows {
        let sum = column_sum::<N>(&mut parts, sums[row], slice, lane, unit);
        let mut gate = 0.0f32;
        if comptime!(epilogue == Epilogue::Geglu) {
            gate = column_sum::<N>(&mut parts, gates[row], slice, lane, unit);
        }
        let at = first + unit;
        if unit < COLUMNS && at < outputs {
            let mut result = sum + f32::cast_from(bias[at]);
            if comptime!(epilogue == Epilogue::Geglu) {
                // Rounded between, as states are.
                let value = f32::cast_from(F::cast_from(result));
                let gate = f32::cast_from(F::cast_from(gate + f32::cast_from(bias[at + n / 2])));
                result =
                    value * gate * 0.5 * (1.0 + Erf::erf(gate * std::f32::consts::FRAC_1_SQRT_2));
            }
            if comptime!(epilogue == Epilogue::Added) {
                result = f32::cast_from(F::cast_from(result));
                result += f32::cast_from(residual[start[row] * n + at]);
            }
            output[start[row] * outputs + at] = O::cast_from(result);
        }
    }
}

/// Adds up what all slices have of a column; given to the thread of that number.
#[cube]
fn column_sum<N: Size>(
    parts: &mut Shared<[f32]>,
    own: Vector<f32, N>,
    slice: usize,
    lane: usize,
    unit: usize,
) -> f32 {
    sync_cube();
    #[unroll]
    for i in 0..WIDTH {
        parts[slice * COLUMNS + lane * WIDTH + i] = own.extract(i);
    }
    sync_cube();
    let mut sum = 0.0f32;
    if unit < COLUMNS {
        for slice in 0..SLICES {
            sum += parts[slice * COLUMNS + unit];
        }
    }
    sum
}
