//! The state of a training of a VQGAN between two updates.

use std::time::{Duration, Instant};

use anyhow::Context;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use nuwa_data::Picture;
use nuwa_data::augment::Pipeline;
use nuwa_data::dataset::{Deck, Entry};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rayon::ThreadPoolBuilder;

use super::codebook::{CodeUsage, revive};
use super::discriminator::PatchDiscriminatorConfig;
use super::painter::{Pace, Painter};
use super::perceptual::PerceptualDistance;
use super::players::{Players, StepReport};
use super::rate::CodeRate;
use super::run::VqganJob;
use super::source::{self, Source};
use crate::checkpoints::Checkpoints;
use crate::ema;
use crate::log::Log;
use crate::materialize::materialize;
use crate::schedule::learning_rate;

/// Samples that are shown going through the VQGAN.
const SHOWN: usize = 4;

/// A training between two updates.
pub(super) struct Training<'a, P> {
    pub(super) job: VqganJob<'a>,
    pub(super) device: Device,
    pub(super) players: Players<P>,
    pub(super) average: Option<P>,
    pub(super) checkpoints: Checkpoints,
    log: Log,
    /// Frames of each sample that is shown.
    pub(super) shown: Vec<Vec<Picture>>,
    pub(super) updates: u64,
    /// Updates at the newest checkpoint.
    pub(super) saved: u64,
    since_log: (Instant, Duration, Vec<StepReport>),
    pub(super) since_checkpoint: (f64, u64),
}

impl<'a, P: Painter> Training<'a, P> {
    pub(super) fn open(mut job: VqganJob<'a>) -> anyhow::Result<Self> {
        let (stage, architecture) = (job.stage, job.architecture);
        job.device.seed(job.seed);
        let device = job.device.clone().autodiff();
        let fresh = job.first.is_none();
        let vqgan = match job.first.take() {
            Some(vqgan) => vqgan,
            None => materialize(architecture.init(&device)),
        };
        let painter = P::of(vqgan, architecture, &device);
        let adversary = PatchDiscriminatorConfig {
            width: stage.discriminator_width,
            ..PatchDiscriminatorConfig::default()
        };
        let loss = stage.loss.clone();
        let players = Players::new(painter, adversary, loss, architecture.n_codes, &device);
        let checkpoints = Checkpoints::new(&job.run.join("checkpoints"), stage.keep);
        let newest = checkpoints.newest(|folder, error| {
            let folder = folder.display();
            let line = format!("{folder} is damaged ({error:#}); an older checkpoint is taken");
            job.screen.warn(&line);
        })?;
        let updates = newest.as_ref().map_or(0, |checkpoint| checkpoint.updates);
        let mut training = Self {
            log: Log::open(job.run, updates)?,
            shown: shown(&job)?,
            device,
            average: (stage.average > 0.0).then(|| players.valid()),
            players,
            checkpoints,
            updates,
            saved: updates,
            since_log: (Instant::now(), Duration::ZERO, Vec::new()),
            since_checkpoint: (0.0, 0),
            job,
        };
        if let Some(folder) = training
            .job
            .lpips
            .filter(|_| stage.loss.perceptual_weight > 0.0)
        {
            let distance = PerceptualDistance::load(folder, &training.device)?;
            training.players.perceptual = Some(distance);
        }
        training.players.clip = (stage.clip > 0.0).then_some(stage.clip);
        if stage.rate_weight > 0.0 {
            let rate = CodeRate::new(stage.rate_weight, architecture.n_codes);
            training.players.rate = Some(rate);
        }
        match newest {
            Some(checkpoint) => training.restore(&checkpoint)?,
            None if fresh => training.find_codes()?,
            None => {}
        }
        Ok(training)
    }

    pub(super) fn source(&self) -> anyhow::Result<Source> {
        let VqganJob { seed, stage, .. } = self.job;
        let entries = self.job.entries.clone();
        Ok(Source {
            deck: Deck::new(entries.len(), seed),
            entries,
            pipeline: Pipeline::standard(stage.crop_px),
            seed,
            batch: stage.batch,
            frames: self.job.frames,
            readers: ThreadPoolBuilder::new().build()?,
        })
    }

    /// Puts the codes of a fresh VQGAN where the latents of a batch are.
    fn find_codes(&mut self) -> anyhow::Result<()> {
        let crops = self.source()?.batch(0)?;
        self.revive(&Picture::stack(&crops, &self.device));
        Ok(())
    }

    /// Moves codes that were not chosen lately; keyed by the update, like everything that is drawn.
    fn revive(&mut self, pixels: &Tensor<4>) {
        let mut rng = StdRng::seed_from_u64(self.job.seed ^ self.updates.rotate_left(32));
        if let Some(vqgan) = self.players.vqgan.learns_codes() {
            let latents = vqgan.valid().latents(pixels.clone().inner());
            revive(vqgan, &self.players.usage, latents, &mut rng);
        }
    }

