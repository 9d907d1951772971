//! The CPU's own kernels of the token loop. Burn's CPU backend packs every matrix it multiplies
//! by, which costs more than the product when there are one or a few rows.
//!
//! A row comes out the same to the last bit whatever rows it is computed with, so that any schedule
//! of a route paints the same tokens.

mod attention;
mod linear;

pub(super) use self::attention::attention;
pub(super) use self::linear::linear;

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, TensorData};
use nuwa_kernels::{attend, few_rows};

use super::HEAD_WIDTH;
use super::attention::KeyValues;
use crate::flex::numbers;

const _: () = assert!(HEAD_WIDTH == attend::WIDTH);

/// Lays out a weight `[k, n]` for [`project`].
pub(super) fn pack(weight: Tensor<2>) -> Tensor<3> {
    let ([k, n], device) = (weight.dims(), weight.device());
    let weight = weight.into_data().try_to_vec::<f32>();
    let packed = few_rows::pack(&weight.expect("single precision"), [k, n]);
    let shape = [n.div_ceil(few_rows::PANEL), k, few_rows::PANEL];
    Tensor::from_data(TensorData::new(packed, shape), &device)
}

/// Gives x W + bias for a few rows.
///
/// # Shapes
/// x `[b, t, k]`, a packed weight `[k, n]`, bias `[n]`; gives `[b, t, n]`.
pub(super) fn project(
    x: Tensor<3>,
    packed: Tensor<3>,
    bias: Option<Tensor<1>>,
    n: usize,
) -> Tensor<3> {
    let bias = bias.unwrap_or_else(|| Tensor::zeros([0], &x.device()));
    let (x, packed, bias) = (
        x.into_dispatch(),
        packed.into_dispatch(),
        bias.into_dispatch(),
    );
    Tensor::from_dispatch(<Dispatch as TokenKernels>::project(x, packed, bias, n))
}

/// Gives softmax(QKᵀ/√64 + bias) V: the first query of a head looks at the first `seen` places, each
/// later one at `more` more.
///
/// # Shapes
/// queries `[b, heads, t, 64]`, pairs `[b, heads, s, 64]`, bias `[b, 1 or heads, 1, s]`; gives
/// `[b, heads, t, 64]`.
pub(super) fn attend(
    queries: Tensor<4>,
    pairs: KeyValues,
    bias: Option<Tensor<4>>,
    (seen, more): (usize, usize),
) -> Tensor<4> {
    let bias = bias.unwrap_or_else(|| Tensor::zeros([0, 0, 0, 0], &queries.device()));
    let [queries, keys, values, bias] =
        [queries, pairs.keys, pairs.values, bias].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as TokenKernels>::attend(
        queries, keys, values, bias, seen, more,
    ))
}

#[backend_extension(Flex)]
trait TokenKernels: Backend {
    fn project(
        x: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        n: usize,
    ) -> FloatTensor<Self>;

    fn attend(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        seen: usize,
        more: usize,
    ) -> FloatTensor<Self>;
}

impl TokenKernels for Flex {
    fn project(x: FlexTensor, packed: FlexTensor, bias: FlexTensor, n: usize) -> FlexTensor {
        let [x, packed, bias] = [x, packed, bias].map(|tensor| tensor.to_contiguous());
        let [b, t, k] = x.layout().shape().dims();
        let output = few_rows::product(numbers(&x), numbers(&packed), numbers(&bias), [k, n]);
        FlexTensor::from_data(TensorData::new(output, [b, t, n]))
    }

