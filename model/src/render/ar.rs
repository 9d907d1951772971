//! AR: the tokens of a patch one after the other (page §4). Position t predicts token t + 1, BOS
//! the first.

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

use super::Transfer;
use super::adc::TokenGrid;
use super::job::PatchJob;
use super::ncp::{Kept, PatchMemory, PoolKind};
use super::sampling::{Draw, Sampler, Uniforms};
use super::session::Session;
use super::transformer::{RenderInput, RenderOutput, Renderer};

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

impl Session {
    /// Writes the patches of a wave token by token; gives their caches, too, if those have the bits
    /// that [`replay`](Self::replay) would give them.
    pub(super) fn write_ar<U: Uniforms>(
        &self,
        jobs: &[PatchJob],
        sampler: &Sampler<U>,
    ) -> (Vec<Vec<i32>>, Option<Vec<PatchMemory>>) {
        #[cfg(any(feature = "wgpu", feature = "cuda"))]
        if let Some(weights) = &self.tokens_there {
            return (self.write_there(weights, jobs, sampler), None);
        }
        let (g, m) = (jobs.len(), self.config.tokens_per_patch());
        let mut desk = self.lay_out(jobs);
        let places = self.wave_places(jobs);
        let mut z = self.wave_begin(jobs);
        let weights = self.tokens.as_ref().expect("an autoregressive model");
        let draws = rows_to_draw(jobs, self.pictures, m);
        let mut chosen = vec![0; draws.len() * m];
        for t in 0..m {
            z = self.advance(&mut desk, z, t, |_| ());
            let logits = host(weights.head.scores(z).into_data());
            let tokens = self.choose(logits, t, &draws, sampler);
            let places = places.clone().narrow(1, t, 1);
            let next = self.token_tensor(&self.for_rows(&tokens, 1), 1);
            z = self.renderer.tok_emb.forward(next) + places;
            for (row, token) in tokens.into_iter().enumerate() {
                chosen[row * m + t] = token;
            }
        }
        let tokens = self.by_patch(&chosen);
        let leaves_caches = self.exact().is_some()
            && self.pool == PoolKind::KeyValues
            && self.config.transfer == Transfer::Context;
        let caches = leaves_caches.then(|| {
            // The last token was chosen, but no layer has seen it.
            self.advance(&mut desk, z, m, |_| ());
            self.kept(&desk, g)
        });
        self.put_away(desk);
        (tokens, caches)
    }

    /// Caches the patches of a wave from the states of all their tokens, `[g · b, m, d]`, as the token
    /// loop does it, but at once.
    pub(super) fn replay(&self, z: Tensor<3>, jobs: &[PatchJob]) -> Vec<PatchMemory> {
        let mut desk = self.lay_out(jobs);
        let mut inputs = Vec::with_capacity(self.renderer.layers.len());
        let keeps_states = self.pool == PoolKind::States;
        let z = Tensor::cat(vec![self.wave_begin(jobs), z], 1);
        self.advance(&mut desk, z, 0, |z| {
            if keeps_states {
                let m = self.config.tokens_per_patch();
                inputs.push(Kept::States(z.clone().narrow(1, 1, m)));
            }
        });
        let caches = match keeps_states {
            true => self.split_wave(&inputs, jobs.len()),
            false => self.kept(&desk, jobs.len()),
        };
        self.put_away(desk);
        caches
    }

    /// Chooses token `t` of every picture from the logits of rows, `[g · b · v]`.
    fn choose<U: Uniforms>(
        &self,
        logits: Vec<f32>,
        t: usize,
        draws: &[(Vec<i32>, Draw)],
        sampler: &Sampler<U>,
    ) -> Vec<i32> {
        let logits = self.guide(logits, self.config.n_codes);
        let of_row = draws.par_iter().zip(logits.par_chunks(self.config.n_codes));
        let choose = |((given, draw), logits): (&(Vec<i32>, Draw), &[f32])| match given[t] {
            TokenGrid::UNKNOWN => sampler.token(logits, Draw { token: t, ..*draw }),
            given => given,
        };
        of_row.map(choose).collect()
    }
}

/// Gives what is given of each picture, patch by patch, and the key of its random numbers.
pub(super) fn rows_to_draw(jobs: &[PatchJob], pictures: usize, m: usize) -> Vec<(Vec<i32>, Draw)> {
    let row = |row: usize| {
        let (job, picture) = (&jobs[row / pictures], row % pictures);
        let draw = Draw {
            picture,
            index: job.index,
            token: 0,
            turn: 0,
        };
        (job.given[picture * m..][..m].to_vec(), draw)
    };
    (0..jobs.len() * pictures).map(row).collect()
}

/// Reads floats of any precision to the host.
pub(super) fn host(data: TensorData) -> Vec<f32> {
    data.convert::<f32>()
        .try_to_vec()
        .expect("converted to f32 above")
}
