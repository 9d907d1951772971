//! A training of stage two from its folder to its weights: made, gone on with, finished.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, bail};
use burn::data::dataloader::DataLoader;
use burn::module::Module;
use burn::tensor::Device;
use burn::train::metric::{LearningRateMetric, LossMetric};
use burn::train::renderer::tui::TuiMetricsRendererWrapper;
use burn::train::{Interrupter, Learner, SupervisedTraining, TrainingStrategy};
use nuwa_data::store::TokenStore;
use nuwa_model::device;
use nuwa_model::patch::Order;

use super::batch::RenderBatch;
use super::config::RenderRunConfig;
use super::first::{begun, fresh};
use super::keeper::{Inbox, Keeper, Place, WhenAsked, restore};
use super::loader::{HeldOut, Loader, Nothing};
use super::patience::Patience;
use super::run_watch::RunWatch;
use super::samples::{Paint, Samples, save};
use super::silent::Silent;
use super::source::Source;
use super::strategy::RenderAndOptimize;
use super::task::RenderTask;
use super::team::Meeting;
use crate::accelerator::Accelerator;
use crate::adam::Adam;
use crate::checkpoints::Checkpoints;
use crate::log::{Log, Screen};
use crate::schedule::{Budget, Clock, WarmupLinear};

/// Where the checkpoints of a run are.
const CHECKPOINTS: &str = "checkpoints";

/// Where its renderer is.
pub(super) const RENDERER: &str = "renderer";

/// Where its text tower is.
pub(super) const TEXT: &str = "text";

/// What a training is about.
#[derive(Debug)]
pub struct RenderJob<'a> {
    /// Its numbers.
    pub config: &'a RenderRunConfig,
    /// Its folder; `vqgan` is there already.
    pub run: &'a Path,
    /// Its tokens.
    pub store: TokenStore,
    /// Tokens of held-out records, if there are any.
    pub valid: Option<TokenStore>,
    /// Where to compute.
    pub device: &'a Device,
    /// Devices that share every batch with it, and how they meet.
    pub others: (Vec<Device>, Meeting),
    /// Set when it is to end after the picture at hand.
    pub stop: Arc<AtomicBool>,
    /// What people see.
    pub screen: Screen,
    /// Whether Burn's terminal screen shows it as well; standard output must be a terminal then.
    pub tui: bool,
    /// Paints samples every `stage_two.sample_every` updates.
    pub paint: Option<Paint>,
}

/// What a training came to.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOutcome {
    /// Updates of the whole run.
    pub updates: u64,
    /// Mean loss of the last batch.
    pub loss: Option<f64>,
    /// Seconds of this process.
    pub seconds: f64,
    /// Share of the time that was spent waiting for data.
    pub waited: f64,
    /// Why it is over.
    pub ending: Ending,
}

/// Why a training is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All updates are made.
    Done,
    /// It was told to; there is more to do.
    Stopped,
    /// Its held-out loss did not fall for too long.
    NoBetter {
        /// Updates that led to the best weights, which are painted with.
        best: u64,
    },
}

