//! What the networks take, whatever they paint.

use burn::module::Module;
use nuwa_model::render::{Decoding, PoolKind, Precision, RendererConfig};
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
    /// What the renderer computes in.
    pub precision: Precision,
    /// Rows that one patch is in a batch: one for each picture, two with guidance.
    pub rows: usize,
}

impl Networks {
    /// Gives the sizes of a run that paints so many rows at once, in a precision.
    pub fn of(run: &ModelRun, rows: usize, precision: Precision) -> Self {
        Self {
            rows,
            precision,
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
    /// In half precision, copies of all that products read: `L 16 d² + V d`, `4 L d²` more for captions,
    /// and `3 L d²` for the token loop.
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
        let is_loop = decoding == Decoding::Ar;
        let copied = match self.precision {
            Precision::F32 if is_loop => {
                n_layers * ((16 + cross) * d * d + 3 * d) + 2 * n_codes * d
            }
            Precision::F32 => n_codes * d,
            Precision::Bf16 => {
                let in_loop = if is_loop { 3 } else { 0 };
                n_layers * (16 + 2 * cross + in_loop) * d * d + n_codes * d
            }
        };
        bytes(self.n_weights + 4 * m * d) + self.states(copied)
    }

    /// Gives the bytes of as many numbers in the renderer's precision.
    fn states(&self, n: usize) -> u64 {
        (n * self.precision.bytes()) as u64
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
        self.states(self.rows * kept * n_layers * self.renderer.tokens_per_patch() * d_model)
    }

    /// Gives the bytes that one patch of a batch is painted with, when it sees `n` others. With
    /// `s = (n + 1) m + 1` places looked at: while AR writes, keys and values of every layer and one
    /// more, `2 (L + 1) s d`; while a pass runs, the inputs of all layers, one context, the scores
    /// and the hidden states of one layer, `L (m + 1) d + 2 s d + heads (m + 1) s + 12 (m + 1) d`,
    /// and for NAR and P-NAR the scores of the codes and their noise, `2 m V`. The larger of both.
    /// Scores and hidden states are in single precision.
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
        let pass = self.states(n_layers * own * d + 2 * s * d)
            + bytes(self.renderer.n_heads() * own * s + 12 * own * d);
        let row = match decoding {
            Decoding::Ar => pass.max(self.states(2 * (n_layers + 1) * s * d)),
            Decoding::Nar | Decoding::Pnar => pass + bytes(2 * m * n_codes),
        };
        self.rows as u64 * row
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
