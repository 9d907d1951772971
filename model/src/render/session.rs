//! Inference: fixed weights, contexts of projected keys and values, and several patches of one
//! wave as one batch. Axes: `b` pictures, `g` patches of the wave (batch index g·b + picture), `m`
//! tokens of a patch, `s` tokens looked at, `d` width.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::HEAD_WIDTH;
use super::adc::TokenGrid;
use super::attention::{KeyValues, project_by};
use super::block::{Block, LayerContext};
use super::config::{Decoding, RendererConfig, Transfer};
use super::ncp::PatchKeyValues;
use super::sampling::{Sampler, Uniforms};
use super::transformer::{Renderer, causal_bias, index_data};
use crate::patch::{Order, PatchIndex, Step};

/// One patch of a wave: where it is, how it is written, what it sees.
#[derive(Debug, Clone)]
pub struct PatchJob<'a> {
    /// Place of the patch: the key of its random numbers.
    pub index: PatchIndex,
    /// Order in which its tokens are written.
    pub order: Order,
    /// Caches of the context, in route order.
    pub context: Vec<&'a PatchKeyValues>,
    /// Row of the relative table for each context patch.
    pub rows: Vec<usize>,
    /// Tokens that are given, `[b · m]` in the order they are written; [`TokenGrid::UNKNOWN`] where
    /// they are to be written.
    pub given: Vec<i32>,
}

impl<'a> PatchJob<'a> {
    /// Gives the job of a route's step.
    pub fn new(step: &Step, context: Vec<&'a PatchKeyValues>, given: Vec<i32>) -> Self {
        let rows = step.context.iter().map(|entry| entry.row).collect();
        Self {
            index: step.index,
            order: step.order,
            context,
            rows,
            given,
        }
    }

    /// Gives the same job without its context.
    fn alone(&self) -> Self {
        Self {
            context: Vec::new(),
            rows: Vec::new(),
            ..self.clone()
        }
    }

    /// Gives the same job with all its tokens.
    pub(super) fn with(&self, given: Vec<i32>) -> Self {
        Self {
            given,
            ..self.clone()
        }
    }
}

/// A renderer ready to paint: off the graph, with text and places projected once.
#[derive(Debug)]
pub struct Session {
    pub(super) renderer: Renderer,
    pub(super) config: RendererConfig,
    pub(super) device: Device,
    /// Place embeddings of each order, `[m, d]`.
    places: [Tensor<2>; 4],
    /// Projected text of every layer, `[b, heads, t, 64]`.
    text: Vec<Option<KeyValues>>,
    /// Query, key and value projections of every layer in one matrix: the token loop is bound by
    /// calls and by reading weights, not by arithmetic.
    pub(super) fused: Vec<Fused>,
    /// Weights of the tied head, `[d, v]`, laid out as the product reads them.
    head: Tensor<2>,
    batch: usize,
}

/// The projections of a layer as one matrix `[d, 3d]` and bias `[3d]`: queries, keys, values.
#[derive(Debug)]
pub(super) struct Fused {
    weight: Tensor<2>,
    bias: Tensor<1>,
}

impl Fused {
    fn new(layer: &Block) -> Self {
        let parts = [&layer.attn.q, &layer.attn.k, &layer.attn.v];
        let bias = |linear: &Linear| linear.bias.as_ref().expect("projections have a bias").val();
        Self {
            weight: Tensor::cat(parts.map(|linear| linear.weight.val()).to_vec(), 1),
            bias: Tensor::cat(parts.map(bias).to_vec(), 0),
        }
    }

    /// Projects normalized states `[b, 1, d]` to queries and a pair, `[b, heads, 1, 64]` each.
    pub(super) fn forward(&self, states: Tensor<3>) -> (Tensor<4>, KeyValues) {
        let [b, _, d] = states.dims();
        let all = project_by(states, self.weight.clone(), Some(self.bias.clone()));
        let all = all.reshape([b, 3 * d / HEAD_WIDTH, 1, HEAD_WIDTH]); // [b, 3 heads, 1, 64]
        let heads = d / HEAD_WIDTH;
        let part = |n: usize| all.clone().narrow(1, n * heads, heads);
        (
            part(0),
            KeyValues {
                keys: part(1),
                values: part(2),
            },
        )
    }
}

