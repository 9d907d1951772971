//! One layer of the render transformer (\[P\] Eq. 9–11, \[N\] Eq. 5). Axes: `b` batch, `n` context
//! patches, `m` tokens of the patch, `s` tokens looked at, `d` width.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Int, Tensor};

use super::attention::{
    Attention, KeyValues, causal_bias, merge_heads, project, project_by, split_heads,
};
use super::geglu::geglu;
use super::norm::{affine, normalize, standardize};
use super::precision::Precision;

/// GEGLU: value ⊙ gelu(gate), exact erf; the value half comes first (page §7).
#[derive(Module, Debug)]
pub(super) struct FeedForward {
    pub(super) expand: Linear,
    pub(super) contract: Linear,
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        project(&self.contract, geglu(project(&self.expand, x)))
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
    /// When `causal`, no token sees a later one of the patch. `text` holds the projected text
    /// states.
    pub(super) fn forward(
        &self,
        z: Tensor<3>,
        context: Option<&LayerContext>,
        causal: bool,
        text: Option<&KeyValues>,
    ) -> Tensor<3> {
        let a = normalize(&self.norm1, z.clone());
        let queries = self.attn.queries(a.clone());
        let own = self.attn.key_values(a);
        let attended = match context.cloned() {
            Some(LayerContext {
                pairs,
                bias: Some(bias),
            }) => {
                let bias = joint_bias(bias, queries.dims()[2], causal);
                let pairs = pairs.followed_by(own);
                self.attn.attend_biased(queries, pairs, Some(bias))
            }
            context => {
                let earlier = context.map(|context| context.pairs);
                self.attn.attend(queries, earlier, own, causal)
            }
        };
        self.rest(z + attended, text)
    }

    /// Runs what follows attention: text and feed-forward.
    pub(super) fn rest(&self, z: Tensor<3>, text: Option<&KeyValues>) -> Tensor<3> {
        let z = match (text, &self.norm2, &self.cross) {
            (Some(text), Some(norm2), Some(cross)) => {
                let queries = cross.queries(normalize(norm2, z.clone()));
                z + cross.attend(queries, None, text.clone(), false)
            }
            _ => z,
        };
        let x = normalize(&self.norm3, z.clone());
        z + self.ff.forward(x)
    }

    /// Makes copies of the weights of all products once, for layers that learn no more.
    pub(super) fn fixed_in(mut self, precision: Precision) -> Self {
        self.attn = precision.weights(self.attn);
        self.cross = precision.weights(self.cross);
        self.ff = precision.weights(self.ff);
        self
    }

    /// Projects the states `[b, s, d]` that entered this layer to keys and values.
    pub(super) fn project(&self, states: Tensor<3>) -> KeyValues {
        self.attn.key_values(normalize(&self.norm1, states))
    }

    /// Projects context states `[b, s, d]`, off the graph, where gradients are wanted.
    ///
    /// Normalized states are the same whatever is learned here, so γ and β go into the weights instead: (n ⊙ γ + β) W
    /// = n (γ ⊙ W) + β W. Spelled as [`project`](Self::project) does it, γ and β would want the gradient of every
    /// context token, a third of all work on contexts; so they have theirs from that of the weight.
    pub(super) fn project_context(&self, states: Tensor<3>) -> KeyValues {
        let precision = states.dtype();
        let states = standardize(states).cast(precision);
        let project = |layer: &Linear, states: Tensor<3>| {
            let (gamma, beta) = affine(&self.norm1);
            let weight = layer.weight.val();
            let shift = beta
                .unsqueeze::<2>()
                .matmul(weight.clone())
                .squeeze_dim::<1>(0);
            let bias = layer.bias.as_ref().map(|bias| bias.val() + shift);
            let weight = weight * gamma.unsqueeze_dim::<2>(1);
            split_heads(project_by(states, weight, bias))
        };
        KeyValues {
            keys: project(&self.attn.k, states.clone()),
            values: project(&self.attn.v, states),
        }
    }

