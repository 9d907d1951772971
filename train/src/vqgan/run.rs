//! A training of stage one from its folder to its weights: made, gone on with, finished.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use burn::module::Module;
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::tensor::{Device, Tensor};
use nuwa_data::Picture;
use nuwa_data::augment::Pipeline;
use nuwa_data::dataset::{Deck, Entry, Prefetch};
use nuwa_model::checkpoint::{self, Header, Kind, Precision};
use nuwa_model::vqgan::Vqgan;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::codebook::{CodeUsage, revive};
use super::config::VqganRunConfig;
use super::discriminator::PatchDiscriminatorConfig;
use super::players::{Players, StepReport};
use super::source::Source;
use crate::checkpoints::{Checkpoint, Checkpoints};
use crate::ema;
use crate::log::{Log, Screen};
use crate::schedule::learning_rate;

/// Batches that may wait for the device.
const AHEAD: usize = 2;
/// Pictures that are shown going through the VQGAN.
const SHOWN: usize = 4;

const VQGAN: &str = "vqgan.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const ADVERSARY: &str = "adversary.bpk";
const ADVERSARY_OPTIMIZER: &str = "adversary-optimizer.bpk";
const AVERAGE: &str = "average.bpk";
const USAGE: &str = "usage.json";

/// What a training is about.
#[derive(Debug)]
pub struct VqganJob<'a> {
    /// Its numbers.
    pub config: &'a VqganRunConfig,
    /// Its folder.
    pub run: &'a Path,
    /// Its pictures and clips.
    pub entries: Vec<Entry>,
    /// Weights to begin with, if not random ones.
    pub first: Option<Vqgan>,
    /// Where to compute.
    pub device: &'a Device,
    /// Set when it is to end after the update at hand.
    pub stop: Arc<AtomicBool>,
    /// What people see.
    pub screen: Screen,
}

/// What a training came to.
#[derive(Debug, Clone, PartialEq)]
pub struct VqganOutcome {
    /// Updates of the whole run.
    pub updates: u64,
    /// How well the shown pictures come back, in dB.
    pub psnr_db: f64,
    /// Seconds of this process.
    pub seconds: f64,
    /// Share of the time that was spent waiting for data.
    pub waited: f64,
    /// Whether there is more to do.
    pub stopped: bool,
}

/// Trains until the config's updates are made or `stop` is set, from the newest whole checkpoint if
/// the run has one, and writes `vqgan` to the run.
///
/// # Errors
/// When the run cannot be read or written, a picture cannot be read, or a gradient is not finite;
/// checkpoints stay.
pub fn run(job: VqganJob) -> anyhow::Result<VqganOutcome> {
    let mut training = Training::open(job)?;
    let began = Instant::now();
    let mut source = training.source();
    let total = training.job.config.stage_one.updates;
    let make = move |number| source.batch(number);
    let mut batches = Prefetch::new(training.updates..total, AHEAD, make);
    while training.updates < total && !training.job.stop.load(Ordering::Relaxed) {
        let crops = batches.next().expect("one batch for each update")?;
        training.update(&crops, batches.waited())?;
    }
    let waited = batches.waited();
    drop(batches);
    if training.updates > training.saved {
        training.checkpoint()?;
    }
    let psnr_db = training.grid()?;
    training.save()?;
    training.job.screen.close();
    let seconds = began.elapsed().as_secs_f64();
    Ok(VqganOutcome {
        updates: training.updates,
        psnr_db,
        seconds,
        waited: waited.as_secs_f64() / seconds,
        stopped: training.updates < total,
    })
}

/// A training between two updates.
struct Training<'a> {
    job: VqganJob<'a>,
    device: Device,
    players: Players,
    average: Option<Vqgan>,
    checkpoints: Checkpoints,
    log: Log,
    shown: Vec<Picture>,
    updates: u64,
    /// Updates at the newest checkpoint.
    saved: u64,
    since_log: (Instant, Duration, Vec<StepReport>),
    since_checkpoint: (f64, u64),
}

