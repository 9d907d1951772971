//! A decoder that sees the frame before (\[P\] Fig. 9), so that moving pictures do not flicker.
//!
//! The guide mirrors the decoder: at every resolution it turns the previous frame into features
//! that are added to the decoder's. Tokens mean the same as in the plain [`Vqgan`], whose encoder
//! makes them; only the decoding side is here. Axis letters: `b` batch, `f` frames.

use burn::module::{Module, Param};
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Int, Tensor, assert_shape};
use thiserror::Error;

use super::blocks::{Level, conv2d, conv3x3};
use super::encoder::down_levels;
use super::moments::Norms;
use super::{Decoder, Quantizer, Vqgan, VqganConfig};

/// The most by which its codebook may differ from the VQGAN's, as a share of it: what storing one of
/// them in 16 bits changes stays below.
const CODEBOOK_TOLERANCE: f32 = 1e-2;

/// The previous frame, as features for every level of the decoder.
#[derive(Module, Debug)]
pub struct Guide {
    pub(super) conv_in: Conv2d,
    down: Vec<Level>,
}

impl Guide {
    fn new(config: &VqganConfig, device: &Device) -> Self {
        Self {
            conv_in: conv3x3(3, config.ch, device),
            down: down_levels(config, config.blocks + 1, device),
        }
    }

    /// Gives the features of every level, index 0 at full resolution.
    ///
    /// # Shapes
    /// `[b, 3, h, w]` in -1..1 to `[b, c, h / 2^i, w / 2^i]` for level i.
    pub fn forward(&self, previous: Tensor<4>) -> Vec<Tensor<4>> {
        let mut levels = Vec::with_capacity(self.down.len());
        let mut h = conv2d(&self.conv_in, previous);
        for level in &self.down {
            let pass = level.forward(h, &mut Norms::own());
            h = pass.expect("own moments end no pass");
            levels.push(h.clone());
            if let Some(downsample) = &level.downsample {
                h = downsample.forward(h);
            }
        }
        levels
    }

    /// Makes every output zero, and keeps the gradients alive.
    ///
    /// not in the paper: how a fresh guide leaves a trained decoder intact. Features reach the
    /// decoder both through residual branches and through the shortcuts around them, so both must
    /// be silent: the last layer of each branch is zero, and so is `conv_in`, which feeds the
    /// shortcuts, and every bias on their way. The gradient of `conv_in` comes through the
    /// shortcuts and is not zero, so the guide speaks up after one step.
    fn silence(mut self) -> Self {
        self.conv_in = zero(self.conv_in);
        self.down = self.down.into_iter().map(Level::silence).collect();
        self
    }
}

/// The decoding half of a [`Vqgan`], helped by the previous frame.
#[derive(Module, Debug)]
pub struct PgVqgan {
    /// The codebook, frozen in training.
    pub quantize: Quantizer,
    /// Latents to features.
    pub post_quant_conv: Conv2d,
    /// Features to pixels.
    pub decoder: Decoder,
    /// The previous frame to features.
    pub guide: Guide,
}

/// A frame that follows another, and what it was made from.
#[derive(Debug)]
pub struct GuidedOutput {
    /// The frame, `[b, 3, h, w]`, not clamped.
    pub frame: Tensor<4>,
    /// What `decoder.conv_out` made it from, `[b, c, h, w]`.
    pub last_features: Tensor<4>,
}

/// Why a pixel-guided decoder is none for the tokens of a VQGAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Misfit {
    /// Their numbers differ.
    #[error("it has another architecture")]
    Architecture,
    /// Their tokens mean different things.
    #[error("it has another codebook")]
    Codebook,
}

impl VqganConfig {
    /// A pixel-guided decoder with fresh weights, to load into.
    ///
    /// # Panics
    /// If [`check`](Self::check) would fail.
    pub fn init_pixel_guided(&self, device: &Device) -> PgVqgan {
        let Vqgan {
            quantize,
            post_quant_conv,
            decoder,
            ..
        } = self.init(device);
        PgVqgan {
            quantize,
            post_quant_conv,
            decoder,
            guide: Guide::new(self, device),
        }
    }
}

