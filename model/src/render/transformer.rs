//! The stack of layers and its output head (page §4), as used in training: teacher-forced, on
//! hidden-state caches. Axes: `b` batch, `m` tokens of the patch, `l` layers, `v` codes, `d` width.

use burn::module::{Module, Param};
use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::{Distribution, Int, Tensor, TensorData};

use super::attention::project_by;
use super::block::{Block, LayerContext};
use super::config::INIT_STD;
use super::ncp::PatchCache;
use super::norm::normalize;
use super::precision::{Precision, single};
use crate::patch::{Order, Step, TokenSize};

/// Holds the bias of the tied output head; its weights are the token embeddings.
#[derive(Module, Debug)]
pub(super) struct Head {
    pub(super) bias: Param<Tensor<1>>,
}

/// The render transformer. Field names are those of page §7.
#[derive(Module, Debug)]
pub struct Renderer {
    pub(super) tok_emb: Embedding,
    pub(super) pos_row: Embedding,
    pub(super) pos_col: Embedding,
    pub(super) pos_frame: Embedding,
    pub(super) order_emb: Embedding,
    pub(super) bos: Option<Param<Tensor<1>>>,
    pub(super) mask: Option<Param<Tensor<1>>>,
    pub(super) text_proj: Option<Linear>,
    pub(super) layers: Vec<Block>,
    pub(super) norm: LayerNorm,
    pub(super) head: Head,
    pub(super) tokens_per_patch: usize,
    pub(super) transfer_context: bool,
    /// What passes compute in; no part of what is saved.
    #[module(skip)]
    pub(super) precision: Precision,
}

/// What a teacher-forced pass looks at besides the tokens.
#[derive(Debug, Clone)]
pub struct RenderInput<'a> {
    /// Order the patch is written with.
    pub order: Order,
    /// Tokens of one patch along each axis.
    pub patch: TokenSize,
    /// Caches of the context, in route order.
    pub context: Vec<&'a PatchCache>,
    /// Row of the relative table for each context patch.
    pub rows: Vec<usize>,
    /// Row of the patch itself.
    pub own_row: usize,
    /// Text states `[b, t, d_text]`; ignored by an unconditional model.
    pub text: Option<Tensor<3>>,
}

/// What a teacher-forced pass gives.
#[derive(Debug, Clone)]
pub struct RenderOutput {
    /// Scores of every code at every token of the patch, `[b, m, v]`.
    pub logits: Tensor<3>,
    /// Cache of the patch, computed with the same weights.
    pub cache: PatchCache,
}

impl<'a> RenderInput<'a> {
    /// Gives the input of a route's step.
    pub fn new(
        step: &Step,
        own_row: usize,
        patch: TokenSize,
        context: Vec<&'a PatchCache>,
        text: Option<Tensor<3>>,
    ) -> Self {
        let rows = step.context.iter().map(|entry| entry.row).collect();
        Self {
            order: step.order,
            patch,
            context,
            rows,
            own_row,
            text,
        }
    }
}

impl Renderer {
    /// Begins the token embeddings where the codes of a VQGAN lie: by a random map that is the same for
    /// all of them, with the spread that embeddings begin with.
    ///
    /// ours, for little data: codes that look alike then begin alike, on the way in as on the way
    /// out, and need not be met beside each other to be known as such.
    ///
    /// # Shapes
    /// `codebook`: `[v, code_dim]`, off the graph.
    #[must_use]
    pub fn knowing(mut self, codebook: Tensor<2>) -> Self {
        let [_, code_dim] = codebook.dims();
        let codes = codebook.clone() - codebook.mean_dim(0);
        let spread = codes.clone().square().mean().sqrt().unsqueeze::<2>();
        let weight: Param<Tensor<2>> = self.tok_emb.weight;
        self.tok_emb.weight = weight.map(|embeddings| {
            let [_, d] = embeddings.dims();
            let deviation = INIT_STD / (code_dim as f64).sqrt();
            let normal = Distribution::Normal(0.0, deviation);
            let map = Tensor::random([code_dim, d], normal, &codes.device());
            let known = (codes / spread).matmul(map);
            let known = match embeddings.gradient_checkpointing_strategy() {
                Some(strategy) => known
                    .autodiff()
                    .with_gradient_checkpointing_strategy(strategy),
                None => known,
            };
            known.set_require_grad(embeddings.is_require_grad())
        });
        self
    }

