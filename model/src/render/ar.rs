//! AR: the tokens of a patch one after the other (page §4). Position t predicts token t + 1, BOS
//! the first.

use burn::tensor::{Int, Tensor, TensorData};

use super::adc::TokenGrid;
use super::attention::KeyValues;
use super::job::PatchJob;
use super::norm::normalize;
use super::sampling::{Draw, Sampler, Uniforms};
use super::session::Session;
use super::transformer::{RenderInput, RenderOutput, Renderer};
use super::{Feed, HEAD_WIDTH};

impl Renderer {
    /// Gives the teacher-forced logits of a patch and its cache, in one pass.
    ///
    /// # Shapes
    /// tokens `[b, m]`, in the order they are written.
    ///
    /// # Panics
    /// When the model is not autoregressive.
    pub fn render_ar(&self, tokens: Tensor<2, Int>, input: &RenderInput) -> RenderOutput {
        assert!(self.bos.is_some(), "an autoregressive model");
        let [_, m] = tokens.dims();
        let (z, cache) = self.teacher_force(tokens.clone(), input);
        let cache = if self.transfer_context {
            cache
        } else {
            self.clean_cache(&tokens, input)
        };
        RenderOutput {
            logits: self.logits(z.narrow(1, 0, m)),
            cache,
        }
    }
}

/// Keys and values of one layer while a wave is written: context first, then BOS and the tokens.
/// Allocated once per wave; the token loop writes into it.
struct Buffer {
    pairs: Option<KeyValues>,
}

impl Buffer {
    /// Writes the pairs of one token at place `at` and gives the whole buffer.
    fn put(&mut self, at: usize, new: KeyValues) -> KeyValues {
        // Taken out, the tensors have one owner and are written in place.
        let KeyValues { keys, values } = self.pairs.take().expect("put back by every call");
        let [b, heads, _, width] = keys.dims();
        let place = [0..b, 0..heads, at..at + 1, 0..width];
        let pairs = KeyValues {
            keys: keys.slice_assign(place.clone(), new.keys),
            values: values.slice_assign(place, new.values),
        };
        self.pairs = Some(pairs.clone());
        pairs
    }
}

impl Session {
    /// Writes the patches of a wave token by token.
    pub(super) fn write_ar<U: Uniforms>(
        &self,
        jobs: &[PatchJob],
        sampler: &Sampler<U>,
    ) -> Vec<Vec<i32>> {
        let (g, b, m) = (jobs.len(), self.pictures(), self.config.tokens_per_patch());
        let (mut buffers, mut biases, own) = self.buffers(jobs);
        let places = self.wave_places(jobs);
        let texts = self.wave_texts(jobs);
        let mut tokens = vec![Vec::with_capacity(b * m); g * b];
        let mut z = self.wave_begin(jobs);
        let weights = self.tokens.as_ref().expect("an autoregressive model");
        for t in 0..m {
            for bias in &mut biases {
                let [n, heads, _, _] = bias.dims();
                let place = [0..n, 0..heads, 0..1, own + t..own + t + 1];
                let hidden = std::mem::replace(bias, Tensor::empty([1, 1, 1, 1], &self.device));
                *bias = hidden.slice_fill(place, 0.0);
            }
            for (l, layer) in self.renderer.layers.iter().enumerate() {
                let (queries, pair) = weights.layers[l].project(layer, z.clone());
                let pairs = buffers[l].put(own + t, pair);
                let bias = biases[l % biases.len()].clone();
                let written = (pairs, bias, own + t + 1);
                z = weights.layers[l].forward(layer, z, queries, written, texts[l].as_ref());
            }
            let logits = weights.head.forward(normalize(&self.renderer.norm, z));
            let chosen = self.choose(logits, t, jobs, sampler);
            for (tokens, token) in tokens.iter_mut().zip(&chosen) {
                tokens.push(*token);
            }
            let place = places.clone().narrow(1, t, 1);
            z = self
                .renderer
                .tok_emb
                .forward(self.token_tensor(&self.for_rows(&chosen, 1), 1))
                + place;
        }
        tokens.chunks(b).map(<[Vec<i32>]>::concat).collect()
    }

    /// Allocates the buffers of every layer with the context in place; gives them, the biases that
    /// hide what is not written yet (one for all layers, or one each), and where BOS goes.
    fn buffers(&self, jobs: &[PatchJob]) -> (Vec<Buffer>, Vec<Tensor<4>>, usize) {
        let (rows, m) = (jobs.len() * self.batch, self.config.tokens_per_patch());
        let heads = self.config.n_heads();
        let padding = self.padding(jobs);
        let unwritten = Tensor::full([rows, 1, 1, m + 1], f32::NEG_INFINITY, &self.device);
        let (mut buffers, mut biases, mut own) = (Vec::new(), Vec::new(), 0);
        for l in 0..self.renderer.layers.len() {
            let empty = || Tensor::zeros([rows, heads, m + 1, HEAD_WIDTH], &self.device);
            let (pairs, bias) = match self.context(l, jobs, padding.as_ref()) {
                None => (
                    KeyValues {
                        keys: empty(),
                        values: empty(),
                    },
                    unwritten.clone(),
                ),
                Some(context) => {
                    own = context.pairs.keys.dims()[2];
                    let seen = context
                        .bias
                        .unwrap_or_else(|| Tensor::zeros([1, 1, 1, own], &self.device));
                    let per_head = seen.dims()[1];
                    let seen = seen.expand([rows, per_head, 1, own]);
                    let unwritten = unwritten.clone().expand([rows, per_head, 1, m + 1]);
                    let pairs = KeyValues {
                        keys: Tensor::cat(vec![context.pairs.keys, empty()], 2),
                        values: Tensor::cat(vec![context.pairs.values, empty()], 2),
                    };
                    (pairs, Tensor::cat(vec![seen, unwritten], 3))
                }
            };
            buffers.push(Buffer { pairs: Some(pairs) });
            // Post-RPE has a table in every layer.
            if l == 0 || self.config.feed == Feed::Post {
                biases.push(bias);
            }
        }
        (buffers, biases, own)
    }

    fn choose<U: Uniforms>(
        &self,
        logits: Tensor<3>,
        token: usize,
        jobs: &[PatchJob],
        sampler: &Sampler<U>,
    ) -> Vec<i32> {
        let logits = self.guide(host(logits.into_data()), self.config.n_codes);
        let of = |(row, logits): (usize, &[f32])| {
            let (job, picture) = (&jobs[row / self.pictures], row % self.pictures);
            match job.given[picture * self.config.tokens_per_patch() + token] {
                TokenGrid::UNKNOWN => sampler.token(
                    logits,
                    Draw {
                        picture,
                        index: job.index,
                        token,
                        turn: 0,
                    },
                ),
                given => given,
            }
        };
        logits
            .chunks(self.config.n_codes)
            .enumerate()
            .map(of)
            .collect()
    }
}

/// Reads floats of any precision to the host.
pub(super) fn host(data: TensorData) -> Vec<f32> {
    data.convert::<f32>()
        .try_to_vec()
        .expect("converted to f32 above")
}
