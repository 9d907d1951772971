//! PatchGAN: says of every place of a picture whether it looks real ("Taming Transformers", §3.1).

use burn::module::Module;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, LeakyRelu, LeakyReluConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// The numbers of a [`PatchDiscriminator`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchDiscriminatorConfig {
    /// Channels after the first layer; they double per layer, up to eight times this.
    pub width: usize,
    /// Layers before the last one; all but the last of them halve the resolution.
    pub depth: usize,
}

impl Default for PatchDiscriminatorConfig {
    /// The discriminator of the released models: each logit sees 70 × 70 pixels.
    fn default() -> Self {
        Self {
            width: 64,
            depth: 3,
        }
    }
}

impl PatchDiscriminatorConfig {
    /// A discriminator with fresh weights: convolutions N(0, 0.02), norms N(1, 0.02), biases 0.
    pub fn init(&self, device: &Device) -> PatchDiscriminator {
        let widths: Vec<_> = (0..=self.depth).map(|n| self.width << n.min(3)).collect();
        let mut main = vec![conv(3, widths[0], 2, true, device), leak()];
        for n in 1..=self.depth {
            let stride = if n < self.depth { 2 } else { 1 };
            main.push(conv(widths[n - 1], widths[n], stride, false, device));
            main.push(norm(widths[n], device));
            main.push(leak());
        }
        main.push(conv(widths[self.depth], 1, 1, true, device));
        PatchDiscriminator { main }
    }
}

/// Judges every place of a picture.
///
/// Parameter paths without the names of enum variants are those of the released checkpoints:
/// `main.0.weight`, `main.3.running_mean`.
#[derive(Module, Debug)]
pub struct PatchDiscriminator {
    main: Vec<Layer>,
}

/// One layer of a [`PatchDiscriminator`].
#[derive(Module, Debug)]
pub enum Layer {
    /// A 4 × 4 convolution.
    Conv(Conv2d),
    /// Batch normalization; by batch statistics on a device with gradients.
    Norm(BatchNorm),
    /// Leaky rectifier of slope 0.2.
    Leak(LeakyRelu),
}

impl PatchDiscriminator {
    /// Gives one logit per place, high where the picture looks real.
    ///
    /// On a device with gradients, batch normalization uses the statistics of the batch and
    /// updates its running ones, also when the weights themselves are frozen by `no_grad`.
    ///
    /// # Shapes
    /// `[b, 3, h, w]` in -1..1 to `[b, 1, h', w']`.
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<4> {
        self.main.iter().fold(pixels, |x, layer| match layer {
            Layer::Conv(conv) => conv.forward(x),
            Layer::Norm(norm) => norm.forward(x),
            Layer::Leak(leak) => leak.forward(x),
        })
    }
}

fn conv(
    channels_in: usize,
    channels_out: usize,
    stride: usize,
    bias: bool,
    device: &Device,
) -> Layer {
    let mut conv = Conv2dConfig::new([channels_in, channels_out], [4, 4])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(bias)
        .with_initializer(Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        })
        .init(device);
    conv.bias = bias.then(|| Initializer::Zeros.init([channels_out], device));
    Layer::Conv(conv)
}

fn norm(channels: usize, device: &Device) -> Layer {
    let mut norm = BatchNormConfig::new(channels).init(device);
    norm.gamma = Initializer::Normal {
        mean: 1.0,
        std: 0.02,
    }
    .init([channels], device);
    Layer::Norm(norm)
}

fn leak() -> Layer {
    Layer::Leak(LeakyReluConfig::new().with_negative_slope(0.2).init())
}
