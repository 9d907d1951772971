//! Pixels to features: the way down, level by level, and the middle.

use burn::module::Module;
use burn::nn::GroupNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};

use super::VqganConfig;
use super::blocks::{
    Downsample, Level, LevelConfig, Middle, conv2d, conv3x3, group_norm, norm_swish,
};
use super::moments::Norms;

/// The levels from full resolution down to the token grid, `blocks` residual blocks in each.
///
/// Attention sits in the last level only; every other one ends in a [`Downsample`].
pub(crate) fn down_levels(config: &VqganConfig, blocks: usize, device: &Device) -> Vec<Level> {
    let widths = config.widths();
    let last = widths.len() - 1;
    widths
        .iter()
        .enumerate()
        .map(|(i, &width)| {
            let mut level = LevelConfig {
                channels_in: if i == 0 { config.ch } else { widths[i - 1] },
                channels_out: width,
                blocks,
                attention: i == last,
            }
            .init(device);
            level.downsample = (i < last).then(|| Downsample::new(width, device));
            level
        })
        .collect()
}

/// Pixels to the features that `quant_conv` turns into latents.
#[derive(Module, Debug)]
pub struct Encoder {
    conv_in: Conv2d,
    down: Vec<Level>,
    mid: Middle,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    pub(crate) fn new(config: &VqganConfig, device: &Device) -> Self {
        let top = config.top_width();
        Self {
            conv_in: conv3x3(3, config.ch, device),
            down: down_levels(config, config.blocks, device),
            mid: Middle::new(top, device),
            norm_out: group_norm(top, device),
            conv_out: conv3x3(top, config.z, device),
        }
    }

    /// Levels of resolution.
    pub(crate) fn n_levels(&self) -> usize {
        self.down.len()
    }

    /// Residual blocks per level.
    pub(crate) fn n_blocks(&self) -> usize {
        self.down[0].n_blocks()
    }

    /// Gives the features of a picture on its token grid.
    ///
    /// # Shapes
    /// `[b, 3, h, w]` in -1..1 to `[b, z, h/stride, w/stride]`.
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        self.pass(pixels, &mut Norms::own())
            .expect("own moments end no pass")
    }

    /// As [`forward`](Self::forward); nothing where `norms` ends the pass.
    pub(crate) fn pass(&self, pixels: Tensor<4>, norms: &mut Norms<'_>) -> Option<Tensor<4>> {
        let mut h = conv2d(&self.conv_in, pixels);
        for level in &self.down {
            h = level.forward(h, norms)?;
            if let Some(downsample) = &level.downsample {
                h = downsample.forward(h);
            }
        }
        let h = self.mid.forward(h, norms)?;
        Some(conv2d(
            &self.conv_out,
            norm_swish(&self.norm_out, h, norms)?,
        ))
    }
}

#[cfg(test)]
impl Encoder {
    /// Makes every attention add nothing, so that the reach is finite.
    pub(super) fn silence_attention(&mut self) {
        self.mid.silence_attention();
        self.down
            .iter_mut()
            .for_each(super::blocks::Level::silence_attention);
    }
}
