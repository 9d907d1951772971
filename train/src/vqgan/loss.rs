//! Both sides of the adversarial game of stage one ("Taming Transformers", §3.1).

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::activation::relu;
use burn::tensor::{Int, Tensor};
use nuwa_model::vqgan::{Vqgan, VqganOutput};
use serde::{Deserialize, Serialize};

use super::discriminator::PatchDiscriminator;

/// Added to the norm that the adaptive weight divides by.
const BALANCE_EPSILON: f64 = 1e-4;

/// A distance of pictures, one number per picture: `[b, 3, h, w]` twice to `[b]`.
pub type Perceptual<'a> = &'a dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<1>;

/// Weights of the parts of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VqganLossConfig {
    /// Weight of the commitment term, the one that moves the encoder.
    pub beta: f64,
    /// Weight of the mean squared error.
    ///
    /// ours, 0 elsewhere: where most of a picture is dark, the mean absolute error alone leaves the
    /// few bright things pale; squared, they count for what they are.
    pub squared_weight: f64,
    /// Weight of the perceptual distance, where there is one.
    pub perceptual_weight: f64,
    /// Weight of the adversarial term, on top of the adaptive one.
    pub gan_weight: f64,
    /// Step from which on there is an adversary.
    pub gan_start_step: usize,
    /// Largest adaptive weight of the adversarial term.
    pub balance_cap: f64,
}

impl Default for VqganLossConfig {
    fn default() -> Self {
        Self {
            beta: 0.25,
            squared_weight: 0.0,
            perceptual_weight: 1.0,
            gan_weight: 0.8,
            gan_start_step: 0,
            balance_cap: 1e4,
        }
    }
}

/// Parts of the generator's loss. All but `loss` are detached.
#[derive(Debug)]
pub struct GeneratorLoss {
    /// What to call `backward` on.
    pub loss: Tensor<1>,
    /// Mean absolute error.
    pub l1: Tensor<1>,
    /// Distance between latents and codes, where these are trained.
    pub codebook: Option<Tensor<1>>,
    /// The adversarial part, when there is an adversary.
    pub gan: Option<GanTerm>,
    /// The picture as it came back, `[b, 3, h, w]`.
    pub reconstruction: Tensor<4>,
    /// The chosen codes, `[b, h, w]`.
    pub codes: Tensor<3, Int>,
}

/// The adversarial part of the generator's loss.
#[derive(Debug)]
pub struct GanTerm {
    /// Minus the mean logit of the reconstruction.
    pub gan: Tensor<1>,
    /// Its weight: the adaptive one, capped, times `gan_weight`.
    pub balance: Tensor<1>,
}

/// Gives the loss of the generator, against an adversary if there is one yet.
///
/// `seen` is what is encoded, `pixels` what shall come back: the same, or, for an encoder that is
/// to ignore noise, the one with noise added.
///
/// # Shapes
/// `seen`, `pixels`: `[b, 3, h, w]` in -1..1, sides multiples of the stride.
pub fn generator_loss(
    vqgan: &Vqgan,
    discriminator: Option<&PatchDiscriminator>,
    seen: Tensor<4>,
    pixels: Tensor<4>,
    config: &VqganLossConfig,
    perceptual: Option<Perceptual<'_>>,
) -> GeneratorLoss {
    let output = vqgan.forward(seen, config.beta);
    loss_of_output(vqgan, output, discriminator, pixels, config, perceptual)
}

/// Gives the loss of what the VQGAN gave.
pub fn loss_of_output(
    vqgan: &Vqgan,
    output: VqganOutput,
    discriminator: Option<&PatchDiscriminator>,
    pixels: Tensor<4>,
    config: &VqganLossConfig,
    perceptual: Option<Perceptual<'_>>,
) -> GeneratorLoss {
    let painted = Painted {
        picture: output.reconstruction.clone(),
        last_features: output.last_features,
        last_conv: &vqgan.decoder.conv_out,
    };
    let PictureLoss { loss, l1, gan } =
        picture_loss(painted, discriminator, pixels, config, perceptual);
    GeneratorLoss {
        loss: loss + output.codebook_loss.clone(),
        l1,
        codebook: Some(output.codebook_loss.detach()),
        gan,
        reconstruction: output.reconstruction.detach(),
        codes: output.codes,
    }
}

/// A picture, and what it was made from.
#[derive(Debug)]
pub struct Painted<'a> {
    /// The picture, `[b, 3, h, w]`, not clamped.
    pub picture: Tensor<4>,
    /// What the last convolution made it from.
    pub last_features: Tensor<4>,
    /// The last convolution.
    pub last_conv: &'a Conv2d,
}