    /// Projects text states `[b, t, d]`; nothing in an unconditional layer.
    pub(super) fn project_text(&self, text: Tensor<3>) -> Option<KeyValues> {
        self.cross.as_ref().map(|cross| cross.key_values(text))
    }

    /// Gives what sets keys of patches apart from own ones, by rows of the relative table: `[n, d]` to be
    /// added to keys, or `[n, heads]` to be added to scores.
    pub(super) fn shifts(&self, rows: Tensor<1, Int>, own_row: usize) -> Tensor<2> {
        let rpe = self.rpe.val();
        let own = rpe.clone().narrow(0, own_row, 1);
        rpe.select(0, rows) - own
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
        let shift = self.shifts(rows, own_row);
        if shift.dims()[1] == heads * width {
            // Freshly projected keys lie token after token, so merging the heads copies nothing.
            let keys = merge_heads(pairs.keys).reshape([b, n, m, heads * width]);
            let shift = shift.cast(keys.dtype());
            let keys = keys + shift.reshape([1, n, 1, heads * width]);
            LayerContext {
                pairs: KeyValues {
                    keys: split_heads(keys.reshape([b, s, heads * width])),
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

/// Joins the bias of context scores, `[b or 1, heads or 1, 1, s]`, with that of `m` own tokens.
fn joint_bias(theirs: Tensor<4>, m: usize, causal: bool) -> Tensor<4> {
    let device = theirs.device();
    let own = match causal {
        true => causal_bias(m, m, &device),
        false => Tensor::zeros([1, 1, 1, m], &device),
    };
    let ([b, heads, _, s], [_, _, rows, _]) = (theirs.dims(), own.dims());
    let parts = vec![
        theirs.expand([b, heads, rows, s]),
        own.expand([b, heads, rows, m]),
    ];
    Tensor::cat(parts, 3)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;
    use crate::drawn;
    use crate::render::RendererConfig;
    use crate::render::config::HEAD_WIDTH;

    #[test]
    fn contexts_are_projected_as_patches_are_and_all_weights_have_the_same_gradients() {
        let config = RendererConfig {
            d_model: 128,
            ..RendererConfig::small()
        };
        let learnt = |mean| {
            let numbers = Tensor::from_inner(drawn::normal([128], mean, 0.5));
            Param::from_tensor(numbers.require_grad())
        };
        let mut layer = config.init(&Device::flex().autodiff()).layers.remove(0);
        layer.norm1.gamma = learnt(1.0);
        layer.norm1.beta = Some(learnt(0.0));
        layer.attn.v.bias = Some(learnt(0.0));
        let states: Tensor<3> = drawn::normal([2, 12, 128], 1.0, 3.0);
        let pull: Tensor<4> = drawn::normal([2, 2, 12, HEAD_WIDTH], 0.0, 1.0);
        let run = |project: fn(&Block, Tensor<3>) -> KeyValues| {
            let KeyValues { keys, values } = project(&layer, states.clone());
            let pulled = keys.clone() + values.clone() * 2.0;
            let loss = (pulled * Tensor::from_inner(pull.clone())).sum();
            let gradients = loss.backward();
            let of = |x: Tensor<1>| x.grad(&gradients).expect("tracked").into_data();
            let of_weight = |x: &Linear| x.weight.val().grad(&gradients).expect("tracked");
            let (gamma, beta) = affine(&layer.norm1);
            let bias = layer.attn.v.bias.as_ref().expect("set above").val();
            let mut found = [keys, values].map(|x| x.inner().into_data()).to_vec();
            found.extend([gamma, beta, bias].map(of));
            found.extend([&layer.attn.k, &layer.attn.v].map(|x| of_weight(x).into_data()));
            found
        };
        let (found, expected) = (run(Block::project_context), run(Block::project));
        for (found, expected) in found.iter().zip(&expected) {
            found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-4, 1e-4));
        }
    }
}
