//! Pixels to tokens and back: the stride-16 tokenizer of "Taming Transformers".
//!
//! [`Vqgan`] encodes pictures to codes and decodes them; [`PgVqgan`] decodes a frame with the help
//! of the one before it. Pixels are `[b, 3, h, w]` in -1..1, codes `[b, h, w]` on the token grid.

mod attention;
mod band;
mod bands;
mod blocks;
mod decoder;
mod encoder;
#[cfg(feature = "flex")]
mod flex;
mod moments;
mod pixel_guided;
mod quantizer;
pub mod tiled;
mod tiling;

pub use decoder::Decoder;
pub use encoder::Encoder;
pub use pixel_guided::{Guide, GuidedOutput, Misfit, PgVqgan};
pub use quantizer::Quantizer;

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::assert_shape;
use blocks::{NORM_GROUPS, conv1x1, conv2d};

/// The numbers of a [`Vqgan`]; saved beside its weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VqganConfig {
    /// Channels after the first convolution.
    pub ch: usize,
    /// Width of each level in units of `ch`, from full resolution down to the token grid.
    pub multipliers: Vec<usize>,
    /// Residual blocks per encoder level; the decoder has one more.
    pub blocks: usize,
    /// Channels between encoder and `quant_conv`, and between `post_quant_conv` and decoder.
    pub z: usize,
    /// Codes in the codebook.
    pub n_codes: usize,
    /// Width of a code.
    pub code_dim: usize,
}

/// A configuration that describes no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("VQGAN configuration: {field} is {found}, expected {expected}")]
pub struct VqganConfigError {
    /// The offending field.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// What it must be.
    pub expected: &'static str,
}

impl VqganConfig {
    /// The released f16 model with 16384 codes ("Taming Transformers").
    pub fn f16() -> Self {
        Self {
            ch: 128,
            multipliers: vec![1, 1, 2, 2, 4],
            blocks: 2,
            z: 256,
            n_codes: 16384,
            code_dim: 256,
        }
    }

    /// The same shape at a quarter of the width, with 1024 codes (ours: for one picture).
    pub fn small() -> Self {
        Self {
            ch: 32,
            multipliers: vec![1, 1, 2, 2, 4],
            blocks: 2,
            z: 64,
            n_codes: 1024,
            code_dim: 64,
        }
    }

    /// Checks that the numbers describe a network.
    ///
    /// # Errors
    /// Names the first field that does not.
    pub fn check(&self) -> Result<(), VqganConfigError> {
        let refuse = |field, found: String, expected| {
            Err(VqganConfigError {
                field,
                found,
                expected,
            })
        };
        if self.ch == 0 || !self.ch.is_multiple_of(NORM_GROUPS) || self.ch > 4096 {
            return refuse("ch", self.ch.to_string(), "a multiple of 32, at most 4096");
        }
        if !(1..=8).contains(&self.multipliers.len())
            || self.multipliers.iter().any(|m| !(1..=64).contains(m))
        {
            let found = format!("{:?}", self.multipliers);
            return refuse("multipliers", found, "1 to 8 numbers from 1 to 64");
        }
        let bounds = [
            ("blocks", self.blocks, 16, "1 to 16"),
            ("z", self.z, 65536, "1 to 65536"),
            ("n_codes", self.n_codes, 1 << 20, "1 to 1048576"),
            ("code_dim", self.code_dim, 65536, "1 to 65536"),
        ];
        for (field, value, most, expected) in bounds {
            if !(1..=most).contains(&value) {
                return refuse(field, value.to_string(), expected);
            }
        }
        Ok(())
    }

    /// Pixels per token along each axis.
    pub fn stride(&self) -> usize {
        1 << (self.multipliers.len() - 1)
    }

    /// Parameters of the network, counted without allocating them.
    pub fn n_params(&self) -> usize {
        self.init(&Device::default()).num_params()
    }

    /// A network with fresh weights: the defaults of the released training code.
    ///
    /// # Panics
    /// If [`check`](Self::check) would fail.
    pub fn init(&self, device: &Device) -> Vqgan {
        self.check().expect("a checked configuration");
        Vqgan {
            encoder: Encoder::new(self, device),
            decoder: Decoder::new(self, device),
            quantize: Quantizer::new(self.n_codes, self.code_dim, device),
            quant_conv: conv1x1(self.z, self.code_dim, device),
            post_quant_conv: conv1x1(self.code_dim, self.z, device),
        }
    }

    /// Channels of each level, from full resolution down.
    pub(crate) fn widths(&self) -> Vec<usize> {
        self.multipliers.iter().map(|m| m * self.ch).collect()
    }

