//! Attention over own and context keys (\[P\] Eq. 9–10). Axes: `b` batch, `h` heads here, `m` tokens
//! that look, `s` tokens looked at, `d` width.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::module::linear;
use burn::tensor::{Device, Tensor, TensorData};

use super::config::HEAD_WIDTH;
use super::precision::single;
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

impl KeyValues {
    /// Appends the pairs of later tokens.
    pub(super) fn followed_by(self, later: Self) -> Self {
        // Along the tokens as they are stored: freshly projected pairs are copied in one piece.
        let join = |earlier: Tensor<4>, later: Tensor<4>| {
            let parts = vec![earlier.swap_dims(1, 2), later.swap_dims(1, 2)];
            Tensor::cat(parts, 1).swap_dims(1, 2)
        };
        Self {
            keys: join(self.keys, later.keys),
            values: join(self.values, later.values),
        }
    }
}

impl Attention {
    /// Projects normalized states `[b, s, d]` to keys and values.
    pub(super) fn key_values(&self, states: Tensor<3>) -> KeyValues {
        KeyValues {
            keys: split_heads(project(&self.k, states.clone())),
            values: split_heads(project(&self.v, states)),
        }
    }

    /// Projects normalized states `[b, m, d]` to queries `[b, heads, m, 64]`.
    pub(super) fn queries(&self, states: Tensor<3>) -> Tensor<4> {
        split_heads(project(&self.q, states))
    }

    /// Attends to every pair, earlier ones and own, and projects out: softmax(QKᵀ/√64) V, `[b, m, d]`. When
    /// `causal`, the queries are the last of the keys, and none sees a later one.
    ///
    /// # Shapes
    /// queries `[b, heads, m, 64]`, pairs `[b, heads, s, 64]`.
    pub(super) fn attend(
        &self,
        queries: Tensor<4>,
        earlier: Option<KeyValues>,
        own: KeyValues,
        causal: bool,
    ) -> Tensor<3> {
        project(&self.o, heads(queries, earlier, own, causal))
    }

    /// [`attend`](Self::attend) with something added to the scores.
    ///
    /// # Shapes
    /// bias broadcasts over `[b, heads, m, s]`.
    pub(super) fn attend_biased(
        &self,
        queries: Tensor<4>,
        pairs: KeyValues,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        project(&self.o, merge_heads(biased_heads(queries, pairs, bias)))
    }
}

/// Gives softmax(QKᵀ/√64) V for [`Attention::attend`].
fn heads(
    queries: Tensor<4>,
    earlier: Option<KeyValues>,
    own: KeyValues,
    causal: bool,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if crate::flex::takes(&queries) {
        let merged = |pairs: KeyValues| [pairs.keys, pairs.values].map(merge_heads);
        let (earlier, own) = (earlier.map(merged), merged(own));
        return super::flex::attention(merge_heads(queries), earlier, own, causal);
    }
    let pairs = match earlier {
        Some(earlier) => earlier.followed_by(own),
        None => own,
    };
    let [m, s] = [&queries, &pairs.keys].map(|x| x.dims()[2]);
    let bias = causal.then(|| causal_bias(m, s, &queries.device()));
    merge_heads(biased_heads(queries, pairs, bias))
}

/// Gives softmax(QKᵀ/√64 + bias) V, `[b, heads, m, 64]`, the softmax in single precision at least.
fn biased_heads(queries: Tensor<4>, pairs: KeyValues, bias: Option<Tensor<4>>) -> Tensor<4> {
    // Scaling the queries touches m × 64 numbers per head instead of m × s scores.
    let queries = queries.div_scalar((HEAD_WIDTH as f64).sqrt());
    let precision = queries.dtype();
    let scores = single(queries.matmul(pairs.keys.swap_dims(2, 3))); // [b, h, m, s]
    let scores = match bias {
        Some(bias) => scores + bias,
        None => scores,
    };
    softmax(scores).cast(precision).matmul(pairs.values)
}

/// Lets queries look at buffers: the first at the first `seen` places, each later one at `more` more.
/// Backends without a kernel for that look at all places: there the bias must hide the rest, and a
/// query comes alone.
///
/// # Shapes
/// queries are the first d of `[b, t, n]`, pairs `[b, heads, s, 64]`, bias `[b, 1 or heads, 1, s]`; gives
/// `[b, t, d]`.
pub(super) fn attend_written(
    queries: Tensor<3>,
    pairs: KeyValues,
    bias: Option<Tensor<4>>,
    (seen, more): (usize, usize),
) -> Tensor<3> {
    let ([b, t, n], heads) = (queries.dims(), pairs.keys.dims()[1]);
    let queries = match t {
        // As they lie in memory.
        1 => queries.reshape([b, n / HEAD_WIDTH, 1, HEAD_WIDTH]),
        _ => split_heads(queries),
    };
    let queries = queries.narrow(1, 0, heads);
    #[cfg(feature = "flex")]
    if !queries.is_autodiff() && crate::flex::takes(&queries) {
        return merge_heads(super::flex::attend(queries, pairs, bias, (seen, more)));
    }
    assert!(
        more == 0 || t == 1,
        "one query at a time, or all of them see the same"
    );
    merge_heads(biased_heads(queries, pairs, bias))
}

/// Forbids each of the last `m` of `s` tokens to look at later ones: `[1, 1, m, s]`, 0 or −∞.
pub(super) fn causal_bias(m: usize, s: usize, device: &Device) -> Tensor<4> {
    let bias = |at: usize| {
        if at % s > at / s + s - m {
            f32::NEG_INFINITY
        } else {
            0.0
        }
    };
    let data = TensorData::new((0..m * s).map(bias).collect(), [1, 1, m, s]);
    // A mask is no parameter: keep it off the graph.
    Tensor::from_data(data, &device.clone().without_autodiff())
}

/// Applies a linear layer to states `[b, m, d]`.
pub(super) fn project(layer: &Linear, states: Tensor<3>) -> Tensor<3> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    project_by(states, layer.weight.val(), bias)
}

/// Gives x W + bias for states `[b, m, k]`, weight `[k, n]` and bias `[n]`, as precisely as the states
/// are: those of half precision are multiplied by a copy of the weights.
pub(super) fn project_by(
    states: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if crate::flex::takes(&states) {
        return super::flex::linear(states, weight, bias);
    }
    let precision = states.dtype();
    let bias = bias.map(|bias| bias.cast(precision));
    linear(states, weight.cast(precision), bias)
}

/// Splits the width into heads: `[b, s, d]` to `[b, heads, s, 64]`.
pub(super) fn split_heads(x: Tensor<3>) -> Tensor<4> {
    let [b, s, d] = x.dims();
    x.reshape([b, s, d / HEAD_WIDTH, HEAD_WIDTH])
        .swap_dims(1, 2)
}

/// Joins heads: `[b, heads, s, 64]` to `[b, s, d]`.
pub(super) fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [b, heads, s, width] = x.dims();
    x.swap_dims(1, 2).reshape([b, s, heads * width])
}
