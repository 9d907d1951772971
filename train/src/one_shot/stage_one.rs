//! Stage one: the VQGAN, on crops of the picture.

use burn::module::Module;
use burn::tensor::Tensor;
use nuwa_data::Picture;
use nuwa_model::error::Error;
use nuwa_model::vqgan::{Vqgan, VqganConfig};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::crops::Crops;
use super::run::{Job, KeepTimer, Start};
use super::{Progress, Watch};
use crate::schedule::Clock;
use crate::vqgan::codebook::{CodeUsage, revive};
use crate::vqgan::discriminator::PatchDiscriminatorConfig;
use crate::vqgan::loss::VqganLossConfig;
use crate::vqgan::rate::{CodeRate, with_costs};
use crate::vqgan::{Painter, Players};

/// Crops whose latents a fresh codebook is put at.
const FIRST_CROPS: usize = 8;
/// Steps between two reports; each waits for the device.
const REPORT_EVERY: usize = 10;

/// Trains the VQGAN until the clock's budget is spent or the watch says stop.
///
/// Gives the weights off the graph, with the costs of its codes where they have some, and the number
/// of steps. `keep` writes weights now and then.
///
/// # Errors
/// The first error of `keep`, or gradients that are not finite.
pub(super) fn train(
    job: &Job,
    start: &Start,
    clock: &Clock,
    watch: &mut Watch,
    keep: impl Fn(&Vqgan) -> Result<(), Error>,
) -> anyhow::Result<(Vqgan, usize)> {
    let (config, stage) = (job.config, &job.config.stage_one);
    if config.stage_one_share == 0.0 {
        let vqgan = start.vqgan.valid();
        let vqgan = match &start.costs {
            Some(costs) => with_costs(vqgan, costs.clone()),
            None => vqgan,
        };
        return Ok((vqgan, 0));
    }
    let device = job.device.clone().autodiff();
    let mut rng = StdRng::seed_from_u64(config.seed);
    let mut crops = Crops::new(job.picture, stage.crop_px, config.upright, config.seed ^ 1);
    let adversary = PatchDiscriminatorConfig {
        width: stage.discriminator_width,
        depth: 3,
    };
    let loss = VqganLossConfig {
        beta: stage.beta,
        squared_weight: stage.squared_weight,
        perceptual_weight: 0.0,
        gan_weight: stage.gan_weight,
        gan_start_step: 0,
        balance_cap: stage.balance_cap,
    };
    let vqgan = start.vqgan.clone();
    let mut game = Players::new(vqgan, adversary, loss, config.vqgan.n_codes, &device);
    game.noise = stage.noise;
    if stage.rate_weight > 0.0 {
        game.rate = Some(CodeRate::new(stage.rate_weight, config.vqgan.n_codes));
    }
    if start.fresh {
        let crops = crops.take(FIRST_CROPS);
        let first = Picture::stack(&crops, &device.clone().without_autodiff());
        let latents = game.vqgan.valid().latents(first);
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
        sum = sum
            + game
                .step(pixels.clone(), rate, spent >= stage.gan_start)?
                .l1;
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
            keep(&finished(&game, &config.vqgan))?;
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
    Ok((finished(&game, &config.vqgan), steps))
}

/// Gives the VQGAN as it is used.
fn finished(game: &Players, config: &VqganConfig) -> Vqgan {
    game.valid().finished(config, game.rate.as_ref()).0
}