    /// Channels on the token grid.
    pub(crate) fn top_width(&self) -> usize {
        *self
            .widths()
            .last()
            .expect("a checked configuration has a level")
    }
}

/// Pictures to codes and back.
#[derive(Module, Debug)]
pub struct Vqgan {
    /// Pixels to features.
    pub encoder: Encoder,
    /// Features to pixels.
    pub decoder: Decoder,
    /// The codebook.
    pub quantize: Quantizer,
    /// Features to latents.
    pub quant_conv: Conv2d,
    /// Latents to features.
    pub post_quant_conv: Conv2d,
}

/// What a training pass of a [`Vqgan`] gives.
#[derive(Debug)]
pub struct VqganOutput {
    /// The picture as it comes back, `[b, 3, h, w]`, not clamped.
    pub reconstruction: Tensor<4>,
    /// What the decoder's last convolution made the reconstruction from.
    pub last_features: Tensor<4>,
    /// Distance between latents and codes, `[1]`.
    pub codebook_loss: Tensor<1>,
    /// The chosen codes, `[b, h, w]`.
    pub codes: Tensor<3, Int>,
}

impl Vqgan {
    /// Gives the reconstruction, with a gradient that skips the choice of codes, and the codebook
    /// loss. `beta` weighs the commitment term, the one that moves the encoder.
    ///
    /// # Shapes
    /// `pixels`: `[b, 3, h, w]` in -1..1, sides multiples of the stride.
    pub fn forward(&self, pixels: Tensor<4>, beta: f64) -> VqganOutput {
        self.forward_at_costs(pixels, beta, None)
    }

    /// Does as [`forward`](Self::forward), with codes that have a cost, which counts like a squared
    /// distance.
    ///
    /// # Shapes
    /// `costs`: `[n_codes]`, off the graph.
    pub fn forward_at_costs(
        &self,
        pixels: Tensor<4>,
        beta: f64,
        costs: Option<Tensor<1>>,
    ) -> VqganOutput {
        let latents = self.latents(pixels);
        let codes = self.quantize.cheapest(latents.clone(), costs);
        let chosen = self.quantize.lookup(codes.clone());
        let pull = (chosen.clone() - latents.clone().detach()).square().mean();
        let commit = (chosen.clone().detach() - latents.clone()).square().mean();
        let straight_through = latents.clone() + (chosen - latents).detach();
        let features = conv2d(&self.post_quant_conv, straight_through);
        let last_features = self.decoder.last_features(features, None);
        VqganOutput {
            reconstruction: conv2d(&self.decoder.conv_out, last_features.clone()),
            last_features,
            codebook_loss: pull + commit * beta,
            codes,
        }
    }

    /// Gives the codes of a picture.
    ///
    /// # Shapes
    /// `[b, 3, h, w]` in -1..1 to `[b, h/stride, w/stride]`.
    pub fn encode(&self, pixels: Tensor<4>) -> Tensor<3, Int> {
        self.nearest(self.latents(pixels))
    }

    /// Gives the picture of a grid of codes, not clamped.
    ///
    /// # Shapes
    /// `[b, h, w]` to `[b, 3, h·stride, w·stride]`.
    pub fn decode(&self, codes: Tensor<3, Int>) -> Tensor<4> {
        self.decode_latents(self.quantize.lookup(codes))
    }

    /// Gives what is about to be quantized.
    ///
    /// # Shapes
    /// `[b, 3, h, w]` in -1..1 to `[b, code_dim, h/stride, w/stride]`.
    ///
    /// # Panics
    /// If a side is not a multiple of the stride.
    pub fn latents(&self, pixels: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = pixels.dims();
        assert_shape!(pixels, [_, 3, h, w]);
        let stride = self.stride();
        assert!(
            h.is_multiple_of(stride) && w.is_multiple_of(stride),
            "{h} x {w} pixels are no multiple of the stride {stride}"
        );
        conv2d(&self.quant_conv, self.encoder.forward(pixels))
    }

    /// Gives the index of the code nearest to each latent; no gradient passes.
    ///
    /// # Shapes
    /// `[b, code_dim, h, w]` to `[b, h, w]`.
    pub fn nearest(&self, latents: Tensor<4>) -> Tensor<3, Int> {
        self.quantize.nearest(latents)
    }

    /// Gives the picture of latents, quantized or not; not clamped.
    ///
    /// # Shapes
    /// `[b, code_dim, h, w]` to `[b, 3, h·stride, w·stride]`.
    pub fn decode_latents(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decoder
            .forward(conv2d(&self.post_quant_conv, latents), None)
    }

    /// Pixels per token along each axis.
    pub fn stride(&self) -> usize {
        1 << (self.decoder.n_levels() - 1)
    }
}

#[cfg(test)]
mod tests;