impl Session {
    /// Prepares a renderer for `batch` pictures.
    ///
    /// # Shapes
    /// text `[batch, t, d_text]`: CLIP states; needed by, and only looked at in, a conditional model
    /// (without a prompt, the states of the empty string).
    ///
    /// # Panics
    /// When a conditional model is given no text.
    pub fn new(
        renderer: &Renderer,
        config: &RendererConfig,
        text: Option<Tensor<3>>,
        batch: usize,
    ) -> Self {
        let renderer = renderer.valid();
        let device = renderer.tok_emb.weight.val().device();
        let places = Order::ALL.map(|order| renderer.place_embedding(order, config.patch));
        let text = renderer.project_text(text.as_ref());
        let project = |y: &Tensor<3>, layer: &Block| layer.project_text(y.clone());
        let text = renderer
            .layers
            .iter()
            .map(|layer| text.as_ref().and_then(|y| project(y, layer)))
            .collect();
        let fused = renderer.layers.iter().map(Fused::new).collect();
        let head = owned(renderer.tok_emb.weight.val().transpose());
        Self {
            renderer,
            config: config.clone(),
            device,
            places,
            text,
            fused,
            head,
            batch,
        }
    }

    /// Gives the number of pictures painted at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Gives the architecture.
    pub fn config(&self) -> &RendererConfig {
        &self.config
    }

    /// Fills caches from known tokens: the clean, teacher-forced pass (\[P\] §3.3.2, pre-caching).
    ///
    /// # Panics
    /// When a token is not given.
    pub fn precache(&self, jobs: &[PatchJob]) -> Vec<PatchKeyValues> {
        let alone: Vec<PatchJob>;
        let jobs = match self.config.transfer {
            Transfer::Context => jobs,
            Transfer::Alone => {
                alone = jobs.iter().map(PatchJob::alone).collect();
                &alone
            }
        };
        let m = self.config.tokens_per_patch();
        let ids: Vec<i32> = jobs
            .iter()
            .flat_map(|job| job.given.iter().copied())
            .collect();
        assert!(!ids.contains(&TokenGrid::UNKNOWN), "all tokens are given");
        let ids = self.token_tensor(&ids, m);
        let mut z = self.renderer.tok_emb.forward(ids) + self.wave_places(jobs);
        let causal = match self.config.decoding {
            Decoding::Ar => {
                z = Tensor::cat(vec![self.wave_begin(jobs), z], 1);
                Some(causal_bias(m + 1, &self.device))
            }
            Decoding::Nar | Decoding::Pnar => None,
        };
        let (_, inputs) = self.run(z, jobs, causal.as_ref());
        let first = usize::from(causal.is_some());
        let project =
            |(layer, states): (&Block, Tensor<3>)| layer.project(states.narrow(1, first, m));
        let layers = self
            .renderer
            .layers
            .iter()
            .zip(inputs)
            .map(project)
            .collect();
        self.split_wave(layers, jobs.len(), 0)
    }

    /// Writes the tokens of a wave's patches, `[b · m]` for each job in the order they are written,
    /// and fills their caches. Given tokens stay: AR is forced to them when it reaches them, NAR
    /// and P-NAR never hide them.
    pub fn write<U: Uniforms>(
        &self,
        jobs: &[PatchJob],
        sampler: &Sampler<U>,
    ) -> (Vec<Vec<i32>>, Vec<PatchKeyValues>) {
        match self.config.decoding {
            Decoding::Ar => self.write_ar(jobs, sampler),
            Decoding::Nar => self.write_nar(jobs, sampler),
            Decoding::Pnar => self.write_pnar(jobs, sampler),
        }
    }

