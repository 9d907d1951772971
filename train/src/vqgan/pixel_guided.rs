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
use super::painter::{Pace, Painter};
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

/// A frame to be painted, and what from; off the graph.
struct Following {
    /// The frame before, as a film has it: `[b, 3, h, w]` in -1..1.
    previous: Tensor<4>,
    /// The true frame, likewise.
    frame: Tensor<4>,
    /// Tokens of `frame`, `[b, h / stride, w / stride]`.
    codes: Tensor<3, Int>,
}

impl Guided {
    /// Gives the frame of clips before which, after a true one, `own` are decoded.
    ///
    /// # Shapes
    /// `clips`: `[b, f, 3, h, w]` in -1..1, off the graph, as this decoder must be.
    fn following(&self, clips: Tensor<5>, own: usize) -> Following {
        let at = |at: usize| clips.clone().narrow(1, at, 1).squeeze_dim::<4>(1);
        let later = clips.clone().narrow(1, 1, own + 1);
        let codes = self.tokenizer.encode(later.flatten(0, 1));
        let ([b, ..], [_, h, w]) = (clips.dims(), codes.dims());
        let codes = codes.reshape([b, own + 1, h, w]);
        let previous = match own {
            0 => at(0),
            _ => {
                let before = codes.clone().narrow(1, 0, own);
                let made = self.decoder.decode_video(before, Some(at(0)), None);
                made.narrow(1, own - 1, 1).squeeze_dim(1)
            }
        };
        Following {
            previous,
            frame: at(own + 1),
            codes: codes.narrow(1, own, 1).squeeze_dim(1),
        }
    }
}

impl Painter for Guided {
    type Network = PgVqgan;
    const KIND: Kind = Kind::PgVqgan;

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
        clips: Tensor<5>,
        pace: Pace,
    ) -> Result<StepReport, NotFinite> {
        let adversary = pace.adversarial.then_some(&players.adversary);
        let (device, [_, f, ..]) = (clips.device(), clips.dims());
        let own = (pace.updates % (f as u64 - 1)) as usize;
        let Following {
            previous,
            frame,
            codes,
        } = players.valid().following(clips.inner(), own);
        let (previous, frame) = (Tensor::from_inner(previous), Tensor::from_inner(frame));
        let codes = codes.to_device(&device);
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
        players.play(parts, frame, pace.rate, pace.adversarial)
    }

    fn paint(&self, clips: Tensor<5>, _: Option<&CodeRate>) -> Tensor<4> {
        let [_, f, ..] = clips.dims();
        let Following {
            previous, codes, ..
        } = self.following(clips, f - 2);
        self.decoder.decode_after(codes, previous)
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
    use crate::vqgan::discriminator::PatchDiscriminatorConfig;
    use crate::vqgan::loss::VqganLossConfig;

    fn config() -> VqganConfig {
        VqganConfig {
            ch: 32,
            multipliers: vec![1, 1],
            blocks: 1,
            z: 8,
            n_codes: 16,
            code_dim: 8,
        }
    }

    /// A decoder off the graph, and two clips of so many frames.
    fn place(frames: usize) -> (Vqgan, Guided, Tensor<5>) {
        let device = Device::flex().autodiff();
        device.seed(3);
        let vqgan = materialize(config().init(&device));
        let guided = Guided::of(vqgan.clone(), &config(), &device).valid();
        let range = Distribution::Uniform(-1.0, 1.0);
        let shape = [2, frames, 3, 8, 8];
        let clips = Tensor::random(shape, range, &device.without_autodiff());
        (vqgan.valid(), guided, clips)
    }

    fn frame(clips: &Tensor<5>, at: usize) -> Tensor<4> {
        clips.clone().narrow(1, at, 1).squeeze_dim(1)
    }

    #[test]
    fn a_fresh_one_paints_the_second_frame_of_a_pair_as_the_vqgan_does() {
        let (vqgan, guided, clips) = place(2);
        let expected = vqgan.decode(vqgan.encode(frame(&clips, 1)));
        assert_eq!(guided.paint(clips, None).into_data(), expected.into_data());
    }

    #[test]
    fn a_frame_follows_what_was_decoded_of_the_one_before() {
        let (vqgan, mut guided, clips) = place(4);
        // One that looks at the frame before.
        guided.decoder.guide = config().init_pixel_guided(&clips.device()).guide;
        for own in 0..3 {
            let found = guided.following(clips.clone(), own);
            let mut previous = frame(&clips, 0);
            for at in 1..=own {
                let codes = vqgan.encode(frame(&clips, at));
                let made = guided.decoder.decode_after(codes, previous.clone());
                previous = made.clamp(-1.0, 1.0);
                assert_ne!(previous.to_data(), frame(&clips, at).to_data());
            }
            let codes = vqgan.encode(frame(&clips, own + 1));
            assert_eq!(found.frame.into_data(), frame(&clips, own + 1).into_data());
            assert_eq!(found.codes.into_data(), codes.clone().into_data());
            assert_eq!(found.previous.into_data(), previous.clone().into_data());
            if own == 2 {
                let painted = guided.paint(clips.clone(), None);
                let expected = guided.decoder.decode_after(codes, previous);
                assert_eq!(painted.into_data(), expected.into_data());
            }
        }
    }

    #[test]
    fn updates_take_their_turns_from_the_first_frame_after_a_true_one_to_the_last() {
        let (vqgan, _, clips) = place(4);
        let device = Device::flex().autodiff();
        let fresh = materialize(config().init(&device)).load_record(vqgan.clone().into_record());
        for updates in 0..6 {
            let painter = Guided::of(fresh.clone(), &config(), &device);
            let adversary = PatchDiscriminatorConfig::default();
            let loss = VqganLossConfig::default();
            let mut players = Players::new(painter, adversary, loss, 16, &device);
            let pace = Pace {
                updates,
                rate: 1e-3,
                adversarial: false,
            };
            let clips_on_graph = Tensor::from_inner(clips.clone());
            let report = Guided::step(&mut players, clips_on_graph, pace).expect("finite");
            let frame = frame(&clips, updates as usize % 3 + 1);
            let off = vqgan.decode(vqgan.encode(frame.clone())) - frame;
            let l1 = |tensor: Tensor<1>| tensor.into_scalar::<f32>();
            let (found, expected) = (l1(report.l1), l1(off.abs().mean()));
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
    }
}
