//! Features to pixels: the middle and the way up, level by level.

use burn::module::Module;
use burn::nn::GroupNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};

use super::VqganConfig;
use super::blocks::{
    Level, LevelConfig, Middle, Upsample, conv2d, conv3x3, group_norm, norm_swish,
};
use super::moments::Norms;

/// Features of `post_quant_conv` to pixels.
#[derive(Module, Debug)]
pub struct Decoder {
    conv_in: Conv2d,
    mid: Middle,
    up: Vec<Level>,
    norm_out: GroupNorm,
    /// The last convolution; the adaptive weight of the adversarial loss is measured on it.
    pub conv_out: Conv2d,
}

impl Decoder {
    pub(crate) fn new(config: &VqganConfig, device: &Device) -> Self {
        let widths = config.widths();
        let last = widths.len() - 1;
        let up = (0..=last)
            .map(|i| {
                let mut level = LevelConfig {
                    channels_in: widths[last.min(i + 1)],
                    channels_out: widths[i],
                    blocks: config.blocks + 1,
                    attention: i == last,
                }
                .init(device);
                level.upsample = (i > 0).then(|| Upsample::new(widths[i], device));
                level
            })
            .collect();
        Self {
            conv_in: conv3x3(config.z, widths[last], device),
            mid: Middle::new(widths[last], device),
            up,
            norm_out: group_norm(widths[0], device),
            conv_out: conv3x3(widths[0], 3, device),
        }
    }

    /// Levels of resolution.
    pub fn n_levels(&self) -> usize {
        self.up.len()
    }

    /// Residual blocks per level.
    pub(crate) fn n_blocks(&self) -> usize {
        self.up[0].n_blocks()
    }

    /// Gives a picture, not clamped.
    ///
    /// `guide` holds one feature map per level, index 0 at full resolution; each is added after
    /// the blocks of its level (\[P\] Fig. 9).
    ///
    /// # Shapes
    /// `[b, z, h, w]` on the token grid to `[b, 3, h·stride, w·stride]`.
    pub fn forward(&self, features: Tensor<4>, guide: Option<Vec<Tensor<4>>>) -> Tensor<4> {
        conv2d(&self.conv_out, self.last_features(features, guide))
    }

    /// Gives what [`conv_out`](Self::conv_out) turns into a picture.
    ///
    /// # Shapes
    /// `[b, z, h, w]` on the token grid to `[b, ch · multipliers[0], h·stride, w·stride]`.
    pub fn last_features(&self, features: Tensor<4>, guide: Option<Vec<Tensor<4>>>) -> Tensor<4> {
        let pass = self.pass(features, guide, &mut Norms::own());
        pass.expect("own moments end no pass")
    }

    /// As [`last_features`](Self::last_features); nothing where `norms` ends the pass.
    pub(crate) fn pass(
        &self,
        features: Tensor<4>,
        guide: Option<Vec<Tensor<4>>>,
        norms: &mut Norms<'_>,
    ) -> Option<Tensor<4>> {
        let mut guide = guide.unwrap_or_default();
        let mut h = self.mid.forward(conv2d(&self.conv_in, features), norms)?;
        for level in self.up.iter().rev() {
            h = level.forward(h, norms)?;
            if let Some(hint) = guide.pop() {
                h = h + hint;
            }
            if let Some(upsample) = &level.upsample {
                h = upsample.forward(h);
            }
        }
        norm_swish(&self.norm_out, h, norms)
    }
}

#[cfg(test)]
impl Decoder {
    /// Makes every attention add nothing, so that the reach is finite.
    pub(super) fn silence_attention(&mut self) {
        self.mid.silence_attention();
        self.up
            .iter_mut()
            .for_each(super::blocks::Level::silence_attention);
    }
}
