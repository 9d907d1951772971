//! Attention of one query to keys and values that lie in a buffer, as the token loop has it.

use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::gather::larger;
use super::{BENEATH, element};
use crate::render::HEAD_WIDTH;

/// Threads of a cube, each with places of its own.
const PLACES: usize = 128;
/// Numbers of an output that are gathered from all threads at a time.
const PART: usize = 16;
const WIDTH: usize = 4;

/// Keys and values, `[rows, heads, places, 64]`.
#[derive(Debug)]
pub(super) struct Pairs {
    pub(super) keys: CubeTensor,
    pub(super) values: CubeTensor,
}

/// Which places a query looks at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seen<'a> {
    /// Every one.
    All,
    /// The first `own`, as far as the bias `[rows, 1 or heads, 1, places]` leaves them open, and those of
    /// the tokens `[rows]` written before and of the query's own, whose key and value come with it and
    /// are put there.
    Written {
        own: usize,
        bias: &'a CubeTensor,
        tokens: &'a CubeTensor,
    },
}

/// Gives softmax(q Kᵀ / √64 + bias) V for one query of every row and head.
///
/// # Shapes
/// queries `[rows, d]`, or queries, keys and values `[rows, 3 · d]` where they are written; gives
/// `[rows, d]`.
pub(super) fn attend(queries: &CubeTensor, pairs: &Pairs, seen: Seen<'_>, output: &CubeTensor) {
    let shape = pairs.keys.meta.shape();
    let (rows, heads, places) = (shape[0], shape[1], shape[2]);
    // Whatever is not looked at.
    let (first, bias, tokens, biases) = match seen {
        Seen::All => (places, queries, queries, 0),
        Seen::Written { own, bias, tokens } => (own, bias, tokens, bias.meta.shape()[1]),
    };
    attend_kernel::launch(
        &output.client,
        CubeCount::Static(heads as u32, rows as u32, 1),
        CubeDim::new_1d(PLACES as u32),
        WIDTH,
        queries.clone().into_buffer_arg(),
        pairs.keys.clone().into_buffer_arg(),
        pairs.values.clone().into_buffer_arg(),
        bias.clone().into_buffer_arg(),
        tokens.clone().into_buffer_arg(),
        output.clone().into_buffer_arg(),
        heads as u32,
        places as u32,
        first as u32,
        biases,
        matches!(seen, Seen::Written { .. }),
        element(queries.dtype),
    );
}

#[cube(launch)]
fn attend_kernel<F: Float, N: Size>(
    queries: &[Vector<F, N>],
    keys: &mut [Vector<F, N>],
    values: &mut [Vector<F, N>],
    bias: &[f32],
    tokens: &[u32],
    output: &mut [F],
    heads: u32,
    places: u32,
    first: u32,
    #[comptime] biases: usize,
    #[comptime] written: bool,
    #[define(F)] _states: ElemType,
) {
    let (heads, places) = (heads as usize, places as usize);
    let unit = UNIT_POS as usize;
    let (head, row) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let groups = comptime!(HEAD_WIDTH / WIDTH);
    let start = (row * heads + head) * places;

    // Where queries, keys and values of the row lie, counted in vectors.
    let width = heads * groups;
    let mut own = row * width + head * groups;
    let mut seen = first as usize;
    if comptime!(written) {
        own = row * width * 3 + head * groups;
        seen += tokens[row] as usize + 1;
        let at = (start + seen - 1) * groups;
        // The thread that will look at it.
        if unit == (seen - 1) % PLACES {
            #[unroll]
            for group in 0..groups {
                keys[at + group] = queries[own + width + group];
                values[at + group] = queries[own + 2 * width + group];
            }
        }
    }

    // Every thread holds the query, scaled as elsewhere: before the product.
    let mut query = Array::<Vector<f32, N>>::new(groups);
    #[unroll]
    for group in 0..groups {
        query[group] = Vector::cast_from(queries[own + group]) * Vector::new(0.125f32);
    }

    // Every thread goes through places of its own, its softmax relative to the highest score so far.
    let mut highest = BENEATH.runtime();
    let mut weights = 0.0f32;
    let mut mixed = Array::<Vector<f32, N>>::new(groups);
    #[unroll]
    for group in 0..groups {
        mixed[group] = Vector::new(0.0f32);
    }
    for place in range_stepped(unit, seen, PLACES) {
        let at = (start + place) * groups;
        let mut products = Vector::<f32, N>::new(0.0f32);
        #[unroll]
        for group in 0..groups {
            products += query[group] * Vector::cast_from(keys[at + group]);
        }
        let mut score = 0.0f32;
        #[unroll]
        for i in 0..WIDTH {
            score += products.extract(i);
        }
        if comptime!(biases == 1) {
            score += bias[row * places + place];
        }
        if comptime!(biases > 1) {
            score += bias[start + place];
        }
        // What is hidden has no weight.
        if score > BENEATH {
            let top = larger(score, highest);
            let (kept, new) = ((highest - top).exp(), (score - top).exp());
            highest = top;
            weights = weights * kept + new;
            #[unroll]
            for group in 0..groups {
                let value = Vector::<f32, N>::cast_from(values[at + group]);
                mixed[group] = mixed[group] * Vector::new(kept) + value * Vector::new(new);
            }
        }
    }

    // All threads together.
    let mut numbers = Shared::<[f32]>::new_slice(PLACES * PART);
    numbers[unit] = highest;
    sync_cube();
    let mut top = BENEATH.runtime();
    for other in 0..PLACES {
        top = larger(top, numbers[other]);
    }
    let share = (highest - top).exp();
    sync_cube();
    numbers[unit] = weights * share;
    sync_cube();
    let mut whole = 0.0f32;
    for other in 0..PLACES {
        whole += numbers[other];
    }
    #[unroll]
    for part in 0..comptime!(HEAD_WIDTH / PART) {
        sync_cube();
        #[unroll]
        for i in 0..PART {
            let at = comptime!(part * PART + i);
            let own = mixed[comptime!(at / WIDTH)].extract(comptime!(at % WIDTH));
            numbers[unit * PART + i] = own * share;
        }
        sync_cube();
        if unit < PART {
            let mut sum = 0.0f32;
            for other in 0..PLACES {
                sum += numbers[other * PART + unit];
            }
            let at = (row * heads + head) * HEAD_WIDTH + part * PART + unit;
            output[at] = F::cast_from(sum / whole);
        }
    }
}