    fn attend(
        queries: FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        bias: FlexTensor,
        seen: usize,
        more: usize,
    ) -> FlexTensor {
        let [queries, keys, values, bias] =
            [queries, keys, values, bias].map(|tensor| tensor.to_contiguous());
        let [b, heads, places, width] = keys.layout().shape().dims();
        let [bias_b, bias_heads, _, _] = bias.layout().shape().dims();
        let [_, _, n, _] = queries.layout().shape().dims();
        let shape = attend::Shape {
            rows: b * heads,
            queries: n,
            places,
            seen,
            more,
            bias_rows: bias_b * bias_heads,
        };
        let output = attend::forward(
            numbers(&queries),
            numbers(&keys),
            numbers(&values),
            numbers(&bias),
            shape,
        );
        FlexTensor::from_data(TensorData::new(output, [b, heads, n, width]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drawn;
    use burn::tensor::activation::softmax;
    use burn::tensor::module;

    fn draw<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        drawn::normal(shape, 0.2, 1.0)
    }

    fn same<const D: usize>(found: Tensor<D>, expected: Tensor<D>, what: &str) {
        let scale = expected.clone().abs().max().into_scalar::<f32>();
        let apart = (found - expected).abs().max().into_scalar::<f32>();
        assert!(apart <= 1e-5 * scale, "{what}: {apart} of {scale}");
    }

    #[test]
    fn products_are_those_of_burn_and_rows_do_not_depend_on_each_other() {
        // Depths and widths that fill no block, and enough work for two threads.
        for (rows, k, n) in [(1, 1, 1), (3, 7, 17), (4, 192, 576), (6, 250, 999)] {
            let (x, weight, bias) = (draw([rows, 1, k]), draw([k, n]), draw([n]));
            let packed = pack(weight.clone());
            let found = project(x.clone(), packed.clone(), Some(bias.clone()), n);
            let expected = module::linear(x.clone(), weight.clone(), Some(bias));
            same(found.clone(), expected, &format!("{rows}x{k}x{n}"));
            let unbiased = project(x.clone(), packed.clone(), None, n);
            same(
                unbiased.clone(),
                module::linear(x.clone(), weight, None),
                "no bias",
            );
            let last = project(x.narrow(0, rows - 1, 1), packed, None, n);
            assert_eq!(
                last.into_data(),
                unbiased.narrow(0, rows - 1, 1).into_data()
            );
        }
    }

    #[test]
    fn attention_is_that_of_burn_over_what_is_seen() {
        for (b, heads, bias_heads, s, seen) in
            [(1, 1, 1, 1, 1), (2, 3, 1, 33, 20), (3, 2, 2, 700, 699)]
        {
            let (queries, bias) = (draw([b, heads, 1, HEAD_WIDTH]), draw([b, bias_heads, 1, s]));
            // What is hidden and what lies beyond must not be seen, whatever it is.
            let hidden = [0..b, 0..bias_heads, 0..1, 0..seen / 3];
            let bias = bias.slice_fill(hidden, f32::NEG_INFINITY);
            let keys = draw([b, heads, s, HEAD_WIDTH]);
            let values = draw([b, heads, s, HEAD_WIDTH]);
            let pairs = KeyValues {
                keys: keys.clone(),
                values: values.clone(),
            };
            let found = attend(queries.clone(), pairs, Some(bias.clone()), (seen, 0));
            let [keys, values] = [keys, values].map(|x| x.narrow(2, 0, seen));
            let scores = queries.matmul(keys.swap_dims(2, 3)) / (HEAD_WIDTH as f64).sqrt();
            let expected = softmax(scores + bias.narrow(3, 0, seen), 3).matmul(values);
            same(found, expected, &format!("{b} {heads} {s} {seen}"));
        }
    }

    #[test]
    fn queries_that_come_together_get_the_bits_that_each_gets_alone() {
        let (b, heads, s, first, t) = (2, 3, 40, 11, 7);
        let queries = draw([b, heads, t, HEAD_WIDTH]);
        let pairs = KeyValues {
            keys: draw([b, heads, s, HEAD_WIDTH]),
            values: draw([b, heads, s, HEAD_WIDTH]),
        };
        for bias in [Some(draw([b, 1, 1, s])), None] {
            for more in [0, 1] {
                let together = attend(queries.clone(), pairs.clone(), bias.clone(), (first, more));
                for at in 0..t {
                    let query = queries.clone().narrow(2, at, 1);
                    let seen = (first + at * more, 0);
                    let alone = attend(query, pairs.clone(), bias.clone(), seen);
                    let found = together.clone().narrow(2, at, 1);
                    assert_eq!(found.into_data(), alone.into_data(), "query {at}");
                }
            }
        }
    }
}
