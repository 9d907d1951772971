//! One layer of the render transformer (\[P\] Eq. 9–11, \[N\] Eq. 5). Axes: `b` batch, `n` context
//! patches, `m` tokens of the patch, `s` tokens looked at, `d` width.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::activation::gelu;
use burn::tensor::{Int, Tensor};

use super::attention::{Attention, KeyValues, project, split_heads};

/// GEGLU: value ⊙ gelu(gate), exact erf; the value half comes first (page §7).
#[derive(Module, Debug)]
pub(super) struct FeedForward {
    pub(super) expand: Linear,
    pub(super) contract: Linear,
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let expanded = project(&self.expand, x);
        let half = expanded.dims()[2] / 2;
        let value = expanded.clone().narrow(2, 0, half);
        let gate = expanded.narrow(2, half, half);
        project(&self.contract, value * gelu(gate))
    }
}

/// What a layer sees besides the patch itself.
#[derive(Debug, Clone)]
pub(super) struct LayerContext {
    /// Keys with the relative embedding added, and values, of all context tokens.
    pub(super) pairs: KeyValues,
    /// Added to the scores of the context tokens: post-RPE and padding, or nothing.
    pub(super) bias: Option<Tensor<4>>,
}

/// One pre-norm layer: attention over patch and context, attention over text, GEGLU.
///
/// The relative embedding of the patch itself is the same for every key a query could compare it
/// with, so the layer works with differences to it: softmax does not notice a constant. Own keys
/// then need no embedding, and go to the pool as they are.
#[derive(Module, Debug)]
pub(super) struct Block {
    pub(super) norm1: LayerNorm,
    pub(super) attn: Attention,
    pub(super) rpe: Param<Tensor<2>>,
    pub(super) norm2: Option<LayerNorm>,
    pub(super) cross: Option<Attention>,
    pub(super) norm3: LayerNorm,
    pub(super) ff: FeedForward,
}

impl Block {
    /// Runs the layer on states `[b, m, d]`.
    ///
    /// `own_bias` broadcasts over `[b, heads, m, m]`: the causal mask, or nothing. `text` holds the
    /// projected text states.
    pub(super) fn forward(
        &self,
        z: Tensor<3>,
        context: Option<&LayerContext>,
        own_bias: Option<&Tensor<4>>,
        text: Option<&KeyValues>,
    ) -> Tensor<3> {
        let a = self.norm1.forward(z.clone());
        let queries = self.attn.queries(a.clone());
        let own = self.attn.key_values(a);
        let [_, _, m, _] = own.keys.dims();
        let (pairs, bias) = match context {
            None => (own, own_bias.cloned()),
            Some(context) => {
                let bias = joint_bias(context, own_bias, m);
                let keys = Tensor::cat(vec![context.pairs.keys.clone(), own.keys], 2);
                let values = Tensor::cat(vec![context.pairs.values.clone(), own.values], 2);
                (KeyValues { keys, values }, bias)
            }
        };
        self.rest(z + self.attn.attend(queries, pairs, bias), text)
    }

    /// Runs what follows attention: text and feed-forward.
    pub(super) fn rest(&self, z: Tensor<3>, text: Option<&KeyValues>) -> Tensor<3> {
        let z = match (text, &self.norm2, &self.cross) {
            (Some(text), Some(norm2), Some(cross)) => {
                let queries = cross.queries(norm2.forward(z.clone()));
                z + cross.attend(queries, text.clone(), None)
            }
            _ => z,
        };
        let x = self.norm3.forward(z.clone());
        z + self.ff.forward(x)
    }

    /// Projects the states `[b, s, d]` that entered this layer to keys and values.
    pub(super) fn project(&self, states: Tensor<3>) -> KeyValues {
        self.attn.key_values(self.norm1.forward(states))
    }

    /// Projects text states `[b, t, d]`; nothing in an unconditional layer.
    pub(super) fn project_text(&self, text: Tensor<3>) -> Option<KeyValues> {
        self.cross.as_ref().map(|cross| cross.key_values(text))
    }

    /// Turns context keys and values, `n` patches of `m` tokens in the order of `rows`, into what
    /// the layer sees. `rows` `[n]` are rows of the relative table.
    pub(super) fn relate(
        &self,
        pairs: KeyValues,
        rows: Tensor<1, Int>,
        own_row: usize,
    ) -> LayerContext {
        let [b, heads, s, width] = pairs.keys.dims();
        let [n] = rows.dims();
        let m = s / n;
        let rpe = self.rpe.val();
        let own = rpe.clone().narrow(0, own_row, 1);
        let shift = rpe.select(0, rows) - own; // [n, d] or [n, heads]
        if shift.dims()[1] == heads * width {
            let shift = split_heads(shift.unsqueeze::<3>()).unsqueeze_dim::<5>(3); // [1, h, n, 1, 64]
            let keys = pairs.keys.reshape([b, heads, n, m, width]) + shift;
            let keys = keys.reshape([b, heads, s, width]);
            LayerContext {
                pairs: KeyValues {
                    keys,
                    values: pairs.values,
                },
                bias: None,
            }
        } else {
            let bias = shift
                .transpose()
                .reshape([1, heads, 1, n, 1])
                .expand([1, heads, 1, n, m]);
            LayerContext {
                pairs,
                bias: Some(bias.reshape([1, heads, 1, s])),
            }
        }
    }
}

/// Joins the biases of context and own scores, each of which may be missing (zero).
fn joint_bias(context: &LayerContext, own_bias: Option<&Tensor<4>>, m: usize) -> Option<Tensor<4>> {
    if context.bias.is_none() && own_bias.is_none() {
        return None;
    }
    let device = context.pairs.keys.device();
    let s = context.pairs.keys.dims()[2];
    let zeros = |s: usize| Tensor::zeros([1, 1, 1, s], &device);
    let theirs = context.bias.clone().unwrap_or_else(|| zeros(s));
    let own = own_bias.cloned().unwrap_or_else(|| zeros(m));
    let ([b1, h1, m1, s], [b2, h2, m2, own_s]) = (theirs.dims(), own.dims());
    let (b, h, m) = (b1.max(b2), h1.max(h2), m1.max(m2));
    Some(Tensor::cat(
        vec![theirs.expand([b, h, m, s]), own.expand([b, h, m, own_s])],
        3,
    ))
}
