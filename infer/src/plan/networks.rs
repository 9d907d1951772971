//! What the networks take, whatever they paint.

use burn::module::Module;
use nuwa_model::render::{Decoding, PoolKind, RendererConfig};
use nuwa_model::vqgan::VqganConfig;

use super::bytes;
use crate::model_run::ModelRun;
use crate::task::SizePx;

/// Activations of the finest level alive at once in the VQGAN: what a block is given, normalized,
/// convolved, and its sum.
const ALIVE: u64 = 4;

/// The networks that paint, by their sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Networks {
    /// What writes the tokens.
    pub renderer: RendererConfig,
    /// What makes pixels of them.
    pub vqgan: VqganConfig,
    /// Weights of both.
    pub n_weights: usize,
    /// Whether frames are decoded with the help of the one before.
    pub is_guided: bool,
    /// Rows that one patch is in a batch: one for each picture, two with guidance.
    pub rows: usize,
}

impl Networks {
    /// Gives the sizes of a run that paints so many rows at once.
    pub fn of(run: &ModelRun, rows: usize) -> Self {
        Self {
            rows,
            is_guided: run.pg_vqgan.is_some(),
            renderer: run.renderer_config.clone(),
            vqgan: run.vqgan_config.clone(),
            n_weights: run.renderer.num_params() + run.vqgan.num_params(),
        }
    }

    /// Gives the size of a patch.
    pub fn patch_px(&self) -> SizePx {
        let (patch, stride) = (self.renderer.patch, self.vqgan.stride());
        SizePx {
            w: patch.w * stride,
            h: patch.h * stride,
        }
    }

    /// Gives the bytes of weights: those of both networks, `V d + 4 m d` copied, and for the token loop
    /// `L (16 d² + 3 d) + V d` laid out anew, `2 L d²` more where there are captions. (GPUs copy less.)
    pub fn weight_bytes(&self) -> u64 {
        let RendererConfig {
            d_model: d,
            n_layers,
            n_codes,
            decoding,
            d_text,
            ..
        } = self.renderer;
        let m = self.renderer.tokens_per_patch();
        let cross = if d_text.is_some() { 2 } else { 0 };
        let in_loop = match decoding {
            Decoding::Ar => n_layers * ((16 + cross) * d * d + 3 * d) + n_codes * d,
            Decoding::Nar | Decoding::Pnar => 0,
        };
        bytes(self.n_weights + n_codes * d + 4 * m * d + in_loop)
    }

    /// Gives the bytes of one patch in the pool: keys and values of every layer, `2 L m d`, or its
    /// input, `L m d`.
    pub fn cache_bytes(&self, pool: PoolKind) -> u64 {
        let RendererConfig {
            d_model, n_layers, ..
        } = self.renderer;
        let kept = match pool {
            PoolKind::KeyValues => 2,
            PoolKind::States => 1,
        };
        bytes(self.rows * kept * n_layers * self.renderer.tokens_per_patch() * d_model)
    }

    /// Gives the bytes that one patch of a batch is painted with, when it sees `n` others. With
    /// `s = (n + 1) m + 1` places looked at: while AR writes, keys and values of every layer and one
    /// more, `2 (L + 1) s d`; while a pass runs, the inputs of all layers, one context, the scores
    /// and the hidden states of one layer, `L (m + 1) d + 2 s d + heads (m + 1) s + 12 (m + 1) d`,
    /// and for NAR and P-NAR the scores of the codes, `m V`. The larger of both.
    pub fn patch_bytes(&self, n: usize) -> u64 {
        let RendererConfig {
            d_model: d,
            n_layers,
            n_codes,
            decoding,
            ..
        } = self.renderer;
        let m = self.renderer.tokens_per_patch();
        let (s, own) = ((n + 1) * m + 1, m + 1);
        let pass =
            n_layers * own * d + 2 * s * d + self.renderer.n_heads() * own * s + 12 * own * d;
        let row = match decoding {
            Decoding::Ar => pass.max(2 * (n_layers + 1) * s * d),
            Decoding::Nar | Decoding::Pnar => pass + m * n_codes,
        };
        bytes(self.rows * row)
    }

    /// Gives the bytes that a window of `h · w` tokens is decoded, or encoded, with: four times the
    /// largest activation. A level works at its own width, and at that of the coarser one where
    /// that has just been enlarged.
    pub fn window_bytes(&self, [h, w]: [usize; 2]) -> u64 {
        let VqganConfig {
            ch, multipliers, ..
        } = &self.vqgan;
        let stride = self.vqgan.stride();
        let level = |i: usize| {
            let width = multipliers[i..].iter().take(2).max().copied().unwrap_or(1);
            ch * width * ((h * stride) >> i) * ((w * stride) >> i)
        };
        let largest = (0..multipliers.len()).map(level).max().unwrap_or(0);
        ALIVE * bytes(largest)
    }
}
