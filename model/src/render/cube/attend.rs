//! Attention of one query to keys and values that lie in a buffer, as the token loop has it.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::gather::larger;
use super::{BENEATH, contiguous, element, empty};
use crate::render::HEAD_WIDTH;
use crate::render::attention::KeyValues;

/// Threads of a cube, each with places of its own.
const PLACES: usize = 128;
/// Numbers of an output that are gathered from all threads at a time.
const PART: usize = 16;
const WIDTH: usize = 4;

/// Gives softmax(q Kᵀ / √64 + bias) V over the first `seen` places, for one query of every row and head.
///
/// # Shapes
/// queries `[rows, 1, m · d]`, of which each row's first d are looked at; pairs `[rows, heads, s, 64]`;
/// bias `[rows, 1 or heads, 1, s]` in single precision; gives `[rows, 1, d]`.
pub(in crate::render) fn attend(
    queries: Tensor<3>,
    pairs: KeyValues,
    bias: Option<Tensor<4>>,
    seen: usize,
) -> Tensor<3> {
    let biases = bias.as_ref().map_or(0, |bias| bias.dims()[1]);
    let queries = queries.into_dispatch();
    // Whatever is not looked at.
    let bias = bias.map_or_else(|| queries.clone(), Tensor::into_dispatch);
    let (keys, values) = (pairs.keys.into_dispatch(), pairs.values.into_dispatch());
    let output =
        <Dispatch as TokenAttention>::attend_one(queries, keys, values, bias, biases, seen);
    Tensor::from_dispatch(output)
}

fn merged(keys: &Shape) -> Shape {
    Shape::new([keys[0], 1, keys[1] * HEAD_WIDTH])
}

#[backend_extension(Cube, Fusion)]
pub(super) trait TokenAttention: Backend {
    #[fusion(dtype = queries, shape = merged(keys))]
    fn attend_one(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        biases: usize,
        seen: usize,
    ) -> FloatTensor<Self>;
}

impl TokenAttention for CubeBackend {
    fn attend_one(
        queries: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        bias: CubeTensor,
        biases: usize,
        seen: usize,
    ) -> CubeTensor {
        let [queries, keys, values, bias] = [queries, keys, values, bias].map(contiguous);
        let shape = keys.meta.shape().clone();
        let (rows, heads, places) = (shape[0], shape[1], shape[2]);
        let stride = queries.meta.shape()[2];
        let output = empty(&queries, merged(&shape), queries.dtype);
        let states = element(queries.dtype);
        attend_kernel::launch(
            &output.client.clone(),
            CubeCount::Static(heads as u32, rows as u32, 1),
            CubeDim::new_1d(PLACES as u32),
            WIDTH,
            queries.into_buffer_arg(),
            keys.into_buffer_arg(),
            values.into_buffer_arg(),
            bias.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            stride as u32,
            heads as u32,
            places as u32,
            seen as u32,
            biases,
            states,
        );
        output
    }
}

#[cube(launch)]
fn attend_kernel<F: Float, N: Size>(
    queries: &[F],
    keys: &[Vector<F, N>],
    values: &[Vector<F, N>],
    bias: &[f32],
    output: &mut [F],
    stride: u32,
    heads: u32,
    places: u32,
    seen: u32,
    #[comptime] biases: usize,
    #[define(F)] _states: ElemType,
) {
    let (heads, places, seen) = (heads as usize, places as usize, seen as usize);
    let unit = UNIT_POS as usize;
    let (head, row) = (CUBE_POS_X as usize, CUBE_POS_Y as usize);
    let groups = comptime!(HEAD_WIDTH / WIDTH);

    // Every thread holds the query, scaled as elsewhere: before the product.
    let mut query = Array::<Vector<f32, N>>::new(groups);
    let start = row * stride as usize + head * HEAD_WIDTH;
    #[unroll]
    for group in 0..groups {
        let mut four = Vector::<f32, N>::new(0.0f32);
        #[unroll]
        for i in 0..WIDTH {
            let scaled = f32::cast_from(queries[start + group * WIDTH + i]) * 0.125f32;
            four.insert(i, scaled);
        }
        query[group] = four;
    }

    // Every thread goes through places of its own, its softmax relative to the highest score so far.
    let mut highest = BENEATH.runtime();
    let mut weights = 0.0f32;
    let mut mixed = Array::<Vector<f32, N>>::new(groups);
    #[unroll]
    for group in 0..groups {
        mixed[group] = Vector::new(0.0f32);
    }
    let first = (row * heads + head) * places;
    for place in range_stepped(unit, seen, PLACES) {
        let at = (first + place) * groups;
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
            score += bias[(row * heads + head) * places + place];
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