impl PgVqgan {
    /// A pixel-guided decoder that decodes exactly as `vqgan` does, until it is trained.
    ///
    /// `config` is the one of `vqgan`.
    pub fn from_vqgan(vqgan: &Vqgan, config: &VqganConfig, device: &Device) -> Self {
        Self {
            quantize: vqgan.quantize.clone(),
            post_quant_conv: vqgan.post_quant_conv.clone(),
            decoder: vqgan.decoder.clone(),
            guide: Guide::new(config, device).silence(),
        }
    }

    /// Gives the frame of `codes` that follows `previous`, not clamped.
    ///
    /// # Shapes
    /// `codes`: `[b, h, w]`; `previous`: `[b, 3, h·stride, w·stride]` in -1..1; the frame alike.
    pub fn decode_after(&self, codes: Tensor<3, Int>, previous: Tensor<4>) -> Tensor<4> {
        self.forward(codes, previous).frame
    }

    /// Does as [`decode_after`](Self::decode_after), and gives what a training looks at, too.
    pub fn forward(&self, codes: Tensor<3, Int>, previous: Tensor<4>) -> GuidedOutput {
        let [b, h, w] = codes.dims();
        let stride = 1 << (self.decoder.n_levels() - 1);
        assert_shape!(previous, [b, 3, h * stride, w * stride]);
        let features = conv2d(&self.post_quant_conv, self.quantize.lookup(codes));
        let guide = self.guide.forward(previous);
        let last_features = self.decoder.last_features(features, Some(guide));
        GuidedOutput {
            frame: conv2d(&self.decoder.conv_out, last_features.clone()),
            last_features,
        }
    }

    /// Checks that it decodes the tokens of a VQGAN: that both have the same numbers, and the same
    /// codebook, which training leaves alone.
    ///
    /// # Errors
    /// Says what differs.
    pub fn check_fits(
        &self,
        config: &VqganConfig,
        vqgan: &Vqgan,
        vqgan_config: &VqganConfig,
    ) -> Result<(), Misfit> {
        if config != vqgan_config {
            return Err(Misfit::Architecture);
        }
        let [own, other] = [&self.quantize, &vqgan.quantize].map(|q| q.embedding.weight.val());
        let size = |codes: Tensor<2>| codes.square().mean().into_scalar::<f32>().sqrt();
        match size(own - other.clone()) > CODEBOOK_TOLERANCE * size(other) {
            true => Err(Misfit::Codebook),
            false => Ok(()),
        }
    }

    /// Gives the frames of a clip, each guided by the frame just decoded, clamped to -1..1.
    ///
    /// `first` is the true picture that comes before the clip (animation). Without it, `plain`
    /// decodes the first frame (text to video).
    ///
    /// # Shapes
    /// `codes`: `[b, f, h, w]`; `first`: `[b, 3, h·stride, w·stride]` in -1..1; gives
    /// `[b, f, 3, h·stride, w·stride]`.
    ///
    /// # Panics
    /// If there is neither `first` nor `plain`.
    pub fn decode_video(
        &self,
        codes: Tensor<4, Int>,
        first: Option<Tensor<4>>,
        plain: Option<&Vqgan>,
    ) -> Tensor<5> {
        let mut previous = first;
        let frames = codes.iter_dim(1).map(|codes| {
            let codes = codes.squeeze_dim::<3>(1);
            let frame = match previous.take() {
                Some(previous) => self.decode_after(codes, previous),
                None => plain
                    .expect("a first frame needs a picture before it or a plain decoder")
                    .decode(codes),
            }
            .clamp(-1.0, 1.0);
            previous = Some(frame.clone());
            frame
        });
        Tensor::stack(frames.collect(), 1)
    }
}

/// The convolution with all its weights zero.
pub(super) fn zero(mut conv: Conv2d) -> Conv2d {
    conv.weight = zeros(conv.weight);
    zero_bias(conv)
}

/// The convolution with a zero bias.
pub(super) fn zero_bias(mut conv: Conv2d) -> Conv2d {
    conv.bias = conv.bias.map(zeros);
    conv
}

/// The parameter as zeros, which are trained if it was.
fn zeros<const D: usize>(param: Param<Tensor<D>>) -> Param<Tensor<D>> {
    param.map(|value| value.zeros_like().set_require_grad(value.is_require_grad()))
}
