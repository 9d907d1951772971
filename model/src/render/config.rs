//! What a render transformer is made of, as saved beside its weights.

use std::str::FromStr;

use burn::module::{Module, Param};
use burn::nn::{
    Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig,
};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::attention::Attention;
use super::block::{Block, FeedForward};
use super::precision::Precision;
use super::transformer::{Head, Renderer};
use crate::patch::{Extent, TokenSize};

/// Width of one attention head (page §4).
pub const HEAD_WIDTH: usize = 64;

/// Standard deviation of the initial weights (page §9.8).
pub(super) const INIT_STD: f64 = 0.02;

/// How the tokens of a patch are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoding {
    /// Autoregressive: one token after the other.
    Ar,
    /// Non-autoregressive: all tokens in one pass.
    Nar,
    /// Progressive non-autoregressive: rounds that keep the surest tokens.
    Pnar,
}

impl FromStr for Decoding {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "ar" => Ok(Self::Ar),
            "nar" => Ok(Self::Nar),
            "pnar" => Ok(Self::Pnar),
            _ => Err("there are ar, nar and pnar"),
        }
    }
}

/// Where the relative position embedding is fed in (\[P\] Tab. 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feed {
    /// Pre-RPE: a vector per offset, added to the projected keys.
    Pre,
    /// Post-RPE: a scalar per head and offset, added to the scores.
    Post,
}

/// What a cache is computed from (\[N\] Tab. 4d, \[P\] Tab. 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transfer {
    /// From the patch and its context: information travels on.
    Context,
    /// From the patch alone: the "no transfer" ablation.
    Alone,
}

/// Architecture of a [`Renderer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RendererConfig {
    /// Decoding the weights are trained for.
    pub decoding: Decoding,
    /// Width d, a multiple of [`HEAD_WIDTH`].
    pub d_model: usize,
    /// Layers L.
    pub n_layers: usize,
    /// Size of the codebook, V.
    pub n_codes: usize,
    /// Tokens of one patch along each axis.
    pub patch: TokenSize,
    /// Reach of the context in patches.
    pub extent: Extent,
    /// Where relative positions are fed in.
    pub feed: Feed,
    /// Width of the text states, or none for an unconditional model.
    pub d_text: Option<usize>,
    /// What caches are computed from.
    pub transfer: Transfer,
}

impl RendererConfig {
    /// Gives one that tests make theirs of.
    #[cfg(test)]
    pub(super) fn small() -> Self {
        Self {
            decoding: Decoding::Ar,
            d_model: HEAD_WIDTH,
            n_layers: 1,
            n_codes: 16,
            patch: TokenSize { f: 1, h: 2, w: 2 },
            extent: Extent { w: 1, h: 1, f: 0 },
            feed: Feed::Pre,
            d_text: None,
            transfer: Transfer::Context,
        }
    }

    /// Gives the number of attention heads.
    pub fn n_heads(&self) -> usize {
        self.d_model / HEAD_WIDTH
    }

    /// Gives M, the number of tokens of a patch.
    pub fn tokens_per_patch(&self) -> usize {
        self.patch.count()
    }

    /// Names the first thing that makes this architecture impossible, or nothing.
    pub fn problem(&self) -> Option<&'static str> {
        let checks = [
            (
                self.d_model == 0 || !self.d_model.is_multiple_of(HEAD_WIDTH),
                "d_model must be a multiple of 64",
            ),
            (self.n_layers == 0, "n_layers must be at least 1"),
            (self.n_codes < 2, "n_codes must be at least 2"),
            (
                self.patch.count() == 0,
                "a patch must hold at least one token",
            ),
            (self.d_text == Some(0), "d_text must be at least 1"),
        ];
        checks
            .into_iter()
            .find_map(|(broken, text)| broken.then_some(text))
    }

    /// Gives the number of parameters; nothing is allocated.
    pub fn n_params(&self) -> usize {
        self.init(&Device::default()).num_params()
    }

    /// Initializes a renderer: weights N(0, 0.02), biases and relative positions 0, LayerNorm 1
    /// and 0 (page §9.8). Parameters are allocated when first used.
    ///
    /// # Panics
    /// When the architecture is impossible; see [`RendererConfig::problem`].
    pub fn init(&self, device: &Device) -> Renderer {
        assert_eq!(self.problem(), None);
        let d = self.d_model;
        let special = || Initializer::Zeros.init([d], device);
        Renderer {
            tok_emb: embedding(self.n_codes, d, device),
            pos_row: embedding(self.patch.h, d, device),
            pos_col: embedding(self.patch.w, d, device),
            pos_frame: embedding(self.patch.f, d, device),
            order_emb: embedding(4, d, device),
            bos: (self.decoding == Decoding::Ar).then(special),
            mask: (self.decoding != Decoding::Ar).then(special),
            text_proj: self.d_text.map(|d_text| linear(d_text, d, device)),
            layers: (0..self.n_layers).map(|_| self.block(device)).collect(),
            norm: norm(d, device),
            head: Head {
                bias: Initializer::Zeros.init([self.n_codes], device),
            },
            tokens_per_patch: self.tokens_per_patch(),
            transfer_context: self.transfer == Transfer::Context,
            precision: Precision::default(),
        }
    }

    fn block(&self, device: &Device) -> Block {
        let d = self.d_model;
        let rpe_width = match self.feed {
            Feed::Pre => d,
            Feed::Post => self.n_heads(),
        };
        let rpe: Param<Tensor<2>> =
            Initializer::Zeros.init([self.extent.n_rows(), rpe_width], device);
        Block {
            norm1: norm(d, device),
            attn: attention(d, device),
            rpe,
            norm2: self.d_text.map(|_| norm(d, device)),
            cross: self.d_text.map(|_| attention(d, device)),
            norm3: norm(d, device),
            ff: FeedForward {
                expand: linear(d, 8 * d, device),
                contract: linear(4 * d, d, device),
            },
        }
    }
}

fn normal() -> Initializer {
    Initializer::Normal {
        mean: 0.0,
        std: INIT_STD,
    }
}

fn embedding(n: usize, d: usize, device: &Device) -> Embedding {
    EmbeddingConfig::new(n, d)
        .with_initializer(normal())
        .init(device)
}

fn linear(d_in: usize, d_out: usize, device: &Device) -> Linear {
    let mut linear = LinearConfig::new(d_in, d_out)
        .with_initializer(normal())
        .init(device);
    linear.bias = Some(Initializer::Zeros.init([d_out], device));
    linear
}

fn norm(d: usize, device: &Device) -> LayerNorm {
    LayerNormConfig::new(d).init(device)
}

fn attention(d: usize, device: &Device) -> Attention {
    let [q, k, v, o] = std::array::from_fn(|_| linear(d, d, device));
    Attention { q, k, v, o }
}
