//! Attention of whole patches on the CPU, on the graph or off it. Spelled out, its scores are
//! written and read a dozen times, which takes longer than its products.

use std::iter;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use nuwa_kernels::attend::WIDTH;
use nuwa_kernels::attention::{self as kernel, Pairs, Shape};

use crate::flex::{numbers, record, tensor};

/// Gives softmax(QKᵀ/√64) V over keys and values of two places, such as a context and the patch itself, which are thus
/// not copied to one. When `causal`, the queries are the last of the keys, and none sees a later one.
///
/// # Shapes
/// queries `[b, m, d]`, keys and values `[b, s, d]`; gives `[b, m, d]`.
pub(in crate::render) fn attention(
    queries: Tensor<3>,
    earlier: Option<[Tensor<3>; 2]>,
    own: [Tensor<3>; 2],
    causal: bool,
) -> Tensor<3> {
    let [b, _, d] = own[0].dims();
    let earlier = earlier.unwrap_or_else(|| {
        let nothing = Tensor::zeros([b, 0, d], &own[0].device());
        [nothing.clone(), nothing]
    });
    let ([keys, values], [own_keys, own_values]) = (earlier, own);
    let [queries, keys, values, own_keys, own_values] =
        [queries, keys, values, own_keys, own_values].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Attention>::patch_attention(
        queries, keys, values, own_keys, own_values, causal,
    ))
}

#[backend_extension(Flex, Autodiff)]
trait Attention: Backend {
    fn patch_attention(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        own_keys: FloatTensor<Self>,
        own_values: FloatTensor<Self>,
        causal: bool,
    ) -> FloatTensor<Self>;
}

impl Attention for Flex {
    fn patch_attention(
        queries: FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        own_keys: FlexTensor,
        own_values: FlexTensor,
        causal: bool,
    ) -> FlexTensor {
        let states = [queries, keys, values, own_keys, own_values];
        let states = states.map(|tensor| tensor.to_contiguous());
        run(&states, causal).0
    }
}

impl<C: CheckpointStrategy> Attention for Autodiff<Flex, C> {
    fn patch_attention(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        own_keys: FloatTensor<Self>,
        own_values: FloatTensor<Self>,
        causal: bool,
    ) -> FloatTensor<Self> {
        let states = [queries, keys, values, own_keys, own_values];
        record::<C, _, 5>(Scores, states, |states| {
            let states = states.map(|tensor| tensor.to_contiguous());
            let (output, totals) = run(&states, causal);
            (output, (states, totals, causal))
        })
    }
}

#[derive(Debug)]
struct Scores;

impl Backward<Flex, 5> for Scores {
    /// Queries, both pairs of keys and values, the totals of the scores, and whether it is causal.
    type State = ([FlexTensor; 5], Vec<f32>, bool);

    fn backward(
        self,
        ops: Ops<Self::State, 5>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let (states, totals, causal) = ops.state;
        let found = kernel::gradients(
            numbers(&states[0]),
            &pairs(&states),
            &totals,
            numbers(&gradient),
            shape(&states, causal),
        );
        let found = iter::once(found.queries).chain(found.pairs.into_iter().flatten());
        for ((node, found), of) in ops.parents.into_iter().zip(found).zip(&states) {
            if let Some(node) = node {
                let found = tensor(found, of.layout().shape().clone());
                gradients.register::<Flex>(node.id, found);
            }
        }
    }
}

/// Attends over contiguous states; also gives the totals of the scores.
fn run(states: &[FlexTensor; 5], causal: bool) -> (FlexTensor, Vec<f32>) {
    let found = kernel::forward(numbers(&states[0]), &pairs(states), shape(states, causal));
    let output = tensor(found.output, states[0].layout().shape().clone());
    (output, found.totals)
}

fn pairs([_, keys, values, own_keys, own_values]: &[FlexTensor; 5]) -> [Pairs<'_>; 2] {
    [[keys, values], [own_keys, own_values]].map(|[keys, values]| {
        let [_, count, _] = keys.layout().shape().dims();
        Pairs {
            keys: numbers(keys),
            values: numbers(values),
            count,
        }
    })
}

fn shape([queries, ..]: &[FlexTensor; 5], causal: bool) -> Shape {
    let [batch, m, d] = queries.layout().shape().dims();
    Shape {
        batch,
        heads: d / WIDTH,
        queries: m,
        causal,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;
    use crate::drawn;
    use crate::render::attention::{causal_bias, merge_heads, split_heads};

    /// Every step by Burn.
    fn spelled_out(
        queries: Tensor<3>,
        keys: Tensor<3>,
        values: Tensor<3>,
        causal: bool,
    ) -> Tensor<3> {
        let [queries, keys, values] = [queries, keys, values].map(split_heads);
        let ([_, _, m, _], [_, _, s, _]) = (queries.dims(), keys.dims());
        let scores = queries.matmul(keys.swap_dims(2, 3)) / (WIDTH as f64).sqrt();
        let scores = match causal {
            true => scores + causal_bias(m, s, &Device::flex()),
            false => scores,
        };
        let weights = burn::tensor::activation::softmax(scores, 3);
        merge_heads(weights.matmul(values))
    }

    #[test]
    fn attention_and_its_gradients_are_those_of_every_step_by_burn() {
        let draw = |shape: [usize; 3]| drawn::normal(shape, 0.1, 1.5);
        // One query, blocks that are not full, and heads that share their parts.
        for [b, m, s, heads] in [
            [1, 1, 1, 1],
            [2, 1, 40, 2],
            [1, 150, 333, 3],
            [4, 65, 129, 4],
        ] {
            let d = heads * WIDTH;
            let states = [draw([b, m, d]), draw([b, s, d]), draw([b, s, d])];
            let pull = draw([b, m, d]);
            for causal in [true, false] {
                type Attend<'a> = &'a dyn Fn(Tensor<3>, Tensor<3>, Tensor<3>) -> Tensor<3>;
                let run = |attend: Attend| {
                    let states = states.clone().map(|x| Tensor::from_inner(x).require_grad());
                    let [queries, keys, values] = states.clone();
                    let y = attend(queries, keys, values);
                    let loss = (y.clone() * Tensor::from_inner(pull.clone())).sum();
                    let gradients = loss.backward();
                    let found = states.map(|x| x.grad(&gradients).expect("tracked"));
                    let mut all = vec![y.inner().into_data()];
                    all.extend(found.map(Tensor::into_data));
                    all
                };
                let expected = run(&|q, k, v| spelled_out(q, k, v, causal));
                // Keys in one place, or some of them elsewhere; those of a causal block may lie in both.
                for first in [0, s / 3, s - 1] {
                    let found = run(&|queries, keys, values| {
                        let part = |x: &Tensor<3>, first, count| x.clone().narrow(1, first, count);
                        let both = [keys, values];
                        let earlier = both.each_ref().map(|x| part(x, 0, first.max(1)));
                        let own = both.each_ref().map(|x| part(x, first, s - first));
                        let earlier = (first > 0).then_some(earlier);
                        attention(queries, earlier, own, causal)
                    });
                    for (found, expected) in found.iter().zip(&expected) {
                        found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-4, 5e-5));
                    }
                }
            }
        }
    }
}
