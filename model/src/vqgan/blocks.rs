//! The parts that encoder, decoder and guide share (f16 architecture of "Taming Transformers").
//!
//! Field names follow the released checkpoints, so that parameter paths are theirs.
//! Axis letters: `b` batch, `c` channels, `h w` rows and columns.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, PaddingConfig2d};
use burn::tensor::activation::{silu, softmax};
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor, module::interpolate};

use super::pixel_guided::{zero, zero_bias};

/// Groups of every group normalization; each width is a multiple of it.
pub(crate) const NORM_GROUPS: usize = 32;

/// Added to the variance by every group normalization.
const NORM_EPSILON: f64 = 1e-6;

/// Largest attention score matrix held at once; larger ones are computed in bands of queries.
const MAX_SCORES: usize = 1 << 24;

/// A 3 × 3 convolution that keeps the size.
pub(crate) fn conv3x3(channels_in: usize, channels_out: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new([channels_in, channels_out], [3, 3])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .init(device)
}

/// A 1 × 1 convolution.
pub(crate) fn conv1x1(channels_in: usize, channels_out: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new([channels_in, channels_out], [1, 1]).init(device)
}

/// A group normalization of 32 groups.
pub(crate) fn group_norm(channels: usize, device: &Device) -> GroupNorm {
    GroupNormConfig::new(NORM_GROUPS, channels)
        .with_epsilon(NORM_EPSILON)
        .init(device)
}

/// Applies a convolution.
pub(crate) fn conv2d(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    conv.forward(x)
}

/// Normalizes, then applies swish.
pub(crate) fn norm_swish(norm: &GroupNorm, x: Tensor<4>) -> Tensor<4> {
    silu(norm.forward(x))
}

/// Two normalized 3 × 3 convolutions around a shortcut.
#[derive(Module, Debug)]
pub struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    nin_shortcut: Option<Conv2d>,
}

impl ResBlock {
    pub(crate) fn new(channels_in: usize, channels_out: usize, device: &Device) -> Self {
        Self {
            norm1: group_norm(channels_in, device),
            conv1: conv3x3(channels_in, channels_out, device),
            norm2: group_norm(channels_out, device),
            conv2: conv3x3(channels_out, channels_out, device),
            nin_shortcut: (channels_in != channels_out)
                .then(|| conv1x1(channels_in, channels_out, device)),
        }
    }

    /// Gives features of the block's output width.
    ///
    /// # Shapes
    /// `[b, c_in, h, w]` to `[b, c_out, h, w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = conv2d(&self.conv1, norm_swish(&self.norm1, x.clone()));
        let h = conv2d(&self.conv2, norm_swish(&self.norm2, h));
        match &self.nin_shortcut {
            Some(shortcut) => conv2d(shortcut, x) + h,
            None => x + h,
        }
    }
}

impl ResBlock {
    /// The block that turns zero features into zero features.
    fn silence(mut self) -> Self {
        self.conv2 = zero(self.conv2);
        self.nin_shortcut = self.nin_shortcut.map(zero_bias);
        self
    }
}

/// Attention of one head over all places of a feature map.
#[derive(Module, Debug)]
pub struct PixelAttention {
    norm: GroupNorm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    proj_out: Conv2d,
}

impl PixelAttention {
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        let project = || conv1x1(channels, channels, device);
        Self {
            norm: group_norm(channels, device),
            q: project(),
            k: project(),
            v: project(),
            proj_out: project(),
        }
    }

    /// Adds to every place a mix of all places.
    ///
    /// # Shapes
    /// `[b, c, h, w]` to the same.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let places = h * w;
        let normed = self.norm.forward(x.clone());
        let project = |conv| conv2d(conv, normed.clone()).reshape([b, c, places]); // [b, c, n]
        let q = project(&self.q).swap_dims(1, 2) * (c as f64).powf(-0.5); // [b, n, c]
        let (k, v) = (project(&self.k), project(&self.v).swap_dims(1, 2));

        let band = (MAX_SCORES / (b * places)).clamp(1, places);
        let mixed = (0..places)
            .step_by(band)
            .map(|start| {
                let rows = q.clone().narrow(1, start, band.min(places - start));
                softmax(rows.matmul(k.clone()), 2).matmul(v.clone())
            })
            .collect();
        let mixed = Tensor::cat(mixed, 1).swap_dims(1, 2); // [b, c, n]
        x + conv2d(&self.proj_out, mixed.reshape([b, c, h, w]))
    }
}

