//! Stage one: the VQGAN, on crops of the picture.

use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Distribution, Tensor};
use nuwa_data::Picture;
use nuwa_model::error::Error;
use nuwa_model::vqgan::Vqgan;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::crops::Crops;
use super::run::{Job, KeepTimer, Start};
use super::{Progress, Watch};
use crate::adam::Adam;
use crate::materialize::materialize;
use crate::schedule::Clock;
use crate::vqgan::codebook::{CodeUsage, codes_on_host, revive};
use crate::vqgan::discriminator::{PatchDiscriminator, PatchDiscriminatorConfig};
use crate::vqgan::loss::{VqganLossConfig, discriminator_loss, generator_loss};

/// Steps between two reports; each waits for the device.
const REPORT_EVERY: usize = 10;

/// Both players and what they need between steps.
struct Game {
    loss: VqganLossConfig,
    noise: f64,
    vqgan: Vqgan,
    adam: ModuleOptimizer,
    adversary: PatchDiscriminator,
    adversary_adam: ModuleOptimizer,
    usage: CodeUsage,
}

/// Trains the VQGAN until the clock's budget is spent or the watch says stop.
///
/// Gives the weights off the graph, and the number of steps. `keep` writes weights now and then.
///
/// # Errors
/// The first error of `keep`.
pub(super) fn train(
    job: &Job,
    start: &Start,
    clock: &Clock,
    watch: &mut Watch,
    keep: impl Fn(&Vqgan) -> Result<(), Error>,
) -> Result<(Vqgan, usize), Error> {
    let (config, stage) = (job.config, &job.config.stage_one);
    if config.stage_one_share == 0.0 {
        return Ok((start.vqgan.valid(), 0));
    }
    let device = job.device.clone().autodiff();
    let mut rng = StdRng::seed_from_u64(config.seed);
    let mut crops = Crops::new(job.picture, stage.crop_px, config.upright, config.seed ^ 1);
    let adam = || {
        let adam = Adam {
            beta_1: 0.5,
            beta_2: 0.9,
            ..Adam::default()
        };
        adam.init()
    };
    let adversary = PatchDiscriminatorConfig {
        width: stage.discriminator_width,
        depth: 3,
    };
    let mut game = Game {
        loss: VqganLossConfig {
            beta: stage.beta,
            squared_weight: stage.squared_weight,
            perceptual_weight: 0.0,
            gan_weight: stage.gan_weight,
            gan_start_step: 0,
            balance_cap: stage.balance_cap,
        },
        noise: stage.noise,
        vqgan: start.vqgan.clone(),
        adam: adam(),
        adversary: materialize(adversary.init(&device)),
        adversary_adam: adam(),
        usage: CodeUsage::new(config.vqgan.n_codes),
    };
    if start.fresh {
        let first = Picture::stack(&crops.take(stage.batch), &device);
        let latents = game.vqgan.valid().latents(first.inner());
        revive(&mut game.vqgan, &game.usage, latents, &mut rng);
    }
    let mut timer = KeepTimer::start();
    let (mut steps, mut sum) = (
        0,
        Tensor::<1>::zeros([1], &device.clone().without_autodiff()),
    );
    let mut note = String::new();
    while clock.spent(steps) < 1.0 && !watch.stopped() {
        let spent = clock.spent(steps);
        let rate = clock.rate(steps, stage.peak_rate, stage.warmup);
        let pixels = Picture::stack(&crops.take(stage.batch), &device);
        sum = sum + game.step(pixels.clone(), rate, spent >= stage.gan_start);
        steps += 1;
        if steps % stage.revive_every == 0 {
            let used = game.usage.n_used();
            note = format!("{used} of {} codes in use", config.vqgan.n_codes);
            if spent < stage.revive_until {
                let latents = game.vqgan.valid().latents(pixels.inner());
                revive(&mut game.vqgan, &game.usage, latents, &mut rng);
            }
            game.usage = CodeUsage::new(config.vqgan.n_codes);
        }
        if timer.is_due() {
            keep(&game.vqgan.valid())?;
        }
        if steps % REPORT_EVERY == 0 {
            let loss = f64::from(sum.clone().into_scalar::<f32>()) / REPORT_EVERY as f64;
            sum = sum.zeros_like();
            let (spent, elapsed) = (clock.spent(steps), clock.elapsed());
            let note = note.clone();
            (watch.report)(Progress {
                stage: 1,
                steps,
                spent,
                elapsed,
                loss,
                rate,
                note,
            });
        }
    }
    Ok((game.vqgan.valid(), steps))
}

/// Adds Gaussian noise of a deviation given in steps of a byte to pixels in -1..1.
fn with_noise(pixels: Tensor<4>, deviation: f64) -> Tensor<4> {
    if deviation == 0.0 {
        return pixels;
    }
    let noise = pixels.random_like(Distribution::Normal(0.0, deviation / 127.5));
    pixels + noise
}

impl Game {
    /// One step of both players; gives the mean absolute error, still on the device.
    fn step(&mut self, pixels: Tensor<4>, rate: f64, adversarial: bool) -> Tensor<1> {
        let adversary = adversarial.then_some(&self.adversary);
        let seen = with_noise(pixels.clone(), self.noise);
        let parts = generator_loss(
            &self.vqgan,
            adversary,
            seen,
            pixels.clone(),
            &self.loss,
            None,
        );
        let gradients = GradientsParams::from_grads(parts.loss.backward(), &self.vqgan);
        let vqgan = self.vqgan.clone();
        self.vqgan = self.adam.step(rate, vqgan, gradients);
        self.usage.count(&codes_on_host(parts.codes));
        if adversarial {
            let loss = discriminator_loss(&self.adversary, pixels, parts.reconstruction);
            let gradients = GradientsParams::from_grads(loss.backward(), &self.adversary);
            let adversary = self.adversary.clone();
            self.adversary = self.adversary_adam.step(rate, adversary, gradients);
        }
        parts.l1.inner()
    }
}
