//! Inference: fixed weights, contexts of projected keys and values, and several patches of one
//! wave as one batch. Axes: `b` pictures, `g` patches of the wave (batch index g·b + picture), `m`
//! tokens of a patch, `s` tokens looked at, `d` width.

use std::cell::RefCell;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::HEAD_WIDTH;
use super::adc::TokenGrid;
use super::attention::{KeyValues, project_by};
use super::block::Block;
use super::config::{Decoding, RendererConfig, Transfer};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use super::cube;
use super::desk::Buffer;
use super::job::PatchJob;
use super::ncp::{Kept, PatchMemory, PoolKind};
use super::norm::normalize;
use super::precision::single;
use super::prompt::{Guidance, Prompt, Texts};
use super::sampling::{Sampler, Uniforms};
use super::token_layer::{Projection, TokenLayer};
use super::transformer::Renderer;
use super::wave::owned;
use crate::device::is_host;
use crate::patch::Order;

/// A renderer ready to paint: off the graph, with text and places projected once.
#[derive(Debug)]
pub struct Session {
    pub(super) renderer: Renderer,
    pub(super) config: RendererConfig,
    pub(super) device: Device,
    /// Place embeddings of each order, `[m, d]`.
    pub(super) places: [Tensor<2>; 4],
    /// What the patches are told.
    pub(super) text: Texts,
    pub(super) guidance: Option<Guidance>,
    /// Whether tokens are drawn on the host, because the device is the host.
    pub(super) draws_here: bool,
    /// What the token loop runs, if there is one and no kernels of our own do.
    pub(super) tokens: Option<TokenLoop>,
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub(super) tokens_there: Option<cube::TokenLoop>,
    /// Weights of the tied head, `[d, v]`, laid out as the product reads them.
    head: Tensor<2>,
    /// Pictures painted at once.
    pub(super) pictures: usize,
    /// Rows of a batch: one for each picture, two with guidance.
    pub(super) batch: usize,
    /// What the pool keeps of a patch.
    pub(super) pool: PoolKind,
    /// Where the last wave was written: clearing as much memory anew takes a tenth of the time.
    pub(super) desk: RefCell<Vec<Buffer>>,
}

/// What became of a wave, patch by patch.
#[derive(Debug)]
pub struct Written {
    /// Tokens, `[b · m]` in the order they are written.
    pub tokens: Vec<Vec<i32>>,
    /// Caches.
    pub caches: Vec<PatchMemory>,
}

/// The weights of the token loop.
#[derive(Debug)]
pub(super) struct TokenLoop {
    pub(super) layers: Vec<TokenLayer>,
    pub(super) head: Projection,
}

impl Session {
    /// Prepares a renderer to paint several pictures at once.
    ///
    /// It computes in the precision of the renderer. A prompt and guidance are needed by, and only looked at in, a conditional model. With
    /// guidance each picture is rendered twice, as one batch.
    ///
    /// # Panics
    /// When a conditional model is given no prompt.
    pub fn new(
        renderer: &Renderer,
        config: &RendererConfig,
        prompt: Option<Prompt>,
        guidance: Option<Guidance>,
        pictures: usize,
    ) -> Self {
        let mut renderer = renderer.valid();
        let precision = renderer.precision;
        let layers = renderer.layers.into_iter();
        renderer.layers = layers.map(|layer| layer.fixed_in(precision)).collect();
        let device = renderer.tok_emb.weight.val().device();
        let places = Order::ALL.map(|order| renderer.place_embedding(order, config.patch));
        let head = owned(precision.of(renderer.tok_emb.weight.val()).transpose());
        let is_ar = config.decoding == Decoding::Ar;
        let tokens = (is_ar && is_host(&device)).then(|| {
            let layer = |layer| TokenLayer::new(layer, Projection::new);
            let bias = renderer.head.bias.val();
            TokenLoop {
                layers: renderer.layers.iter().map(layer).collect(),
                head: Projection::new(Some(&renderer.norm), head.clone(), bias),
            }
        });
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        let tokens_there =
            (is_ar && !is_host(&device)).then(|| cube::TokenLoop::new(&renderer, head.clone()));
        let guidance = guidance.filter(|_| config.d_text.is_some());
        let mut session = Self {
            batch: pictures * if guidance.is_some() { 2 } else { 1 },
            renderer,
            config: config.clone(),
            draws_here: is_host(&device),
            device,
            places,
            text: Texts::None,
            guidance,
            tokens,
            #[cfg(any(feature = "wgpu", feature = "cuda"))]
            tokens_there,
            head,
            pictures,
            pool: PoolKind::default(),
            desk: RefCell::default(),
        };
        if config.d_text.is_some() {
            let prompt = prompt.expect("a conditional model is given a prompt");
            session.text = match prompt {
                Prompt::ByPatch(text) => Texts::ByPatch(text),
                Prompt::Same(text) => {
                    let layers = session.project_text(session.with_negative(text));
                    Texts::Same(layers.into_iter().flatten().collect())
                }
            };
        }
        session
    }

    /// Gives the same session with another kind of pool.
    #[must_use]
    pub fn with_pool(self, pool: PoolKind) -> Self {
        Self { pool, ..self }
    }