/// The part of the generator's loss that looks at the picture. All but `loss` are detached.
#[derive(Debug)]
pub struct PictureLoss {
    /// What to call `backward` on.
    pub loss: Tensor<1>,
    /// Mean absolute error.
    pub l1: Tensor<1>,
    /// The adversarial part, when there is an adversary.
    pub gan: Option<GanTerm>,
}

/// Gives the loss of a painted picture, against an adversary if there is one yet.
///
/// The adversary's term is weighed so that its gradient at the last convolution is as large as
/// that of the reconstruction term. The graph is cut at the picture y: both terms are
/// differentiated up to y only, their gradients there give those of the last convolution, and
/// `loss` carries their weighed sum on from y. So the network is walked back once, as without an
/// adversary; beyond the adversary itself the weight costs two weight gradients of the last
/// convolution. The adversary's own weights get no gradient.
///
/// # Shapes
/// `pixels`, the true picture: `[b, 3, h, w]` in -1..1.
pub fn picture_loss(
    painted: Painted<'_>,
    discriminator: Option<&PatchDiscriminator>,
    pixels: Tensor<4>,
    config: &VqganLossConfig,
    perceptual: Option<Perceptual<'_>>,
) -> PictureLoss {
    let Some(discriminator) = discriminator else {
        let (l1, nll) = reconstruction_loss(painted.picture, pixels, config, perceptual);
        return PictureLoss {
            loss: nll,
            l1: l1.detach(),
            gan: None,
        };
    };
    let y = painted.picture.clone().detach().require_grad();
    let gradient_at_y = |term: &Tensor<1>| {
        let gradient = y.grad(&term.clone().backward());
        Tensor::<4>::from_inner(gradient.expect("both terms depend on the picture"))
    };
    let (l1, nll) = reconstruction_loss(y.clone(), pixels, config, perceptual);
    let nll_at_y = gradient_at_y(&nll);
    let gan = -discriminator.clone().no_grad().forward(y.clone()).mean();
    let gan_at_y = gradient_at_y(&gan);

    let share =
        painted.gradient_norm(&nll_at_y) / (painted.gradient_norm(&gan_at_y) + BALANCE_EPSILON);
    let balance = share.clamp(0.0, config.balance_cap) * config.gan_weight;

    let at_y = nll_at_y + gan_at_y * balance.clone().reshape([1, 1, 1, 1]);
    let carrier = (painted.picture * at_y).sum();
    let value = nll.detach() + gan.clone().detach() * balance.clone();
    PictureLoss {
        // Value of the weighed sum, gradient of the carrier.
        loss: carrier.clone() + (value - carrier.detach()),
        l1: l1.detach(),
        gan: Some(GanTerm {
            gan: gan.detach(),
            balance,
        }),
    }
}

/// Gives the mean absolute error, alone and with the squared error and the perceptual distance.
fn reconstruction_loss(
    y: Tensor<4>,
    pixels: Tensor<4>,
    config: &VqganLossConfig,
    perceptual: Option<Perceptual<'_>>,
) -> (Tensor<1>, Tensor<1>) {
    let error = pixels.clone() - y.clone();
    let l1 = error.clone().abs().mean();
    let mut nll = l1.clone();
    if config.squared_weight > 0.0 {
        nll = nll + error.square().mean() * config.squared_weight;
    }
    if let Some(distance) = perceptual {
        nll = nll + distance(pixels, y).mean() * config.perceptual_weight;
    }
    (l1, nll)
}

impl Painted<'_> {
    /// Gives the norm of the gradient of the last convolution's weight, for a gradient at the
    /// picture.
    fn gradient_norm(&self, at_picture: &Tensor<4>) -> Tensor<1> {
        let mut last = self.last_conv.clone();
        last.weight = last.weight.map(|weight| weight.detach().require_grad());
        last.bias = None;
        let picture = last.forward(self.last_features.clone().detach());
        let gradients = (picture * at_picture.clone()).sum().backward();
        let gradient = last.weight.val().grad(&gradients);
        let gradient = gradient.expect("the picture depends on the last convolution");
        Tensor::from_inner(gradient.square().sum().sqrt())
    }
}

