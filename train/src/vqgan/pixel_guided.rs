//! The pixel-guided decoder (\[P\] Fig. 9), trained on frames that follow each other.
//!
//! The VQGAN whose tokens it decodes is frozen. Decoder and guide learn to paint a frame from its
//! tokens and the frame before it, against an adversary as in stage one.

mod command;
mod config;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use nuwa_model::checkpoint::Kind;
use nuwa_model::vqgan::{PgVqgan, Vqgan, VqganConfig};

pub use self::command::{PgVqganArgs, run as command};
pub use self::config::PgVqganRunConfig;
use super::loss::{GeneratorLoss, Painted, Perceptual, PictureLoss, picture_loss};
use super::painter::Painter;
use super::players::{Players, StepReport};
use super::rate::CodeRate;
use crate::gradients::NotFinite;
use crate::materialize::materialize;

/// A pixel-guided decoder in training, and what makes the tokens that it decodes.
#[derive(Module, Debug)]
pub struct Guided {
    /// What is trained, but for the codebook.
    pub decoder: PgVqgan,
    /// Frozen and off the graph; no checkpoint holds it.
    #[module(skip)]
    tokenizer: Vqgan,
}

/// Samples, taken apart.
struct Pairs {
    /// `[b, 3, h, w]` in -1..1.
    previous: Tensor<4>,
    /// Likewise.
    frame: Tensor<4>,
    /// Tokens of `frame`, `[b, h / stride, w / stride]`.
    codes: Tensor<3, Int>,
}

impl Guided {
    fn pairs(&self, pixels: Tensor<4>) -> Pairs {
        let [n, c, h, w] = pixels.dims();
        let pairs = pixels.reshape([n / Self::FRAMES, Self::FRAMES, c, h, w]); // [b, f, 3, h, w]
        let at = |at: usize| pairs.clone().narrow(1, at, 1).squeeze_dim::<4>(1);
        let (previous, frame) = (at(0), at(1));
        let device = frame.device();
        let off_graph = match frame.is_autodiff() {
            true => frame.clone().inner(),
            false => frame.clone(),
        };
        let codes = self.tokenizer.encode(off_graph).to_device(&device);
        Pairs {
            previous,
            frame,
            codes,
        }
    }
}

impl Painter for Guided {
    type Network = PgVqgan;
    const KIND: Kind = Kind::PgVqgan;
    const FRAMES: usize = 2;

    fn of(vqgan: Vqgan, config: &VqganConfig, device: &Device) -> Self {
        let mut decoder = materialize(PgVqgan::from_vqgan(&vqgan, config, device));
        decoder.quantize = decoder.quantize.no_grad();
        Self {
            decoder,
            tokenizer: vqgan.valid(),
        }
    }

    fn step(
        players: &mut Players<Self>,
        pixels: Tensor<4>,
        rate: f64,
        adversarial: bool,
    ) -> Result<StepReport, NotFinite> {
        let adversary = adversarial.then_some(&players.adversary);
        let Pairs {
            previous,
            frame,
            codes,
        } = players.vqgan.pairs(pixels);
        let network = &players.vqgan.decoder;
        let output = network.forward(codes.clone(), previous);
        let painted = Painted {
            picture: output.frame.clone(),
            last_features: output.last_features,
            last_conv: &network.decoder.conv_out,
        };
        let PictureLoss { loss, l1, gan } = {
            let network = players.perceptual.as_ref();
            let distance = network.map(|network| |x, y| network.between(x, y));
            let perceptual = distance.as_ref().map(|distance| distance as Perceptual<'_>);
            let loss = &players.loss;
            picture_loss(painted, adversary, frame.clone(), loss, perceptual)
        };
        let parts = GeneratorLoss {
            loss,
            l1,
            codebook: None,
            gan,
            reconstruction: output.frame.detach(),
            codes,
        };
        players.play(parts, frame, rate, adversarial)
    }

    fn paint(&self, pixels: Tensor<4>, _: Option<&CodeRate>) -> Tensor<4> {
        let pairs = self.pairs(pixels);
        self.decoder.decode_after(pairs.codes, pairs.previous)
    }

    fn learns_codes(&mut self) -> Option<&mut Vqgan> {
        None
    }

    fn finished(&self, config: &VqganConfig, _: Option<&CodeRate>) -> (PgVqgan, VqganConfig) {
        (self.decoder.clone(), config.clone())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    #[test]
    fn a_fresh_one_paints_the_second_frame_of_a_pair_as_the_vqgan_does() {
        let device = Device::flex().autodiff();
        device.seed(3);
        let config = VqganConfig {
            ch: 32,
            multipliers: vec![1, 1],
            blocks: 1,
            z: 8,
            n_codes: 16,
            code_dim: 8,
        };
        let vqgan = materialize(config.init(&device));
        let guided = Guided::of(vqgan.clone(), &config, &device).valid();
        let range = Distribution::Uniform(-1.0, 1.0);
        let pixels = Tensor::<4>::random([4, 3, 8, 8], range, &device.without_autodiff());
        let second = Tensor::cat(
            vec![
                pixels.clone().narrow(0, 1, 1),
                pixels.clone().narrow(0, 3, 1),
            ],
            0,
        );
        let vqgan = vqgan.valid();
        let expected = vqgan.decode(vqgan.encode(second.clone()));
        let pairs = guided.pairs(pixels.clone());
        assert_eq!(pairs.frame.into_data(), second.into_data());
        assert_eq!(guided.paint(pixels, None).into_data(), expected.into_data());
    }
}