    pub(super) fn update(&mut self, crops: &[Picture], waited: Duration) -> anyhow::Result<()> {
        let stage = self.job.stage;
        let (updates, total) = (self.updates as usize, stage.updates as usize);
        let rate = learning_rate(updates, total, stage.peak_rate, stage.warmup);
        let pixels = Picture::stack(crops, &self.device);
        let pace = Pace {
            updates: self.updates,
            rate,
            adversarial: updates >= stage.loss.gan_start_step,
        };
        let report = P::step(&mut self.players, self.job.clips(pixels.clone()), pace);
        let report = report.with_context(|| format!("update {} was not made", updates + 1))?;
        self.updates += 1;
        if let Some(average) = self.average.take() {
            let vqgan = &self.players.vqgan;
            self.average = Some(ema::follow(average, vqgan, stage.average, self.updates - 1));
        }
        self.since_log.2.push(report);
        if self.updates.is_multiple_of(stage.log_every) {
            self.line(rate, waited)?;
        }
        if self.updates.is_multiple_of(stage.revive_every) {
            if self.updates < stage.revive_until {
                self.revive(&pixels);
            }
            self.players.usage = CodeUsage::new(self.job.architecture.n_codes);
        }
        if self.updates.is_multiple_of(stage.checkpoint_every) {
            self.checkpoint()?;
        }
        if self.updates.is_multiple_of(stage.grid_every) {
            self.grid()?;
        }
        Ok(())
    }

    fn line(&mut self, rate: f64, waited: Duration) -> anyhow::Result<()> {
        let (began, waited_before, reports) =
            std::mem::replace(&mut self.since_log, (Instant::now(), waited, Vec::new()));
        let seconds = began.elapsed().as_secs_f64();
        let n = reports.len() as f64;
        let mean = |numbers: Vec<Tensor<1>>| {
            let n = numbers.len() as f64;
            f64::from(Tensor::cat(numbers, 0).sum().into_scalar::<f32>()) / n
        };
        let of = |part: &dyn Fn(&StepReport) -> Option<Tensor<1>>| {
            let parts: Vec<_> = reports.iter().filter_map(part).collect();
            (!parts.is_empty()).then(|| mean(parts))
        };
        let l1 = of(&|report| Some(report.l1.clone())).expect("updates were made");
        let stage = self.job.stage;
        let crops = n * stage.batch as f64 / seconds;
        let used = self.players.usage.n_used();
        let mut values = vec![
            ("loss", l1),
            ("rate", rate),
            (
                "gradient_norm",
                reports
                    .iter()
                    .map(|report| report.gradient_norm)
                    .sum::<f64>()
                    / n,
            ),
            ("codes_used", used as f64),
            ("perplexity", self.players.usage.perplexity()),
            ("crops_per_second", crops),
            (
                "data_wait",
                (waited - waited_before).as_secs_f64() / seconds,
            ),
        ];
        let parts = [
            ("codebook", of(&|report| report.codebook.clone())),
            ("balance", of(&|report| report.balance.clone())),
            ("adversary", of(&|report| report.adversary.clone())),
        ];
        values.extend(
            parts
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        self.log.write(self.updates, &values)?;
        let (sum, count) = self.since_checkpoint;
        self.since_checkpoint = (sum + l1 * n, count + reports.len() as u64);
        let left = (stage.updates - self.updates) as f64 * seconds / n;
        let left = humantime::format_duration(Duration::from_secs(left as u64));
        let line = format!(
            "update {} of {}, L1 {l1:.4}, rate {rate:.1e}, {used} codes lately, {crops:.1} crops/s, \
             {left} left",
            self.updates, stage.updates
        );
        self.job
            .screen
            .show(self.updates as f64 / stage.updates as f64, line);
        Ok(())
    }
}

/// Gives crops from the middle of the first frames of the first pictures.
fn shown(job: &VqganJob) -> anyhow::Result<Vec<Vec<Picture>>> {
    let px = job.stage.crop_px;
    let middle = |entry: &Entry| -> anyhow::Result<Vec<Picture>> {
        let clip = source::read(entry, job.frames)?;
        let (w, h) = (clip[0].w(), clip[0].h());
        let name = entry.path.display();
        anyhow::ensure!(w.min(h) >= px, "{name} is smaller than a crop of {px} px");
        let crop = |frame: &Picture| frame.crop((w - px) / 2, (h - px) / 2, px, px);
        Ok(clip[..job.frames].iter().map(crop).collect())
    };
    job.entries.iter().take(SHOWN).map(middle).collect()
}