/// Gives the hinge loss of the adversary on real pictures and their reconstructions.
///
/// # Shapes
/// `[b, 3, h, w]` each; `reconstruction` is detached here.
pub fn discriminator_loss(
    discriminator: &PatchDiscriminator,
    pixels: Tensor<4>,
    reconstruction: Tensor<4>,
) -> Tensor<1> {
    let real = relu(-discriminator.forward(pixels) + 1.0).mean();
    let fake = relu(discriminator.forward(reconstruction.detach()) + 1.0).mean();
    (real + fake) * 0.5
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tolerance};
    use nuwa_model::vqgan::VqganConfig;

    use super::super::discriminator::PatchDiscriminatorConfig;
    use super::*;

    struct Game {
        vqgan: Vqgan,
        discriminator: PatchDiscriminator,
        pixels: Tensor<4>,
    }

    fn game() -> Game {
        let device = Device::flex().autodiff();
        device.seed(5);
        let config = VqganConfig {
            ch: 32,
            multipliers: vec![1, 1],
            blocks: 1,
            z: 6,
            n_codes: 10,
            code_dim: 4,
        };
        let range = Distribution::Uniform(-1.0, 1.0);
        Game {
            vqgan: crate::materialize::materialize(config.init(&device)),
            discriminator: crate::materialize::materialize(
                PatchDiscriminatorConfig { width: 4, depth: 2 }.init(&device),
            ),
            pixels: Tensor::random([2, 3, 16, 16], range, &device),
        }
    }

    fn number(value: &Tensor<1>) -> f32 {
        value.clone().into_scalar()
    }

    fn encoder_gradient(game: &Game, loss: &Tensor<1>) -> Tensor<4> {
        let weight = game.vqgan.quant_conv.weight.val();
        weight
            .grad(&loss.backward())
            .expect("the encoder is trained")
    }

    /// The whole loss as one graph, with the weight of the adversary given.
    fn in_one_graph(game: &Game, balance: f32) -> Tensor<1> {
        let output = game.vqgan.forward(game.pixels.clone(), 0.25);
        let l1 = (game.pixels.clone() - output.reconstruction.clone())
            .abs()
            .mean();
        let gan = -game.discriminator.forward(output.reconstruction).mean();
        l1 + gan * balance + output.codebook_loss
    }

    #[test]
    fn cutting_the_graph_changes_neither_loss_nor_gradient() {
        let game = game();
        let config = VqganLossConfig::default();
        let adversary = Some(&game.discriminator);
        let cut = generator_loss(
            &game.vqgan,
            adversary,
            game.pixels.clone(),
            game.pixels.clone(),
            &config,
            None,
        );
        let balance = number(&cut.gan.as_ref().expect("there is an adversary").balance);
        assert!(balance > 0.0);
        let whole = in_one_graph(&game, balance);
        assert!((number(&cut.loss) - number(&whole)).abs() < 1e-5);
        let (found, expected) = (
            encoder_gradient(&game, &cut.loss),
            encoder_gradient(&game, &whole),
        );
        let tolerance = Tolerance::relative(1e-3).set_absolute(1e-7);
        found
            .into_data()
            .assert_approx_eq::<f32>(&expected.into_data(), tolerance);
    }

    #[test]
    fn the_weight_of_the_adversary_is_capped() {
        let game = game();
        let balance = |balance_cap| {
            let config = VqganLossConfig {
                balance_cap,
                ..VqganLossConfig::default()
            };
            let adversary = Some(&game.discriminator);
            let loss = generator_loss(
                &game.vqgan,
                adversary,
                game.pixels.clone(),
                game.pixels.clone(),
                &config,
                None,
            );
            number(&loss.gan.expect("there is an adversary").balance)
        };
        let free = balance(1e4);
        assert!(free > 0.008, "{free}");
        assert!((balance(0.01) - 0.008).abs() < 1e-6);
    }

    #[test]
    fn perceptual_distance_counts_by_its_weight() {
        let game = game();
        let loss = |perceptual_weight, distance: Option<Perceptual<'_>>| {
            let config = VqganLossConfig {
                perceptual_weight,
                ..VqganLossConfig::default()
            };
            number(
                &generator_loss(
                    &game.vqgan,
                    None,
                    game.pixels.clone(),
                    game.pixels.clone(),
                    &config,
                    distance,
                )
                .loss,
            )
        };
        let far = |x: Tensor<4>, _: Tensor<4>| Tensor::ones([x.dims()[0]], &x.device()) * 3.0;
        let plain = loss(0.5, None);
        assert!((loss(0.5, Some(&far)) - plain - 1.5).abs() < 1e-5);
    }

    #[test]
    fn the_adversary_is_led_back_to_but_not_trained_by_the_generator() {
        let game = game();
        let config = VqganLossConfig::default();
        let adversary = Some(&game.discriminator);
        let loss = generator_loss(
            &game.vqgan,
            adversary,
            game.pixels.clone(),
            game.pixels.clone(),
            &config,
            None,
        );
        let gradients = loss.loss.backward();
        let trained = burn::optim::GradientsParams::from_grads(gradients, &game.discriminator);
        assert!(trained.is_empty());
        let hinge = discriminator_loss(&game.discriminator, game.pixels, loss.reconstruction);
        let trained =
            burn::optim::GradientsParams::from_grads(hinge.backward(), &game.discriminator);
        assert!(!trained.is_empty());
    }
}
