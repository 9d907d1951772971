//! AR: the tokens of a patch one after the other (page §4). Position t predicts token t + 1, BOS
//! the first.

use burn::tensor::{Device, Int, Tensor, TensorData};
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
        let (g, m) = (jobs.len(), self.config.tokens_per_patch());
        let mut desk = self.lay_out(jobs);
        let places = self.wave_places(jobs);
        let mut z = self.wave_begin(jobs);
        let weights = self.tokens.as_ref().expect("an autoregressive model");
        let mut choosing = match self.draws_here {
            true => Choosing::here(jobs, self.pictures, m),
            false => Choosing::there(jobs, self.pictures, m, &sampler.uniforms, &self.device),
        };
        for t in 0..m {
            z = self.advance(&mut desk, z, t, |_| ());
            let logits = weights.head.scores(z);
            let chosen = self.choose(logits, t, &mut choosing, sampler);
            z = self.renderer.tok_emb.forward(chosen) + places.clone().narrow(1, t, 1);
        }
        let tokens = self.by_patch(&choosing.chosen(m));
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

    /// Chooses token `t` of every row from logits `[g · b, 1, v]`; gives `[g · b, 1]`.
    fn choose<U: Uniforms>(
        &self,
        logits: Tensor<3>,
        t: usize,
        choosing: &mut Choosing,
        sampler: &Sampler<U>,
    ) -> Tensor<2, Int> {
        match choosing {
            Choosing::Here { draws, chosen } => {
                let logits = self.guide(host(logits.into_data()), self.config.n_codes);
                let of_row = draws.par_iter().zip(logits.par_chunks(self.config.n_codes));
                let choose = |((given, draw), logits): (&(Vec<i32>, Draw), &[f32])| match given[t] {
                    TokenGrid::UNKNOWN => sampler.token(logits, Draw { token: t, ..*draw }),
                    given => given,
                };
                let tokens: Vec<i32> = of_row.map(choose).collect();
                let next = self.token_tensor(&self.for_rows(&tokens, 1), 1);
                chosen.push(tokens);
                next
            }
            Choosing::There {
                uniforms,
                given,
                chosen,
            } => {
                let uniforms = uniforms.clone().narrow(1, t, 1);
                let given = given.clone().narrow(1, t, 1);
                let drawn = sampler.tokens(self.guided(logits).squeeze_dim(1), uniforms);
                let drawn = drawn.cast(given.dtype());
                let is_given = given.clone().greater_equal_elem(0);
                let tokens = drawn.mask_where(is_given, given);
                chosen.push(tokens.clone());
                self.of_rows(tokens)
            }
        }
    }
}

/// How tokens are chosen: rows are pictures, patch by patch.
#[expect(clippy::large_enum_variant, reason = "there is one for a wave")]
enum Choosing {
    /// On the host, which reads the logits.
    Here {
        /// Of each row what is given, and the key of its random numbers.
        draws: Vec<(Vec<i32>, Draw)>,
        /// Token by token, all rows.
        chosen: Vec<Vec<i32>>,
    },
    /// On the device, which is not waited for before the patches are done.
    There {
        /// `[rows, m]` each.
        uniforms: Tensor<2>,
        given: Tensor<2, Int>,
        /// `[rows, 1]`, token by token.
        chosen: Vec<Tensor<2, Int>>,
    },
}

impl Choosing {
    fn draws(jobs: &[PatchJob], pictures: usize, m: usize) -> Vec<(Vec<i32>, Draw)> {
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

    fn here(jobs: &[PatchJob], pictures: usize, m: usize) -> Self {
        Self::Here {
            draws: Self::draws(jobs, pictures, m),
            chosen: Vec::with_capacity(m),
        }
    }

    fn there<U: Uniforms>(
        jobs: &[PatchJob],
        pictures: usize,
        m: usize,
        uniforms: &U,
        device: &Device,
    ) -> Self {
        let draws = Self::draws(jobs, pictures, m);
        let shape = [draws.len(), m];
        let number = |(_, draw): &(Vec<i32>, Draw), token| {
            let mut u = [0.0];
            uniforms.fill(Draw { token, ..*draw }, &mut u);
            u[0] as f32
        };
        let numbers = draws
            .iter()
            .flat_map(|row| (0..m).map(|token| number(row, token)));
        let numbers = TensorData::new(numbers.collect(), shape);
        let given: Vec<i32> = draws.iter().flat_map(|(given, _)| given.clone()).collect();
        Self::There {
            uniforms: Tensor::from_data(numbers, device),
            given: Tensor::from_data(TensorData::new(given, shape), device),
            chosen: Vec::with_capacity(m),
        }
    }

    /// Gives what was chosen, `[rows · m]`.
    fn chosen(self, m: usize) -> Vec<i32> {
        match self {
            Self::Here { draws, chosen } => {
                let row = |row| (0..m).map(move |t| (t, row));
                let places = (0..draws.len()).flat_map(row);
                places
                    .map(|(t, row): (usize, usize)| chosen[t][row])
                    .collect()
            }
            Self::There { chosen, .. } => {
                let tokens = Tensor::cat(chosen, 1).into_data().convert::<i32>();
                tokens.try_to_vec().expect("converted to i32")
            }
        }
    }
}

/// Reads floats of any precision to the host.
pub(super) fn host(data: TensorData) -> Vec<f32> {
    data.convert::<f32>()
        .try_to_vec()
        .expect("converted to f32 above")
}
