//! NAR and the pass it shares with P-NAR: masked places are predicted at once, and a second, clean
//! pass fills the cache (\[N\] §3.2).

use burn::tensor::{Bool, Int, Tensor, TensorData};
use rayon::prelude::*;

use super::adc::TokenGrid;
use super::ar::host;
use super::draw::log_probabilities;
use super::job::PatchJob;
use super::sampling::{Draw, Sampler, Uniforms};
use super::session::Session;
use super::transformer::{RenderInput, RenderOutput, Renderer};

impl Renderer {
    /// Gives the logits of a patch whose masked places are hidden, and its cache from a clean pass.
    ///
    /// # Shapes
    /// tokens and masked `[b, m]`, in the order they are written; NAR masks every place.
    ///
    /// # Panics
    /// When the model is autoregressive.
    pub fn render_masked(
        &self,
        tokens: Tensor<2, Int>,
        masked: Tensor<2, Bool>,
        input: &RenderInput,
    ) -> RenderOutput {
        let context = self.relate(input);
        let text = self.project_text(input.text.as_ref());
        let z = self.embed_masked(tokens.clone(), masked, input);
        let (z, _) = self.run(z, &context, text.as_ref(), false);
        RenderOutput {
            logits: self.logits(z),
            cache: self.clean_cache(&tokens, input),
        }
    }

    fn embed_masked(
        &self,
        tokens: Tensor<2, Int>,
        masked: Tensor<2, Bool>,
        input: &RenderInput,
    ) -> Tensor<3> {
        let [b, m] = tokens.dims();
        let places = self
            .place_embedding(input.order, input.patch)
            .unsqueeze::<3>();
        self.hide(self.tok_emb.forward(tokens), masked, b, m) + places
    }

    /// Replaces the embeddings of masked places by the mask embedding.
    pub(super) fn hide(
        &self,
        z: Tensor<3>,
        masked: Tensor<2, Bool>,
        b: usize,
        m: usize,
    ) -> Tensor<3> {
        let mask = self
            .mask
            .as_ref()
            .expect("a non-autoregressive model has a mask")
            .val();
        let [d] = mask.dims();
        let hidden = mask.reshape([1, 1, d]).expand([b, m, d]);
        z.mask_where(masked.unsqueeze_dim::<3>(2).expand([b, m, d]), hidden)
    }
}

/// What is drawn for a place.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Drawn {
    pub(super) token: i32,
    /// ln p of the token; 0 where nobody asked for it.
    pub(super) log_probability: f64,
}

impl Session {
    /// Writes the patches of a wave in one pass.
    pub(super) fn write_nar<U: Uniforms>(
        &self,
        jobs: &[PatchJob],
        sampler: &Sampler<U>,
    ) -> Vec<Vec<i32>> {
        let (mut tokens, masked) = given(jobs);
        let drawn = self.draw_masked(jobs, (&tokens, &masked), sampler, 1, false);
        for ((token, masked), drawn) in tokens.iter_mut().zip(masked).zip(drawn) {
            if masked {
                *token = drawn.token;
            }
        }
        self.by_patch(&tokens)
    }

    /// Draws a token for every masked place of a wave, by gumbel-max, and tells how likely it was if
    /// it is to be `scored`. What stands at the other places means nothing.
    pub(super) fn draw_masked<U: Uniforms>(
        &self,
        jobs: &[PatchJob],
        (tokens, masked): (&[i32], &[bool]),
        sampler: &Sampler<U>,
        turn: usize,
        scored: bool,
    ) -> Vec<Drawn> {
        let (b, m, v) = (
            self.pictures(),
            self.config.tokens_per_patch(),
            self.config.n_codes,
        );
        let logits = self.masked_logits(jobs, tokens, masked);
        let draw = |place: usize| {
            let (row, token) = (place / m, place % m);
            let (picture, index) = (row % b, jobs[row / b].index);
            masked[place].then_some(Draw {
                picture,
                index,
                token,
                turn,
            })
        };
        if self.draws_here {
            let logits = self.guide(host(logits.into_data()), m * v);
            let drawn = |scratch: &mut Vec<f64>, (place, logits): (usize, &[f32])| {
                let Some(draw) = draw(place) else {
                    return Drawn::default();
                };
                let token = sampler.gumbel_token(logits, draw, scratch);
                let log_probability = match scored {
                    true => log_probability(logits, token as usize),
                    false => 0.0,
                };
                Drawn {
                    token,
                    log_probability,
                }
            };
            let places = logits.par_chunks(v).enumerate();
            return places.map_init(Vec::new, drawn).collect();
        }
        // The noise is made while the device computes.
        let noise = sampler.noises(v, masked.len(), draw);
        let noise = noise.map(|noise| {
            let shape = [masked.len() / m, m, v];
            Tensor::from_data(TensorData::new(noise, shape), &self.device)
        });
        let logits = self.guided(logits);
        let tokens = sampler.noisy_tokens(logits.clone(), noise);
        // Read at once. Codes are small enough to be floats.
        let mut columns = vec![tokens.clone().float()];
        if scored {
            columns.push(log_probabilities(logits, tokens));
        }
        let n = columns.len();
        let columns = host(Tensor::cat(columns, 2).into_data());
        let drawn = |columns: &[f32]| Drawn {
            token: columns[0] as i32,
            log_probability: columns.get(1).map_or(0.0, |&ln| f64::from(ln)),
        };
        columns.chunks(n).map(drawn).collect()
    }

    /// Splits the tokens of a wave by patch.
    pub(super) fn by_patch(&self, tokens: &[i32]) -> Vec<Vec<i32>> {
        let of_patch = self.pictures() * self.config.tokens_per_patch();
        tokens.chunks(of_patch).map(<[i32]>::to_vec).collect()
    }

    /// Gives the logits `[rows, m, v]` of a wave whose masked places are hidden.
    fn masked_logits(&self, jobs: &[PatchJob], tokens: &[i32], masked: &[bool]) -> Tensor<3> {
        let m = self.config.tokens_per_patch();
        let (tokens, masked) = (self.for_rows(tokens, m), self.for_rows(masked, m));
        let rows = tokens.len() / m;
        let data = TensorData::new(masked, [rows, m]);
        let masked: Tensor<2, Bool> = Tensor::from_data(data, &self.device);
        let z = self.renderer.tok_emb.forward(self.token_tensor(&tokens, m));
        let z = self.renderer.hide(z, masked, rows, m) + self.wave_places(jobs);
        let (z, _) = self.run(z, jobs, false);
        self.logits(z)
    }
}

fn log_probability(logits: &[f32], token: usize) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - top).exp()).sum();
    f64::from(logits[token] - top) - sum.ln()
}

/// Gives the tokens of a wave, `[g · b · m]`, and which of them are masked: those not given. Any
/// code can stand behind a mask.
pub(super) fn given(jobs: &[PatchJob]) -> (Vec<i32>, Vec<bool>) {
    let given = jobs.iter().flat_map(|job| job.given.iter().copied());
    given
        .map(|code| (code.max(0), code == TokenGrid::UNKNOWN))
        .unzip()
}
