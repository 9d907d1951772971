//! Both players of the adversarial game, with their optimizers.

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Tensor};
use nuwa_model::vqgan::Vqgan;

use super::codebook::{CodeUsage, codes_on_host};
use super::discriminator::{PatchDiscriminator, PatchDiscriminatorConfig};
use super::loss::{GeneratorLoss, Perceptual, VqganLossConfig, discriminator_loss, loss_of_output};
use super::perceptual::PerceptualDistance;
use super::rate::CodeRate;
use crate::adam::Adam;
use crate::gradients::{self, NotFinite};
use crate::materialize::materialize;

/// The VQGAN, plain or pixel-guided, its adversary, and what they need between steps.
pub struct Players<P = Vqgan> {
    /// Weights of the parts of the loss.
    pub loss: VqganLossConfig,
    /// The perceptual distance, if its weights are there.
    pub perceptual: Option<PerceptualDistance>,
    /// Noise the encoder is to see through, in steps of a byte.
    pub noise: f64,
    /// Largest norm of all gradients of a player together.
    pub clip: Option<f64>,
    /// One player.
    pub vqgan: P,
    /// Its optimizer.
    pub adam: ModuleOptimizer,
    /// The other.
    pub adversary: PatchDiscriminator,
    /// Its optimizer.
    pub adversary_adam: ModuleOptimizer,
    /// Codes that were chosen since it was last emptied.
    pub usage: CodeUsage,
    /// What rare codes cost, if they cost more than frequent ones.
    pub rate: Option<CodeRate>,
}

/// What a step came to; all but the norm is still on the device.
#[derive(Debug)]
pub struct StepReport {
    /// Mean absolute error, `[1]`.
    pub l1: Tensor<1>,
    /// Distance between latents and codes, `[1]`, where these are trained.
    pub codebook: Option<Tensor<1>>,
    /// Weight of the adversarial term, `[1]`, while there is an adversary.
    pub balance: Option<Tensor<1>>,
    /// Loss of the adversary, `[1]`, while there is one.
    pub adversary: Option<Tensor<1>>,
    /// Norm of the VQGAN's gradients, before they were clipped.
    pub gradient_norm: f64,
}

impl<P: Module> Players<P> {
    /// Gives a VQGAN a fresh adversary on its device, and both optimizers (page §6: β 0.5 and 0.9).
    pub fn new(
        vqgan: P,
        adversary: PatchDiscriminatorConfig,
        loss: VqganLossConfig,
        n_codes: usize,
        device: &Device,
    ) -> Self {
        let adam = || {
            let adam = Adam {
                beta_1: 0.5,
                beta_2: 0.9,
                ..Adam::default()
            };
            adam.init()
        };
        Self {
            loss,
            perceptual: None,
            noise: 0.0,
            clip: None,
            vqgan,
            adam: adam(),
            adversary: materialize(adversary.init(device)),
            adversary_adam: adam(),
            usage: CodeUsage::new(n_codes),
            rate: None,
        }
    }

    /// Moves the VQGAN by its loss, and then its adversary if it plays.
    ///
    /// # Errors
    /// When a gradient is not finite; that player has not moved then.
    pub(super) fn play(
        &mut self,
        parts: GeneratorLoss,
        pixels: Tensor<4>,
        rate: f64,
        adversarial: bool,
    ) -> Result<StepReport, NotFinite> {
        let mut gradients = GradientsParams::from_grads(parts.loss.backward(), &self.vqgan);
        let gradient_norm = gradients::clip(&self.vqgan, &mut gradients, self.clip)?;
        let vqgan = self.vqgan.clone();
        self.vqgan = self.adam.step(rate, vqgan, gradients);
        self.usage.count(&codes_on_host(parts.codes));
        let mut report = StepReport {
            l1: parts.l1.inner(),
            codebook: parts.codebook.map(Tensor::inner),
            balance: parts.gan.map(|gan| gan.balance.inner()),
            adversary: None,
            gradient_norm,
        };
        if adversarial {
            let loss = discriminator_loss(&self.adversary, pixels, parts.reconstruction);
            report.adversary = Some(loss.clone().inner());
            let mut gradients = GradientsParams::from_grads(loss.backward(), &self.adversary);
            gradients::clip(&self.adversary, &mut gradients, self.clip)?;
            let adversary = self.adversary.clone();
            self.adversary = self.adversary_adam.step(rate, adversary, gradients);
        }
        Ok(report)
    }

    /// Gives the VQGAN off the graph.
    pub fn valid(&self) -> P {
        self.vqgan.valid()
    }
}

impl Players {
    /// Makes one step of the VQGAN, and one of its adversary if it plays.
    ///
    /// # Shapes
    /// `pixels`: `[b, 3, h, w]` in -1..1, on a device with gradients.
    ///
    /// # Errors
    /// When a gradient is not finite; that player has not moved then.
    pub fn step(
        &mut self,
        pixels: Tensor<4>,
        rate: f64,
        adversarial: bool,
    ) -> Result<StepReport, NotFinite> {
        let adversary = adversarial.then_some(&self.adversary);
        let seen = with_noise(pixels.clone(), self.noise);
        let (vqgan, loss) = (&self.vqgan, &self.loss);
        let codebook = || vqgan.quantize.embedding.weight.val().inner();
        let costs = self.rate.as_ref().map(|rate| rate.costs(codebook()));
        let output = vqgan.forward_at_costs(seen, loss.beta, costs);
        let parts = {
            let network = self.perceptual.as_ref();
            let distance = network.map(|network| |x, y| network.between(x, y));
            let perceptual = distance.as_ref().map(|distance| distance as Perceptual<'_>);
            loss_of_output(vqgan, output, adversary, pixels.clone(), loss, perceptual)
        };
        if let Some(rate) = &mut self.rate {
            rate.count(&codes_on_host(parts.codes.clone()));
        }
        self.play(parts, pixels, rate, adversarial)
    }
}

/// Adds Gaussian noise of a deviation given in steps of a byte to pixels in -1..1.
fn with_noise(pixels: Tensor<4>, deviation: f64) -> Tensor<4> {
    if deviation == 0.0 {
        return pixels;
    }
    let noise = pixels.random_like(Distribution::Normal(0.0, deviation / 127.5));
    pixels + noise
}