/// Trains until the config's updates are made or `stop` is set, from the newest whole checkpoint if
/// the run has one, and writes `renderer` (and `text`) to the run.
///
/// # Errors
/// When the run cannot be read or written, or a gradient is not finite; checkpoints stay.
pub fn run(job: RenderJob) -> anyhow::Result<RenderOutcome> {
    let began = Instant::now();
    let config = job.config;
    let stage = &config.stage_two;
    let grid = Source::grid(job.store.spec().tokens, config.renderer.patch);
    let grid = grid.map_err(anyhow::Error::msg)?;
    let n_patches = grid.count() as u64;
    let checkpoints = Checkpoints::new(&job.run.join(CHECKPOINTS), stage.keep);
    let newest = checkpoints.newest(|folder, error| {
        let line = format!(
            "{} is damaged ({error:#}); an older checkpoint is taken",
            folder.display()
        );
        job.screen.warn(&line);
    })?;
    let clock = Arc::new(Clock::start(Budget::Steps(stage.updates as usize)));
    let mut learner = first_learner(&job, &clock)?;
    let place = match &newest {
        Some(checkpoint) => restore(&mut learner, checkpoint)?,
        None => Place {
            updates: 0,
            batches: 0,
            average: None,
        },
    };
    let average = (stage.average > 0.0).then(|| {
        let weights = learner.model().valid();
        match place.average {
            Some(record) => weights.load_record(record),
            None => weights,
        }
    });
    let log = Log::open(job.run, place.updates)?;
    let best = checkpoints.best()?;
    let best = best.map(|(loss, checkpoint)| (loss, checkpoint.updates));
    let stretch = stage.checkpoint_every.div_ceil(n_patches).max(1);
    // What is left, in epochs of Burn's learner, which are stretches between two checkpoints.
    // None, if somebody has lowered the number of updates below those made.
    let stretches = stage.updates.div_ceil(n_patches).div_ceil(stretch);
    let stretches = stretches.saturating_sub(place.batches / stretch);
    let loader = Arc::new(Loader::new(
        Source::of_run(config, job.run, job.store, n_patches, job.device)?,
        stretch,
        place.batches,
    ));
    let valid: Arc<dyn DataLoader<RenderBatch>> = match job.valid {
        None => Arc::new(Nothing),
        Some(store) => {
            // Every order judges, however few the records are.
            let n = (store.n_records() / stage.batch).max(Order::ALL.len()) as u64;
            let source = Source::of_run(config, job.run, store, n_patches, job.device)?;
            Arc::new(HeldOut::new(source.held_out(), n))
        }
    };
    let keeper = Arc::new(Keeper::new(checkpoints));
    // Of all devices together, if all are known.
    let devices = std::iter::once(job.device).chain(&job.others.0);
    let peaks = devices.map(|device| {
        let known = Accelerator::of_description(&device::description(device));
        known.map(|accelerator| accelerator.peak(stage.precision))
    });
    let peak = peaks.sum();
    let interrupter = Interrupter::new();
    let samples = job.paint.map(|paint| Samples {
        config: config.clone(),
        run: job.run.to_owned(),
        paint,
    });
    let watch = Arc::new(RunWatch::new(
        config,
        grid,
        peak,
        (place.updates, best.filter(|_| config.valid.is_some())),
        average,
        log,
        job.screen,
        loader.clone(),
        keeper.clone(),
        (job.stop.clone(), interrupter.clone()),
        samples,
    ));
    let (others, meeting) = &job.others;
    let others = others
        .iter()
        .map(|device| config.training_device(device))
        .collect();
    let strategy = Arc::new(
        RenderAndOptimize::new(config.training_device(job.device), clock)
            .with(others, *meeting)
            .from(place.updates)
            .watched(watch.clone()),
    );
    let patience = Patience::new(&watch, stage.patience * stretch * n_patches);
    let lost = || patience.as_ref().and_then(Patience::lost);
    let mut task = learner.model().valid();
    if place.updates < stage.updates && lost().is_none() {
        let inbox = || Inbox(keeper.clone());
        let training = SupervisedTraining::new(job.run, loader.clone(), valid)
            .with_training_strategy(TrainingStrategy::Custom(strategy.clone()))
            .with_custom_checkpointers(inbox(), inbox(), inbox())
            .with_checkpointing_strategy(WhenAsked)
            .with_interrupter(interrupter.clone())
            .with_application_logger(None)
            .with_metric_logger(Silent)
            .num_epochs(stretches as usize);
        let training = match &patience {
            Some(patience) => training.early_stopping(patience.clone()),
            None => training,
        };
        let training = match job.tui {
            true => training
                .metric_train_numeric(LossMetric::new())
                .metric_train_numeric(LearningRateMetric::new())
                .renderer(Box::new(TuiMetricsRendererWrapper::new(interrupter, None))),
            false => training.renderer(Box::new(Silent)),
        };
        let result = training.launch(learner);
        if let Some(error) = strategy.failure() {
            let at = watch.updates() + 1;
            return Err(error).with_context(|| format!("update {at} was not made"));
        }
        if let Some(error) = result.error {
            bail!("{error}");
        }
        watch.result()?;
        task = result.model.valid();
    }
    let updates = watch.updates();
    let (ending, painting) = match lost() {
        Some(best) => (Ending::NoBetter { best }, keeper.best(task)?),
        None => {
            let ending = match updates < stage.updates {
                true => Ending::Stopped,
                false => Ending::Done,
            };
            (ending, watch.average().unwrap_or(task))
        }
    };
    save(config, job.run, painting)?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(RenderOutcome {
        updates,
        loss: watch.last_loss(),
        seconds,
        waited: loader.waited().as_secs_f64() / seconds,
        ending,
    })
}

fn first_learner(job: &RenderJob, clock: &Arc<Clock>) -> anyhow::Result<Learner<RenderTask>> {
    let (config, stage) = (job.config, &job.config.stage_two);
    job.device.seed(config.seed);
    let device = config.training_device(job.device);
    let (renderer, tower) = match &config.init_from {
        Some(first) => begun(config, first, &device)?,
        None => fresh(config, &job.run.join("vqgan"), &device)?,
    };
    let renderer = renderer.computing_in(stage.precision);
    let task = RenderTask::new(renderer, config.renderer.clone(), stage.smoothing)
        .with_text(tower)
        .with_clip((stage.clip > 0.0).then_some(stage.clip))
        .with_part((stage.part > 0).then_some(stage.part))
        .with_optimize(stage.optimize);
    let schedule = WarmupLinear::new(clock.clone(), stage.peak_rate, stage.warmup);
    Ok(Learner::new(task, Adam::default().init(), schedule))
}
