//! NAR and the pass it shares with P-NAR: masked places are predicted at once, and a second, clean
//! pass fills the cache (\[N\] §3.2).

use burn::tensor::{Bool, Int, Tensor, TensorData};

use super::adc::TokenGrid;
use super::ar::host;
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

impl Session {
    /// Writes the patches of a wave in one pass.
    pub(super) fn write_nar<U: Uniforms>(
        &self,
        jobs: &[PatchJob],
        sampler: &Sampler<U>,
    ) -> Vec<Vec<i32>> {
        let (b, m) = (self.pictures(), self.config.tokens_per_patch());
        let (mut tokens, masked) = given(jobs);
        let logits = self.masked_logits(jobs, &tokens, &masked);
        let mut scratch = Vec::new();
        for (at, logits) in logits.chunks(self.config.n_codes).enumerate() {
            if masked[at] {
                let (row, token) = (at / m, at % m);
                let draw = Draw {
                    picture: row % b,
                    index: jobs[row / b].index,
                    token,
                    turn: 1,
                };
                tokens[at] = sampler.gumbel_token(logits, draw, &mut scratch);
            }
        }
        self.by_patch(&tokens)
    }

    /// Splits the tokens of a wave by patch.
    pub(super) fn by_patch(&self, tokens: &[i32]) -> Vec<Vec<i32>> {
        let of_patch = self.pictures() * self.config.tokens_per_patch();
        tokens.chunks(of_patch).map(<[i32]>::to_vec).collect()
    }

    /// Gives the logits `[g · b · m · v]` of a wave whose masked places are hidden, on the host.
    pub(super) fn masked_logits(
        &self,
        jobs: &[PatchJob],
        tokens: &[i32],
        masked: &[bool],
    ) -> Vec<f32> {
        let m = self.config.tokens_per_patch();
        let (tokens, masked) = (self.for_rows(tokens, m), self.for_rows(masked, m));
        let rows = tokens.len() / m;
        let data = TensorData::new(masked, [rows, m]);
        let masked: Tensor<2, Bool> = Tensor::from_data(data, &self.device);
        let z = self.renderer.tok_emb.forward(self.token_tensor(&tokens, m));
        let z = self.renderer.hide(z, masked, rows, m) + self.wave_places(jobs);
        let (z, _) = self.run(z, jobs, false);
        self.guide(host(self.logits(z).into_data()), m * self.config.n_codes)
    }
}

/// Gives the tokens of a wave, `[g · b · m]`, and which of them are masked: those not given. Any
/// code can stand behind a mask.
pub(super) fn given(jobs: &[PatchJob]) -> (Vec<i32>, Vec<bool>) {
    let given = jobs.iter().flat_map(|job| job.given.iter().copied());
    given
        .map(|code| (code.max(0), code == TokenGrid::UNKNOWN))
        .unzip()
}