    /// Runs all layers over a wave; gives the last states and every layer's input.
    pub(super) fn run(
        &self,
        mut z: Tensor<3>,
        jobs: &[PatchJob],
        own_bias: Option<&Tensor<4>>,
    ) -> (Tensor<3>, Vec<Tensor<3>>) {
        let mut inputs = Vec::with_capacity(self.renderer.layers.len());
        let padding = self.padding(jobs);
        for (l, layer) in self.renderer.layers.iter().enumerate() {
            inputs.push(z.clone());
            let context = self.context(l, jobs, padding.as_ref());
            let text = self.wave_text(l, jobs.len());
            z = layer.forward(z, context.as_ref(), own_bias, text.as_ref());
        }
        (z, inputs)
    }

    /// Gives what layer `l` sees of the context, for all jobs: shorter contexts are padded with
    /// zeros that `padding` hides.
    pub(super) fn context(
        &self,
        l: usize,
        jobs: &[PatchJob],
        padding: Option<&Tensor<4>>,
    ) -> Option<LayerContext> {
        let n = jobs
            .iter()
            .map(|job| job.context.len())
            .max()
            .filter(|&n| n > 0)?;
        let s = n * self.config.tokens_per_patch();
        let mut parts: Vec<LayerContext> =
            jobs.iter().map(|job| self.job_context(l, job, s)).collect();
        let joined = match parts.len() {
            1 => parts.remove(0),
            _ => {
                let biases: Option<Vec<_>> = parts.iter().map(|part| part.bias.clone()).collect();
                let (keys, values) = parts
                    .into_iter()
                    .map(|part| (part.pairs.keys, part.pairs.values))
                    .unzip();
                LayerContext {
                    pairs: KeyValues {
                        keys: Tensor::cat(keys, 0),
                        values: Tensor::cat(values, 0),
                    },
                    bias: biases.map(|biases| Tensor::cat(biases, 0)),
                }
            }
        };
        let bias = match (joined.bias, padding) {
            (Some(bias), Some(padding)) => Some(bias + padding.clone()),
            (bias, padding) => bias.or(padding.cloned()),
        };
        Some(LayerContext {
            pairs: joined.pairs,
            bias,
        })
    }

    fn job_context(&self, l: usize, job: &PatchJob, s: usize) -> LayerContext {
        let heads = self.config.n_heads();
        let empty = |s| Tensor::zeros([self.batch, heads, s, HEAD_WIDTH], &self.device);
        let post = self.config.feed == super::Feed::Post;
        if job.context.is_empty() {
            let bias = post.then(|| Tensor::zeros([self.batch, heads, 1, s], &self.device));
            return LayerContext {
                pairs: KeyValues {
                    keys: empty(s),
                    values: empty(s),
                },
                bias,
            };
        }
        let pairs = job.context.iter().map(|cache| &cache.layers[l]);
        let (keys, values) = pairs
            .map(|pairs| (pairs.keys.clone(), pairs.values.clone()))
            .unzip();
        let pairs = KeyValues {
            keys: Tensor::cat(keys, 2),
            values: Tensor::cat(values, 2),
        };
        let rows: Tensor<1, Int> = Tensor::from_data(index_data(&job.rows), &self.device);
        let context = self.renderer.layers[l].relate(pairs, rows, self.config.extent.own_row());
        let missing = s - job.context.len() * self.config.tokens_per_patch();
        let bias = context.bias.map(|bias| {
            let bias = bias.expand([self.batch as i64, -1, -1, -1]);
            match missing {
                0 => bias,
                _ => {
                    let rest = Tensor::zeros([self.batch, heads, 1, missing], &self.device);
                    Tensor::cat(vec![bias, rest], 3)
                }
            }
        });
        let KeyValues { keys, values } = context.pairs;
        let pairs = match missing {
            0 => KeyValues { keys, values },
            _ => KeyValues {
                keys: Tensor::cat(vec![keys, empty(missing)], 2),
                values: Tensor::cat(vec![values, empty(missing)], 2),
            },
        };
        LayerContext { pairs, bias }
    }

