//! Layers as the token loop runs them: one token of every patch at a time. That time goes to reading
//! weights, so the CPU has them laid out in the order in which it reads them, once per session. There a
//! token gets the same bits alone and with those after it. Axes: `b` rows, `t` tokens, `d` width.

use burn::nn::{LayerNorm, Linear};
use burn::tensor::Tensor;

use super::HEAD_WIDTH;
use super::attention::{KeyValues, attend_written, project_by, split_heads};
use super::block::Block;
use super::geglu::geglu;
use super::norm::normalize;
use super::precision::single;

/// A linear layer for single tokens, and the normalization before it.
#[derive(Debug)]
pub(super) struct Projection {
    norm: Option<LayerNorm>,
    weight: Weight,
    bias: Tensor<1>,
}

/// A weight `[k, n]`.
#[derive(Debug)]
enum Weight {
    Plain(Tensor<2>),
    /// As the CPU's kernel reads it, and its columns.
    #[cfg(feature = "flex")]
    Packed(Tensor<3>, usize),
}

/// What becomes of a product.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is handed over, and not kept")]
pub(super) enum Then {
    Nothing,
    /// It is added to a residual.
    Added(Tensor<3>),
    Geglu,
}

impl Projection {
    /// Takes a weight `[k, n]` and a bias `[n]`, which gets the weight's precision.
    pub(super) fn new(norm: Option<&LayerNorm>, weight: Tensor<2>, bias: Tensor<1>) -> Self {
        let bias = bias.cast(weight.dtype());
        let norm = norm.cloned();
        #[cfg(feature = "flex")]
        if crate::flex::takes(&weight) {
            let [_, n] = weight.dims();
            let weight = Weight::Packed(super::flex::pack(weight), n);
            return Self { norm, weight, bias };
        }
        let weight = Weight::Plain(weight);
        Self { norm, weight, bias }
    }

    /// Tells whether a row gets the same bits in any company.
    pub(super) fn is_exact(&self) -> bool {
        #[cfg(feature = "flex")]
        return matches!(self.weight, Weight::Packed(..));
        #[cfg(not(feature = "flex"))]
        false
    }

    /// Tells whether kernels of our own go with it, which look at no more places than they are told.
    pub(super) fn is_bounded(&self) -> bool {
        !matches!(self.weight, Weight::Plain(_))
    }

    /// Applies it to states `[b, t, k]`.
    pub(super) fn forward(&self, states: Tensor<3>, then: Then) -> Tensor<3> {
        let product = self.product(states);
        match then {
            Then::Nothing => product,
            Then::Added(residual) => residual + product,
            Then::Geglu => geglu(product),
        }
    }

    /// Applies it to states `[b, t, k]`; gives single precision at least.
    pub(super) fn scores(&self, states: Tensor<3>) -> Tensor<3> {
        single(self.product(states))
    }

    fn product(&self, states: Tensor<3>) -> Tensor<3> {
        let states = match &self.norm {
            Some(norm) => normalize(norm, states),
            None => states,
        };
        let bias = Some(self.bias.clone());
        match &self.weight {
            Weight::Plain(weight) => project_by(states, weight.clone(), bias),
            #[cfg(feature = "flex")]
            Weight::Packed(packed, n) => super::flex::project(states, packed.clone(), bias, *n),
        }
    }
}

/// The projections of a layer. Those of queries, keys and values are one: the token loop is bound by
/// calls, too.
#[derive(Debug)]
pub(super) struct TokenLayer<P = Projection> {
    pub(super) all: P,
    pub(super) out: P,
    /// Queries to the text, and what comes back.
    pub(super) cross: Option<[P; 2]>,
    pub(super) expand: P,
    pub(super) contract: P,
}

impl<P> TokenLayer<P> {
    /// Takes the weights of a layer; `projection` makes one of a normalization before it, a weight and a
    /// bias.
    pub(super) fn new(
        layer: &Block,
        projection: impl Fn(Option<&LayerNorm>, Tensor<2>, Tensor<1>) -> P,
    ) -> Self {
        let parts = [&layer.attn.q, &layer.attn.k, &layer.attn.v];
        let bias = |linear: &Linear| linear.bias.as_ref().expect("projections have a bias").val();
        let of = |norm, linear: &Linear| projection(norm, linear.weight.val(), bias(linear));
        let cross = layer.cross.as_ref();
        Self {
            all: projection(
                Some(&layer.norm1),
                Tensor::cat(parts.map(|linear| linear.weight.val()).to_vec(), 1),
                Tensor::cat(parts.map(bias).to_vec(), 0),
            ),
            out: of(None, &layer.attn.o),
            cross: cross.map(|cross| [of(layer.norm2.as_ref(), &cross.q), of(None, &cross.o)]),
            expand: of(Some(&layer.norm3), &layer.ff.expand),
            contract: of(None, &layer.ff.contract),
        }
    }
}

impl TokenLayer {
    /// Projects states `[b, t, d]` that enter the layer: to queries, which are the first d of `[b, t, 3d]`,
    /// and pairs, `[b, heads, t, 64]` each.
    pub(super) fn project(&self, z: Tensor<3>) -> (Tensor<3>, KeyValues) {
        let [b, t, d] = z.dims();
        let heads = d / HEAD_WIDTH;
        let all = self.all.forward(z, Then::Nothing);
        let split = match t {
            // As it lies in memory.
            1 => all.clone().reshape([b, 3 * heads, 1, HEAD_WIDTH]),
            _ => split_heads(all.clone()),
        };
        let part = |n: usize| split.clone().narrow(1, n * heads, heads);
        let (keys, values) = (part(1), part(2));
        (all, KeyValues { keys, values })
    }

    /// Runs the layer on states `[b, t, d]`. The first of their queries looks at the first `seen` places
    /// of `pairs`, each later one at one more.
    pub(super) fn forward(
        &self,
        z: Tensor<3>,
        queries: Tensor<3>,
        (pairs, bias, seen): (KeyValues, Tensor<4>, usize),
        text: Option<&KeyValues>,
    ) -> Tensor<3> {
        let attended = attend_written(queries, pairs, Some(bias), (seen, 1));
        let z = self.out.forward(attended, Then::Added(z));
        let z = match (text, &self.cross) {
            (Some(text), Some([queries, out])) => {
                let queries = queries.forward(z.clone(), Then::Nothing);
                let t_text = text.keys.dims()[2];
                let attended = attend_written(queries, text.clone(), None, (t_text, 0));
                out.forward(attended, Then::Added(z))
            }
            _ => z,
        };
        let x = self.expand.forward(z.clone(), Then::Geglu);
        self.contract.forward(x, Then::Added(z))
    }
}
