//! What a wave of patches is written in: buffers that stay where they are for all its tokens. Axes as in
//! [`Session`].

use burn::tensor::{DType, Tensor, TensorData};
use burn_cubecl::tensor::CubeTensor;

use super::attend::Pairs;
use super::draw::{Drawing, Rule};
use super::token_loop::TokenLoop;
use super::{empty, raw, raw_ids};
use crate::render::ar::rows_to_draw;
use crate::render::attention::KeyValues;
use crate::render::desk::{Buffer, Desk};
use crate::render::job::PatchJob;
use crate::render::sampling::{Draw, Sampler, Uniforms};
use crate::render::session::Session;
use crate::render::wave::owned;

/// A wave that is being written.
#[derive(Debug)]
pub(in crate::render) struct Wave {
    pub(super) layers: Vec<WaveLayer>,
    /// What hides places of contexts that are not there: for all layers, or one for each.
    pub(super) biases: Vec<CubeTensor>,
    /// Where BOS goes.
    pub(super) own: usize,
    /// States, and those that they become, `[g · b, d]`.
    pub(super) states: [CubeTensor; 2],
    /// Queries, keys and values, `[g · b, 3 · d]`.
    pub(super) all: CubeTensor,
    /// Queries to the text, `[g · b, d]`.
    pub(super) queries: CubeTensor,
    pub(super) attended: CubeTensor,
    /// Inside of the feed-forward part, `[g · b, 4 · d]`.
    pub(super) hidden: CubeTensor,
    /// `[g · b, ≥ v]`.
    pub(in crate::render) logits: CubeTensor,
    pub(super) drawing: Drawing,
    pub(super) rule: Rule,
}

/// What a layer looks at.
#[derive(Debug)]
pub(super) struct WaveLayer {
    pub(super) pairs: Pairs,
    pub(super) text: Option<Pairs>,
    /// Number of its bias.
    pub(super) bias: usize,
}

impl Pairs {
    fn of(KeyValues { keys, values }: KeyValues) -> Self {
        Self {
            keys: raw(keys),
            values: raw(values),
        }
    }
}

impl Session {
    /// Writes the patches of a wave token by token, as graphs.
    ///
    /// # Panics
    /// When the device fails.
    pub(in crate::render) fn write_there<U: Uniforms>(
        &self,
        weights: &TokenLoop,
        jobs: &[PatchJob],
        sampler: &Sampler<U>,
    ) -> Vec<Vec<i32>> {
        let m = self.config.tokens_per_patch();
        let write = || weights.write(&self.wave(weights, jobs, sampler), m);
        // A recording that came to nothing leaves its buffers unusable; it is not tried again.
        let tokens = write().or_else(|_| write());
        self.by_patch(&tokens.expect("the device computes"))
    }

    /// Prepares a wave.
    pub(in crate::render) fn wave<U: Uniforms>(
        &self,
        weights: &TokenLoop,
        jobs: &[PatchJob],
        sampler: &Sampler<U>,
    ) -> Wave {
        let (rows, m) = (jobs.len() * self.batch, self.config.tokens_per_patch());
        let d = self.config.d_model;
        let Desk {
            buffers,
            biases,
            texts,
            own,
        } = self.lay_out(jobs);
        let layer = |(l, (buffer, text)): (usize, (Buffer, Option<KeyValues>))| WaveLayer {
            pairs: Pairs::of(buffer.into_pairs()),
            text: text.map(Pairs::of),
            bias: l % biases.len(),
        };
        let layers = buffers.into_iter().zip(texts).enumerate();
        let layers = layers.map(layer).collect();
        let z = self.renderer.precision.of(self.wave_begin(jobs));
        // Written over by the next token, so it must be nobody else's memory.
        let z = raw(owned(z.reshape([rows, d])));
        let room = |n| empty(&z, [rows, n], z.dtype);
        let logits = empty(&z, [rows, weights.columns()], DType::F32);

        let draws = rows_to_draw(jobs, self.pictures, m);
        let shape = [draws.len(), m];
        let number = |(_, draw): &(Vec<i32>, Draw), token| {
            let mut u = [0.0];
            sampler.uniforms.fill(Draw { token, ..*draw }, &mut u);
            u[0] as f32
        };
        let numbers = draws
            .iter()
            .flat_map(|row| (0..m).map(|token| number(row, token)));
        let numbers = TensorData::new(numbers.collect::<Vec<f32>>(), shape);
        let given: Vec<i32> = draws.iter().flat_map(|(given, _)| given.clone()).collect();
        let ids = |ids: Vec<i32>, shape: [usize; 2]| {
            raw_ids::<2>(Tensor::from_data(TensorData::new(ids, shape), &self.device))
        };
        let guidance = self.guidance.as_ref();
        Wave {
            layers,
            own,
            all: room(3 * d),
            queries: room(d),
            attended: room(d),
            hidden: room(4 * d),
            logits,
            drawing: Drawing {
                uniforms: raw::<2>(Tensor::from_data(numbers, &self.device)),
                given: ids(given, shape),
                chosen: ids(vec![0; draws.len() * m], shape),
                tokens: ids(vec![0; rows], [rows, 1]),
                codes: weights.codes.clone(),
                places: raw(self.wave_places(jobs).cast(DType::F32)),
            },
            rule: Rule::new(sampler, guidance.map(|by| (by.scale as f32, self.pictures))),
            states: [z.clone(), room(d)],
            biases: biases.into_iter().map(raw).collect(),
        }
    }
}
