//! The parts that encoder, decoder and guide share (f16 architecture of "Taming Transformers").
//!
//! `forward` gives nothing where [`Norms`] ends the pass. Field names follow the released checkpoints, so that parameter paths are theirs.
//! Axis letters: `b` batch, `c` channels, `h w` rows and columns.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, PaddingConfig2d};
use burn::tensor::activation::silu;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor, module::interpolate};

use super::attention::PixelAttention;
use super::moments::{Norm, Norms};
use super::pixel_guided::{zero, zero_bias};

/// Groups of every group normalization; each width is a multiple of it.
pub(crate) const NORM_GROUPS: usize = 32;

/// Added to the variance by every group normalization.
pub(crate) const NORM_EPSILON: f64 = 1e-6;

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
    #[cfg(feature = "flex")]
    if conv.kernel_size == [3, 3] && conv.stride == [1, 1] && crate::flex::takes(&x) {
        let bias = conv.bias.as_ref().expect("our convolutions have a bias");
        return super::flex::convolve(x, conv.weight.val(), bias.val());
    }
    conv.forward(x)
}

/// Normalizes, then applies swish; nothing if the pass ends here.
pub(crate) fn norm_swish(
    norm: &GroupNorm,
    x: Tensor<4>,
    norms: &mut Norms<'_>,
) -> Option<Tensor<4>> {
    let met = norms.meet(norm, &x)?;
    #[cfg(feature = "flex")]
    if crate::flex::takes(&x) {
        match met {
            Norm::Own => {
                let (gamma, beta) = super::moments::affine(norm);
                let epsilon = NORM_EPSILON;
                let normed = super::flex::normalize(x, gamma, beta, NORM_GROUPS, epsilon);
                return Some(normed);
            }
            Norm::Given(line) if !x.is_autodiff() => return Some(super::flex::line_swish(x, line)),
            Norm::Given(line) => return Some(silu(line.of(x))),
        }
    }
    Some(silu(match met {
        Norm::Own => norm.forward(x),
        Norm::Given(line) => line.of(x),
    }))
}

/// Two normalized 3 × 3 convolutions around a shortcut.
#[derive(Module, Debug)]
pub(crate) struct ResBlock {
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
    pub(crate) fn forward(&self, x: Tensor<4>, norms: &mut Norms<'_>) -> Option<Tensor<4>> {
        let h = conv2d(&self.conv1, norm_swish(&self.norm1, x.clone(), norms)?);
        let h = conv2d(&self.conv2, norm_swish(&self.norm2, h, norms)?);
        Some(match &self.nin_shortcut {
            Some(shortcut) => conv2d(shortcut, x) + h,
            None => x + h,
        })
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

/// Halves the resolution with a strided convolution, padded on the right and below only.
#[derive(Module, Debug)]
pub(crate) struct Downsample {
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
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        conv2d(&self.conv, x)
    }
}

/// Doubles the resolution: nearest neighbor, then a convolution.
#[derive(Module, Debug)]
pub(crate) struct Upsample {
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
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let twice = InterpolateOptions::new(InterpolateMode::Nearest).with_scale_factor([2.0, 2.0]);
        conv2d(&self.conv, interpolate(x, twice))
    }
}

/// The residual blocks of one resolution, each followed by attention where there is any.
#[derive(Module, Debug)]
pub(crate) struct Level {
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
    pub(crate) fn n_blocks(&self) -> usize {
        self.block.len()
    }

    /// Gives the features of this resolution, before any change of size.
    ///
    /// # Shapes
    /// `[b, c_in, h, w]` to `[b, c_out, h, w]`.
    pub(crate) fn forward(&self, x: Tensor<4>, norms: &mut Norms<'_>) -> Option<Tensor<4>> {
        let mut h = x;
        for (n, block) in self.block.iter().enumerate() {
            h = block.forward(h, norms)?;
            if let Some(attention) = self.attn.get(n) {
                h = attention.forward(h, norms)?;
            }
        }
        Some(h)
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
pub(crate) struct Middle {
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
    pub(crate) fn forward(&self, x: Tensor<4>, norms: &mut Norms<'_>) -> Option<Tensor<4>> {
        let h = self.block_1.forward(x, norms)?;
        let h = self.attn_1.forward(h, norms)?;
        self.block_2.forward(h, norms)
    }
}

#[cfg(test)]
impl Level {
    /// The level whose attention adds nothing, so that its reach is finite.
    pub(crate) fn silence_attention(&mut self) {
        for attention in &mut self.attn {
            attention.proj_out = zero(attention.proj_out.clone());
        }
    }
}

#[cfg(test)]
impl Middle {
    /// As [`Level::silence_attention`].
    pub(crate) fn silence_attention(&mut self) {
        self.attn_1.proj_out = zero(self.attn_1.proj_out.clone());
    }
}
