//! What the trainings of a plain and of a pixel-guided VQGAN differ in.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use nuwa_model::checkpoint::Kind;
use nuwa_model::vqgan::{Vqgan, VqganConfig};

use super::players::{Players, StepReport};
use super::rate::{CodeRate, with_costs};
use crate::gradients::NotFinite;

/// The player whose pictures the adversary judges: a [`Vqgan`], or [`Guided`](super::Guided).
pub trait Painter: Module {
    /// What it is used as afterwards.
    type Network: Module;
    /// The kind of that.
    const KIND: Kind;

    /// Gives the painter that begins with a VQGAN.
    fn of(vqgan: Vqgan, config: &VqganConfig, device: &Device) -> Self;

    /// Makes one step of it, and one of its adversary if it plays.
    ///
    /// # Shapes
    /// `clips`: `[b, f, 3, h, w]` in -1..1, frames that follow each other, on a device with
    /// gradients.
    ///
    /// # Errors
    /// When a gradient is not finite; that player has not moved then.
    fn step(
        players: &mut Players<Self>,
        clips: Tensor<5>,
        pace: Pace,
    ) -> Result<StepReport, NotFinite>;

    /// Gives what comes back of the last frame of each clip; `rate` says what codes cost, if they do.
    ///
    /// # Shapes
    /// `[b, f, 3, h, w]` in -1..1 to `[b, 3, h, w]`.
    fn paint(&self, clips: Tensor<5>, rate: Option<&CodeRate>) -> Tensor<4>;

    /// Gives the VQGAN whose codes move, if they do.
    fn learns_codes(&mut self) -> Option<&mut Vqgan>;

    /// Gives what is used afterwards, with its numbers; `config`: those of the training.
    fn finished(
        &self,
        config: &VqganConfig,
        rate: Option<&CodeRate>,
    ) -> (Self::Network, VqganConfig);
}

/// Where in a training a step is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Updates made before it.
    pub updates: u64,
    /// Learning rate of both players.
    pub rate: f64,
    /// Whether the adversary plays.
    pub adversarial: bool,
}

impl Painter for Vqgan {
    type Network = Self;
    const KIND: Kind = Kind::Vqgan;

    fn of(vqgan: Vqgan, _: &VqganConfig, _: &Device) -> Self {
        vqgan
    }

    fn step(players: &mut Players, clips: Tensor<5>, pace: Pace) -> Result<StepReport, NotFinite> {
        players.step(clips.squeeze_dim(1), pace.rate, pace.adversarial)
    }

    fn paint(&self, clips: Tensor<5>, rate: Option<&CodeRate>) -> Tensor<4> {
        let pixels = clips.squeeze_dim(1);
        let costs = rate.map(|rate| rate.costs(self.quantize.embedding.weight.val()));
        self.decode(self.quantize.cheapest(self.latents(pixels), costs))
    }

    fn learns_codes(&mut self) -> Option<&mut Vqgan> {
        Some(self)
    }

    fn finished(&self, config: &VqganConfig, rate: Option<&CodeRate>) -> (Self, VqganConfig) {
        let (vqgan, mut config) = (self.clone(), config.clone());
        let Some(rate) = rate else {
            return (vqgan, config);
        };
        let costs = rate.costs(vqgan.quantize.embedding.weight.val());
        config.code_dim += 1;
        (with_costs(vqgan, costs), config)
    }
}