/// Halves the resolution with a strided convolution, padded on the right and below only.
#[derive(Module, Debug)]
pub struct Downsample {
    conv: Conv2d,
}

impl Downsample {
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        let conv = Conv2dConfig::new([channels, channels], [3, 3])
            .with_stride([2, 2])
            .with_padding(PaddingConfig2d::Explicit(0, 0, 1, 1))
            .init(device);
        Self { conv }
    }

    /// Gives the features at half the resolution.
    ///
    /// # Shapes
    /// `[b, c, h, w]` to `[b, c, h/2, w/2]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(&self.conv, x)
    }
}

/// Doubles the resolution: nearest neighbor, then a convolution.
#[derive(Module, Debug)]
pub struct Upsample {
    conv: Conv2d,
}

impl Upsample {
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        Self {
            conv: conv3x3(channels, channels, device),
        }
    }

    /// Gives the features at twice the resolution.
    ///
    /// # Shapes
    /// `[b, c, h, w]` to `[b, c, 2h, 2w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let twice = InterpolateOptions::new(InterpolateMode::Nearest).with_scale_factor([2.0, 2.0]);
        conv2d(&self.conv, interpolate(x, twice))
    }
}

/// The residual blocks of one resolution, each followed by attention where there is any.
#[derive(Module, Debug)]
pub struct Level {
    block: Vec<ResBlock>,
    attn: Vec<PixelAttention>,
    pub(crate) downsample: Option<Downsample>,
    pub(crate) upsample: Option<Upsample>,
}

/// The numbers of a [`Level`].
pub(crate) struct LevelConfig {
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) blocks: usize,
    pub(crate) attention: bool,
}

impl LevelConfig {
    pub(crate) fn init(&self, device: &Device) -> Level {
        let Self {
            channels_in,
            channels_out,
            blocks,
            attention,
        } = *self;
        let width_before = |n| if n == 0 { channels_in } else { channels_out };
        let attn_blocks = if attention { blocks } else { 0 };
        Level {
            block: (0..blocks)
                .map(|n| ResBlock::new(width_before(n), channels_out, device))
                .collect(),
            attn: (0..attn_blocks)
                .map(|_| PixelAttention::new(channels_out, device))
                .collect(),
            downsample: None,
            upsample: None,
        }
    }
}

impl Level {
    /// Gives the features of this resolution, before any change of size.
    ///
    /// # Shapes
    /// `[b, c_in, h, w]` to `[b, c_out, h, w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut h = x;
        for (n, block) in self.block.iter().enumerate() {
            h = block.forward(h);
            if let Some(attention) = self.attn.get(n) {
                h = attention.forward(h);
            }
        }
        h
    }
}

impl Level {
    /// The level that turns zero features into zero features.
    pub(crate) fn silence(mut self) -> Self {
        self.block = self.block.into_iter().map(ResBlock::silence).collect();
        for attention in &mut self.attn {
            attention.proj_out = zero(attention.proj_out.clone());
        }
        if let Some(downsample) = &mut self.downsample {
            downsample.conv = zero_bias(downsample.conv.clone());
        }
        self
    }
}

/// The deepest part: a block, attention, a block.
#[derive(Module, Debug)]
pub struct Middle {
    block_1: ResBlock,
    attn_1: PixelAttention,
    block_2: ResBlock,
}

impl Middle {
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        Self {
            block_1: ResBlock::new(channels, channels, device),
            attn_1: PixelAttention::new(channels, device),
            block_2: ResBlock::new(channels, channels, device),
        }
    }

    /// Gives features of the same shape.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.block_2
            .forward(self.attn_1.forward(self.block_1.forward(x)))
    }
}