    /// Gives the number of pictures painted at once.
    pub fn pictures(&self) -> usize {
        self.pictures
    }

    /// Gives where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Gives the architecture.
    pub fn config(&self) -> &RendererConfig {
        &self.config
    }

    /// Gives why tokens are launched kernel by kernel, if the device refused to replay one of them as a graph.
    pub fn refusal(&self) -> Option<String> {
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        return self.tokens_there.as_ref()?.refusal();
        #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
        None
    }

    /// Gives how many kernels write a token of every row, where they are our own.
    pub fn kernels_of_a_token(&self) -> Option<usize> {
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        return Some(self.tokens_there.as_ref()?.n_kernels());
        #[cfg(not(any(feature = "wgpu", feature = "cuda")))]
        None
    }

    /// Gives the cache of no patch: zeros, where one is missing that nothing depends on.
    pub fn blank(&self) -> PatchMemory {
        let (heads, m) = (self.config.n_heads(), self.config.tokens_per_patch());
        let nothing = match self.pool {
            PoolKind::KeyValues => {
                let empty = self.zeros([self.batch, heads, m, HEAD_WIDTH]);
                Kept::Pairs(KeyValues {
                    keys: empty.clone(),
                    values: empty,
                })
            }
            PoolKind::States => {
                let shape = [self.batch, m, heads * HEAD_WIDTH];
                Kept::States(self.zeros(shape))
            }
        };
        PatchMemory {
            layers: vec![nothing; self.renderer.layers.len()],
        }
    }

    /// Gives the weights of the token loop, if a token gets the same bits there alone and with others.
    pub(super) fn exact(&self) -> Option<&TokenLoop> {
        self.tokens
            .as_ref()
            .filter(|weights| weights.head.is_exact())
    }

    /// Fills caches from tokens: the clean, teacher-forced pass (\[P\] §3.3.2, pre-caching).
    ///
    /// A painting that is resumed, with its tokens read back, must go on with the bits that it would
    /// have had, or one day there will be another token. So patches just written are cached by this
    /// pass, too; or, where the token loop is exact, this pass computes what that leaves.
    ///
    /// # Panics
    /// When a token is not given.
    pub fn precache(&self, jobs: &[PatchJob]) -> Vec<PatchMemory> {
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
        let ids = self.token_tensor(&self.for_rows(&ids, m), m);
        let mut z = self.renderer.tok_emb.forward(ids) + self.wave_places(jobs);
        if self.exact().is_some() {
            return self.replay(z, jobs);
        }
        let causal = match self.config.decoding {
            Decoding::Ar => {
                z = Tensor::cat(vec![self.wave_begin(jobs), z], 1);
                true
            }
            Decoding::Nar | Decoding::Pnar => false,
        };
        let (_, inputs) = self.run(z, jobs, causal);
        let first = usize::from(causal);
        let keep = |(layer, states): (&Block, Tensor<3>)| {
            let states = states.narrow(1, first, m);
            match self.pool {
                PoolKind::KeyValues => Kept::Pairs(layer.project(states)),
                PoolKind::States => Kept::States(states),
            }
        };
        let layers = self.renderer.layers.iter().zip(inputs).map(keep);
        self.split_wave(&layers.collect::<Vec<_>>(), jobs.len())
    }

    /// Writes the tokens of a wave's patches, and caches them. Given tokens stay: AR is forced to them
    /// when it reaches them, NAR and P-NAR never hide them.
    pub fn write<U: Uniforms>(&self, jobs: &[PatchJob], sampler: &Sampler<U>) -> Written {
        let (tokens, caches) = match self.config.decoding {
            Decoding::Ar => self.write_ar(jobs, sampler),
            Decoding::Nar => (self.write_nar(jobs, sampler), None),
            Decoding::Pnar => (self.write_pnar(jobs, sampler), None),
        };
        let caches = caches.unwrap_or_else(|| {
            let jobs = jobs.iter().zip(&tokens);
            let jobs: Vec<_> = jobs.map(|(job, codes)| job.with(codes.clone())).collect();
            self.precache(&jobs)
        });
        Written { tokens, caches }
    }

    /// Runs all layers over a wave; gives the last states and every layer's input.
    pub(super) fn run(
        &self,
        mut z: Tensor<3>,
        jobs: &[PatchJob],
        causal: bool,
    ) -> (Tensor<3>, Vec<Tensor<3>>) {
        let mut inputs = Vec::with_capacity(self.renderer.layers.len());
        z = self.renderer.precision.of(z);
        let (padding, texts) = (self.padding(jobs), self.wave_texts(jobs));
        for (l, layer) in self.renderer.layers.iter().enumerate() {
            inputs.push(z.clone());
            let context = self.context(l, jobs, padding.as_ref());
            z = layer.forward(z, context.as_ref(), causal, texts[l].as_ref());
        }
        (z, inputs)
    }

    /// Gives the scores of every code, `[b, m, v]`, in single precision at least.
    pub(super) fn logits(&self, z: Tensor<3>) -> Tensor<3> {
        let bias = self.renderer.head.bias.val();
        single(project_by(
            normalize(&self.renderer.norm, z),
            self.head.clone(),
            Some(bias),
        ))
    }
}