impl<'a> Training<'a> {
    fn open(mut job: VqganJob<'a>) -> anyhow::Result<Self> {
        let (config, stage) = (job.config, &job.config.stage_one);
        job.device.seed(config.seed);
        let device = job.device.clone().autodiff();
        let fresh = job.first.is_none();
        let vqgan = match job.first.take() {
            Some(vqgan) => vqgan,
            None => crate::materialize::materialize(config.vqgan.init(&device)),
        };
        let adversary = PatchDiscriminatorConfig {
            width: stage.discriminator_width,
            ..PatchDiscriminatorConfig::default()
        };
        let loss = stage.loss.clone();
        let players = Players::new(vqgan, adversary, loss, config.vqgan.n_codes, &device);
        let checkpoints = Checkpoints::new(&job.run.join("checkpoints"), stage.keep);
        let newest = checkpoints.newest(|folder, error| {
            let folder = folder.display();
            let line = format!("{folder} is damaged ({error:#}); an older checkpoint is taken");
            job.screen.say(&line);
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
        training.players.clip = (stage.clip > 0.0).then_some(stage.clip);
        match newest {
            Some(checkpoint) => training.restore(&checkpoint)?,
            None if fresh => training.find_codes()?,
            None => {}
        }
        Ok(training)
    }

    fn source(&self) -> Source {
        let (config, stage) = (self.job.config, &self.job.config.stage_one);
        let entries = self.job.entries.clone();
        Source {
            deck: Deck::new(entries.len(), config.seed),
            entries,
            pipeline: Pipeline::standard(stage.crop_px),
            seed: config.seed,
            batch: stage.batch,
        }
    }

    /// Puts the codes of a fresh VQGAN where the latents of a batch are.
    fn find_codes(&mut self) -> anyhow::Result<()> {
        let crops = self.source().batch(0)?;
        self.revive(&Picture::stack(&crops, &self.device));
        Ok(())
    }

    /// Moves codes that were not chosen lately; keyed by the update, like everything that is drawn.
    fn revive(&mut self, pixels: &Tensor<4>) {
        let mut rng = StdRng::seed_from_u64(self.job.config.seed ^ self.updates.rotate_left(32));
        let latents = self.players.valid().latents(pixels.clone().inner());
        revive(
            &mut self.players.vqgan,
            &self.players.usage,
            latents,
            &mut rng,
        );
    }

    fn update(&mut self, crops: &[Picture], waited: Duration) -> anyhow::Result<()> {
        let stage = &self.job.config.stage_one;
        let (updates, total) = (self.updates as usize, stage.updates as usize);
        let rate = learning_rate(updates, total, stage.peak_rate, stage.warmup);
        let pixels = Picture::stack(crops, &self.device);
        let plays = updates >= stage.loss.gan_start_step;
        let report = self.players.step(pixels.clone(), rate, plays);
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
            self.players.usage = CodeUsage::new(self.job.config.vqgan.n_codes);
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
        let stage = &self.job.config.stage_one;
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
            ("codebook", of(&|report| Some(report.codebook.clone()))),
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

    fn checkpoint(&mut self) -> anyhow::Result<()> {
        let (sum, n) = std::mem::take(&mut self.since_checkpoint);
        let loss = (n > 0).then(|| sum / n as f64);
        let (players, average) = (&self.players, &self.average);
        self.checkpoints.save(self.updates, loss, |folder| {
            players
                .vqgan
                .clone()
                .into_record()
                .save(folder.join(VQGAN))?;
            players.adam.to_record().save(folder.join(OPTIMIZER))?;
            players
                .adversary
                .clone()
                .into_record()
                .save(folder.join(ADVERSARY))?;
            let optimizer = players.adversary_adam.to_record();
            optimizer.save(folder.join(ADVERSARY_OPTIMIZER))?;
            if let Some(average) = average {
                average.clone().into_record().save(folder.join(AVERAGE))?;
            }
            Ok(fs::write(
                folder.join(USAGE),
                serde_json::to_vec(&players.usage)?,
            )?)
        })?;
        self.saved = self.updates;
        Ok(())
    }

    fn restore(&mut self, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let folder = &checkpoint.folder;
        let module = |name| ModuleRecord::load(folder.join(name));
        let optimizer = |name| OptimizerRecord::load(folder.join(name));
        let mut read = || -> anyhow::Result<()> {
            let players = &mut self.players;
            players.vqgan = players.vqgan.clone().load_record(module(VQGAN)?);
            players.adam = players.adam.clone().load_record(optimizer(OPTIMIZER)?);
            players.adversary = players.adversary.clone().load_record(module(ADVERSARY)?);
            let adam = players.adversary_adam.clone();
            players.adversary_adam = adam.load_record(optimizer(ADVERSARY_OPTIMIZER)?);
            if let Some(average) = self.average.take() {
                self.average = Some(average.load_record(module(AVERAGE)?));
            }
            players.usage = serde_json::from_slice(&fs::read(folder.join(USAGE))?)?;
            Ok(())
        };
        read().with_context(|| folder.display().to_string())
    }

    /// Writes pictures above what comes back of them; gives the PSNR in dB.
    fn grid(&self) -> anyhow::Result<f64> {
        let vqgan = self.average.clone().unwrap_or_else(|| self.players.valid());
        let device = self.device.clone().without_autodiff();
        let px = self.shown[0].w();
        let mut grid = Picture::filled(px * self.shown.len(), 2 * px, [0; 3]);
        let mut sum = 0.0;
        for (column, picture) in self.shown.iter().enumerate() {
            let back = vqgan.decode(vqgan.encode(picture.to_tensor(&device)));
            let back = Picture::from_tensor(back).remove(0);
            sum += picture.psnr(&back);
            grid.paste(picture, px * column, 0);
            grid.paste(&back, px * column, px);
        }
        let folder = self.job.run.join("grids");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        grid.write(&folder.join(format!("{:09}.png", self.updates)))?;
        Ok(sum / self.shown.len() as f64)
    }

    /// Writes what tokenizes and decodes.
    fn save(&self) -> anyhow::Result<()> {
        let vqgan = self.average.clone().unwrap_or_else(|| self.players.valid());
        let header = Header {
            kind: Kind::Vqgan,
            licence: "that of the pictures it was trained on".into(),
            source: format!("trained on {}", self.job.config.data.display()),
            notes: None,
        };
        let folder = self.job.run.join("vqgan");
        checkpoint::save(
            &vqgan,
            &header,
            &self.job.config.vqgan,
            Precision::Half,
            &folder,
        )?;
        Ok(())
    }
}

/// Gives crops from the middle of the first pictures.
fn shown(job: &VqganJob) -> anyhow::Result<Vec<Picture>> {
    let px = job.config.stage_one.crop_px;
    let middle = |entry: &Entry| -> anyhow::Result<Picture> {
        let frame = nuwa_data::video::read_clip(&entry.path)?.swap_remove(0);
        let (w, h) = (frame.w(), frame.h());
        let name = entry.path.display();
        anyhow::ensure!(w.min(h) >= px, "{name} is smaller than a crop of {px} px");
        Ok(frame.crop((w - px) / 2, (h - px) / 2, px, px))
    };
    job.entries.iter().take(SHOWN).map(middle).collect()
}
