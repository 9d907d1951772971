//! Attention over own and context keys (\[P\] Eq. 9–10). Axes: `b` batch, `h` heads here, `m` tokens
//! that look, `s` tokens looked at, `d` width.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::module::linear;

use super::config::HEAD_WIDTH;
use crate::softmax::softmax;

/// The four projections of an attention layer, all d × d.
#[derive(Module, Debug)]
pub(super) struct Attention {
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) o: Linear,
}

/// Projected keys and values of some tokens, `[b, heads, s, 64]` each.
#[derive(Debug, Clone)]
pub(super) struct KeyValues {
    /// Keys, before any relative embedding.
    pub keys: Tensor<4>,
    /// Values.
    pub values: Tensor<4>,
}

impl Attention {
    /// Projects normalized states `[b, s, d]` to keys and values.
    pub(super) fn key_values(&self, states: Tensor<3>) -> KeyValues {
        let values = split_heads(self.v.forward(states.clone()));
        KeyValues {
            keys: split_heads(self.k.forward(states)),
            values,
        }
    }

    /// Projects normalized states `[b, m, d]` to queries `[b, heads, m, 64]`.
    pub(super) fn queries(&self, states: Tensor<3>) -> Tensor<4> {
        split_heads(project(&self.q, states))
    }

    /// Attends and projects out: softmax(QKᵀ/√64 + bias) V, `[b, m, d]`.
    ///
    /// # Shapes
    /// queries `[b, heads, m, 64]`, pairs `[b, heads, s, 64]`, bias broadcasts over
    /// `[b, heads, m, s]`.
    pub(super) fn attend(
        &self,
        queries: Tensor<4>,
        pairs: KeyValues,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        // Scaling the queries touches m × 64 numbers per head instead of m × s scores.
        let queries = queries.div_scalar((HEAD_WIDTH as f64).sqrt());
        let scores = queries.matmul(pairs.keys.swap_dims(2, 3)); // [b, h, m, s]
        let scores = match bias {
            Some(bias) => scores + bias,
            None => scores,
        };
        let heads = softmax(scores).matmul(pairs.values);
        project(&self.o, merge_heads(heads))
    }

    /// [`attend`](Self::attend) of single queries over buffers of which the first `seen` places are
    /// written. The bias must hide the rest, for backends that have no use for `seen`.
    ///
    /// # Shapes
    /// queries `[b, heads, 1, 64]`, pairs `[b, heads, s, 64]`, bias `[b, 1 or heads, 1, s]`.
    pub(super) fn attend_written(
        &self,
        queries: Tensor<4>,
        pairs: KeyValues,
        bias: Tensor<4>,
        seen: usize,
    ) -> Tensor<3> {
        #[cfg(feature = "flex")]
        if super::flex::takes(&queries) {
            let heads = super::flex::attend(queries, pairs, bias, seen);
            return project(&self.o, merge_heads(heads));
        }
        let _ = seen;
        self.attend(queries, pairs, Some(bias))
    }
}

/// Applies a linear layer to states `[b, m, d]`.
pub(super) fn project(layer: &Linear, states: Tensor<3>) -> Tensor<3> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    project_by(states, layer.weight.val(), bias)
}

/// Gives x W + bias for states `[b, m, k]`, weight `[k, n]` and bias `[n]`.
pub(super) fn project_by(
    states: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if states.dims()[1] == 1 && super::flex::takes(&states) {
        return super::flex::project(states, weight, bias);
    }
    linear(states, weight, bias)
}

/// Splits the width into heads: `[b, s, d]` to `[b, heads, s, 64]`.
pub(super) fn split_heads(x: Tensor<3>) -> Tensor<4> {
    let [b, s, d] = x.dims();
    x.reshape([b, s, d / HEAD_WIDTH, HEAD_WIDTH])
        .swap_dims(1, 2)
}

fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [b, heads, s, width] = x.dims();
    x.swap_dims(1, 2).reshape([b, s, heads * width])
}