    /// Hides the padding of shorter contexts, `[g · b, 1, 1, s]`; nothing when all are equally long.
    pub(super) fn padding(&self, jobs: &[PatchJob]) -> Option<Tensor<4>> {
        let n = jobs.iter().map(|job| job.context.len()).max()?;
        if jobs.iter().all(|job| job.context.len() == n) {
            return None;
        }
        let m = self.config.tokens_per_patch();
        let mut bias = Vec::with_capacity(jobs.len() * self.batch * n * m);
        for job in jobs {
            for _ in 0..self.batch {
                let seen = job.context.len() * m;
                bias.extend(std::iter::repeat_n(0.0, seen));
                bias.extend(std::iter::repeat_n(f32::NEG_INFINITY, n * m - seen));
            }
        }
        let data = TensorData::new(bias, [jobs.len() * self.batch, 1, 1, n * m]);
        Some(Tensor::from_data(data, &self.device))
    }

    /// Gives the place embeddings of a wave, `[g · b, m, d]`.
    pub(super) fn wave_places(&self, jobs: &[PatchJob]) -> Tensor<3> {
        let of = |job: &PatchJob| {
            let places = self.places[job.order.row()].clone().unsqueeze::<3>();
            places.expand([self.batch as i64, -1, -1])
        };
        Tensor::cat(jobs.iter().map(of).collect(), 0)
    }

    /// Gives the BOS states of a wave, `[g · b, 1, d]`.
    pub(super) fn wave_begin(&self, jobs: &[PatchJob]) -> Tensor<3> {
        let of = |job: &PatchJob| self.renderer.begin(job.order, self.batch);
        Tensor::cat(jobs.iter().map(of).collect(), 0)
    }

    /// Gives the projected text of layer `l` for every patch of a wave of `g`.
    pub(super) fn wave_text(&self, l: usize, g: usize) -> Option<KeyValues> {
        self.text[l].as_ref().map(|text| match g {
            1 => text.clone(),
            _ => KeyValues {
                keys: text.keys.clone().repeat_dim(0, g),
                values: text.values.clone().repeat_dim(0, g),
            },
        })
    }

    /// Splits the keys and values of a wave into caches of its patches, from token `first` on.
    pub(super) fn split_wave(
        &self,
        layers: Vec<KeyValues>,
        g: usize,
        first: usize,
    ) -> Vec<PatchKeyValues> {
        let m = self.config.tokens_per_patch();
        let own = |x: &Tensor<4>, g: usize| {
            // A view would keep the whole buffer alive as long as the pool keeps the patch.
            owned(
                x.clone()
                    .narrow(0, g * self.batch, self.batch)
                    .narrow(2, first, m),
            )
        };
        let of = |g: usize| PatchKeyValues {
            layers: layers
                .iter()
                .map(|x| KeyValues {
                    keys: own(&x.keys, g),
                    values: own(&x.values, g),
                })
                .collect(),
        };
        (0..g).map(of).collect()
    }

    /// Gives the scores of every code, `[b, m, v]`.
    pub(super) fn logits(&self, z: Tensor<3>) -> Tensor<3> {
        let bias = self.renderer.head.bias.val();
        project_by(self.renderer.norm.forward(z), self.head.clone(), Some(bias))
    }

    pub(super) fn token_tensor(&self, tokens: &[i32], m: usize) -> Tensor<2, Int> {
        let data = TensorData::new(tokens.to_vec(), [tokens.len() / m, m]);
        Tensor::from_data(data, &self.device)
    }
}

/// Copies a view to memory of its own, laid out by its shape.
fn owned<const D: usize>(view: Tensor<D>) -> Tensor<D> {
    let shape = view.dims();
    Tensor::zeros(shape, &view.device()).slice_assign(shape.map(|n| 0..n), view)
}