    /// Computes in another precision. Weights stay as they are.
    #[must_use]
    pub fn computing_in(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Gives the states of all tokens before the first layer, `[b, m, d]`.
    pub(super) fn embed(&self, tokens: Tensor<2, Int>, input: &RenderInput) -> Tensor<3> {
        self.tok_emb.forward(tokens)
            + self
                .place_embedding(input.order, input.patch)
                .unsqueeze::<3>()
    }

    /// Gives the state of BOS, `[b, 1, d]`.
    ///
    /// # Panics
    /// When the model is not autoregressive.
    pub(super) fn begin(&self, order: Order, batch: usize) -> Tensor<3> {
        let bos = self
            .bos
            .as_ref()
            .expect("an autoregressive model has a BOS")
            .val();
        let [d] = bos.dims();
        (bos.unsqueeze::<2>() + self.order_embedding(order))
            .unsqueeze::<3>()
            .expand([batch, 1, d])
    }

    /// Runs all layers, in the renderer's precision. Gives the last states and every layer's input.
    pub(super) fn run(
        &self,
        z: Tensor<3>,
        context: &[Option<LayerContext>],
        text: Option<&Tensor<3>>,
        causal: bool,
    ) -> (Tensor<3>, Vec<Tensor<3>>) {
        let mut inputs = Vec::with_capacity(self.layers.len());
        let mut z = self.precision.of(z);
        let text = text.map(|text| self.precision.of(text.clone()));
        for (layer, context) in self.layers.iter().zip(context) {
            inputs.push(z.clone());
            let text = text.clone().and_then(|text| layer.project_text(text));
            z = layer.forward(z, context.as_ref(), causal, text.as_ref());
        }
        (z, inputs)
    }

    /// Gives the scores of every code, `[b, m, v]`, in single precision at least.
    pub(super) fn logits(&self, z: Tensor<3>) -> Tensor<3> {
        let weight = self.tok_emb.weight.val().transpose();
        let bias = self.head.bias.val();
        single(project_by(normalize(&self.norm, z), weight, Some(bias)))
    }

    /// Projects every layer's context from hidden states.
    pub(super) fn relate(&self, input: &RenderInput) -> Vec<Option<LayerContext>> {
        if input.context.is_empty() {
            return vec![None; self.layers.len()];
        }
        let device = self.tok_emb.weight.val().device();
        let rows: Tensor<1, Int> = Tensor::from_data(index_data(&input.rows), &device);
        let relate = |(l, layer): (usize, &Block)| {
            let states = input
                .context
                .iter()
                .map(|cache| cache.states[l].clone())
                .collect();
            let pairs = layer.project_context(Tensor::cat(states, 1)); // [b, n·m, d]
            Some(layer.relate(pairs, rows.clone(), input.own_row))
        };
        self.layers.iter().enumerate().map(relate).collect()
    }

    /// Projects text states to the width of the model; nothing when unconditional.
    pub(super) fn project_text(&self, text: Option<&Tensor<3>>) -> Option<Tensor<3>> {
        self.text_proj.as_ref().map(|proj| {
            let text =
                text.expect("a conditional model is given text, the empty string's at least");
            proj.forward(text.clone())
        })
    }

    /// Computes a cache in a pass of its own, over the true tokens and off the graph.
    pub(super) fn clean_cache(&self, tokens: &Tensor<2, Int>, input: &RenderInput) -> PatchCache {
        let model = self.valid();
        let mut input = input.clone();
        if !self.transfer_context {
            input.context.clear();
            input.rows.clear();
        }
        input.text = input.text.map(Tensor::inner);
        model.teacher_force(tokens.clone().inner(), &input).1
    }

    /// Runs the true tokens; gives the last states (BOS first when autoregressive) and the cache.
    pub(super) fn teacher_force(
        &self,
        tokens: Tensor<2, Int>,
        input: &RenderInput,
    ) -> (Tensor<3>, PatchCache) {
        let [b, m] = tokens.dims();
        let context = self.relate(input);
        let text = self.project_text(input.text.as_ref());
        let z = self.embed(tokens, input);
        if self.bos.is_none() {
            let (z, states) = self.run(z, &context, text.as_ref(), false);
            return (z, PatchCache::detached(states));
        }
        let z = Tensor::cat(vec![self.begin(input.order, b), z], 1); // [b, 1 + m, d]
        let (z, states) = self.run(z, &context, text.as_ref(), true);
        let states = states.into_iter().map(|s| s.narrow(1, 1, m)).collect();
        (z, PatchCache::detached(states))
    }
}

/// Makes tensor data of row numbers.
pub(super) fn index_data(rows: &[usize]) -> TensorData {
    TensorData::new(rows.iter().map(|&row| row as i32).collect(), [rows.len()])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::render::RendererConfig;

    #[test]
    fn codes_that_are_alike_begin_alike_and_stay_trainable() {
        let config = RendererConfig {
            d_model: 192,
            n_codes: 60,
            ..RendererConfig::small()
        };
        let device = Device::flex();
        let normal = Distribution::Normal(3.0, 5.0);
        let codebook = Tensor::<2>::random([59, 16], normal, &device);
        // The last code is nearly the first one.
        let twin = codebook.clone().narrow(0, 0, 1) + 0.01;
        let codebook = Tensor::cat(vec![codebook, twin], 0);
        let renderer = config.init(&device.clone().autodiff()).knowing(codebook);
        let weight = renderer.tok_emb.weight.val();
        assert!(weight.is_require_grad());
        let numbers: Vec<f32> = weight.inner().into_data().try_to_vec().expect("f32");
        let row = |code: usize| &numbers[code * 192..][..192];
        let apart = |a: usize, b: usize| -> f32 {
            let pairs = row(a).iter().zip(row(b));
            pairs.map(|(a, b)| (a - b) * (a - b)).sum()
        };
        assert!(apart(0, 59) < 1e-3 * apart(0, 1));
        let spread = numbers.iter().map(|x| x * x).sum::<f32>() / numbers.len() as f32;
        assert!((spread.sqrt() / INIT_STD as f32 - 1.0).abs() < 0.2);
    }
}
