//! Layers as the token loop runs them: one token of every patch at a time. That time goes to reading
//! weights, so the CPU has them laid out in the order in which it reads them, once per session. There a
//! token gets the same bits alone and with those after it. Axes: `b` rows, `t` tokens, `d` width.

use burn::nn::Linear;
use burn::tensor::Tensor;

use super::HEAD_WIDTH;
use super::attention::{KeyValues, attend_written, merge_heads, project_by, split_heads};
use super::block::Block;
use super::geglu::geglu;
use super::norm::normalize;

/// A linear layer for single tokens.
#[derive(Debug)]
pub(super) struct Projection {
    weight: Weight,
    bias: Option<Tensor<1>>,
}

/// A weight `[k, n]`.
#[derive(Debug)]
enum Weight {
    Plain(Tensor<2>),
    /// As the kernel reads it, and its columns.
    #[cfg(feature = "flex")]
    Packed(Tensor<3>, usize),
}

impl Projection {
    /// Takes a weight `[k, n]` and a bias `[n]`, which gets the weight's precision.
    pub(super) fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        let bias = bias.map(|bias| bias.cast(weight.dtype()));
        #[cfg(feature = "flex")]
        if crate::flex::takes(&weight) {
            let [_, n] = weight.dims();
            let weight = Weight::Packed(super::flex::pack(weight), n);
            return Self { weight, bias };
        }
        Self::plain(weight, bias)
    }

    /// Takes them as any device does.
    fn plain(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        let weight = Weight::Plain(weight);
        Self { weight, bias }
    }

    fn of(linear: &Linear) -> Self {
        let bias = linear.bias.as_ref().map(|bias| bias.val());
        Self::new(linear.weight.val(), bias)
    }

    /// Tells whether a row gets the same bits in any company.
    pub(super) fn is_exact(&self) -> bool {
        !matches!(self.weight, Weight::Plain(_))
    }

    /// Applies it to states `[b, t, k]`.
    pub(super) fn forward(&self, states: Tensor<3>) -> Tensor<3> {
        match &self.weight {
            Weight::Plain(weight) => project_by(states, weight.clone(), self.bias.clone()),
            #[cfg(feature = "flex")]
            Weight::Packed(packed, n) => {
                super::flex::project(states, packed.clone(), self.bias.clone(), *n)
            }
        }
    }
}

/// The projections of a layer. Those of queries, keys and values are one: the token loop is bound by
/// calls, too.
#[derive(Debug)]
pub(super) struct TokenLayer {
    all: Projection,
    out: Projection,
    /// Queries to the text, and what comes back.
    cross: Option<[Projection; 2]>,
    expand: Projection,
    contract: Projection,
}

impl TokenLayer {
    pub(super) fn new(layer: &Block) -> Self {
        let parts = [&layer.attn.q, &layer.attn.k, &layer.attn.v];
        let bias = |linear: &Linear| linear.bias.as_ref().expect("projections have a bias").val();
        let cross = layer.cross.as_ref();
        Self {
            all: Projection::new(
                Tensor::cat(parts.map(|linear| linear.weight.val()).to_vec(), 1),
                Some(Tensor::cat(parts.map(bias).to_vec(), 0)),
            ),
            out: Projection::of(&layer.attn.o),
            cross: cross.map(|cross| [&cross.q, &cross.o].map(Projection::of)),
            expand: Projection::of(&layer.ff.expand),
            contract: Projection::of(&layer.ff.contract),
        }
    }

    /// Projects states `[b, t, d]` that enter the layer to queries and pairs, `[b, heads, t, 64]` each.
    pub(super) fn project(&self, layer: &Block, z: Tensor<3>) -> (Tensor<4>, KeyValues) {
        let [b, t, d] = z.dims();
        let heads = d / HEAD_WIDTH;
        let all = self.all.forward(normalize(&layer.norm1, z));
        let all = match t {
            // As it lies in memory.
            1 => all.reshape([b, 3 * heads, 1, HEAD_WIDTH]),
            _ => split_heads(all),
        };
        let part = |n: usize| all.clone().narrow(1, n * heads, heads);
        let (keys, values) = (part(1), part(2));
        (part(0), KeyValues { keys, values })
    }

    /// Runs the layer on states `[b, t, d]`. The first of their queries looks at the first `seen` places
    /// of `pairs`, each later one at one more.
    pub(super) fn forward(
        &self,
        layer: &Block,
        z: Tensor<3>,
        queries: Tensor<4>,
        (pairs, bias, seen): (KeyValues, Tensor<4>, usize),
        text: Option<&KeyValues>,
    ) -> Tensor<3> {
        let attended = merge_heads(attend_written(queries, pairs, Some(bias), (seen, 1)));
        let z = z + self.out.forward(attended);
        let z = match (text, &layer.norm2, &self.cross) {
            (Some(text), Some(norm2), Some([queries, out])) => {
                let queries = split_heads(queries.forward(normalize(norm2, z.clone())));
                let t_text = text.keys.dims()[2];
                let attended = attend_written(queries, text.clone(), None, (t_text, 0));
                z + out.forward(merge_heads(attended))
            }
            _ => z,
        };
        let x = self.expand.forward(normalize(&layer.norm3, z.clone()));
        z + self.contract.forward(geglu(x))
    }
}
