//! What happens around the updates of a run: averaging, logging, checkpoints, the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::train::Interrupter;
use nuwa_model::device;
use nuwa_model::patch::GridSize;

use super::config::RenderRunConfig;
use super::cost::Cost;
use super::keeper::{Aside, Keeper};
use super::loader::Loader;
use super::samples::Samples;
use super::task::RenderTask;
use super::watch::{Update, Watch};
use crate::ema;
use crate::log::{Log, Screen};

/// Watches a run.
pub(super) struct RunWatch {
    total: u64,
    decay: f64,
    log_every: u64,
    /// Whether held-out records tell which weights are the best.
    judged: bool,
    tokens_per_update: u64,
    /// Floating-point operations of an update.
    flops: f64,
    loader: Arc<Loader>,
    keeper: Arc<Keeper>,
    /// Operations a second that the devices could do, if that is known.
    peak: Option<f64>,
    samples: Option<Samples>,
    /// Set by the user, and what then tells the learner.
    stop: (Arc<AtomicBool>, Interrupter),
    state: Mutex<State>,
}

struct State {
    updates: u64,
    average: Option<RenderTask>,
    log: Log,
    screen: Screen,
    since_log: Since,
    since_checkpoint: (f64, u64),
    last_loss: Option<f64>,
    /// Mean loss of held-out records when they were last rendered.
    valid_loss: Option<f64>,
    /// The lowest one of the run, and the updates that led to it.
    best: Option<(f64, u64)>,
    failure: Option<anyhow::Error>,
}

/// What has gathered since the last line of the log.
struct Since {
    began: Instant,
    waited: Duration,
    /// Losses and how many, of each position of the route.
    losses: Vec<(f64, u64)>,
}

impl RunWatch {
    #[expect(
        clippy::too_many_arguments,
        reason = "it joins the parts of a run, once"
    )]
    pub(super) fn new(
        config: &RenderRunConfig,
        grid: GridSize,
        peak: Option<f64>,
        (updates, best): (u64, Option<(f64, u64)>),
        average: Option<RenderTask>,
        log: Log,
        screen: Screen,
        loader: Arc<Loader>,
        keeper: Arc<Keeper>,
        stop: (Arc<AtomicBool>, Interrupter),
        samples: Option<Samples>,
    ) -> Self {
        let stage = &config.stage_two;
        let state = State {
            updates,
            average,
            log,
            screen,
            since_log: Since {
                began: Instant::now(),
                waited: Duration::ZERO,
                losses: Vec::new(),
            },
            since_checkpoint: (0.0, 0),
            last_loss: None,
            valid_loss: None,
            best,
            failure: None,
        };
        Self {
            total: stage.updates,
            decay: stage.average,
            log_every: stage.log_every,
            judged: config.valid.is_some(),
            flops: Cost::of(&config.renderer, grid, stage.precision).flops * stage.batch as f64,
            tokens_per_update: (stage.batch * config.renderer.tokens_per_patch()) as u64,
            loader,
            keeper,
            peak,
            samples,
            stop,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Gives the updates that were made in all.
    pub(super) fn updates(&self) -> u64 {
        self.state().updates
    }

    /// Gives the lowest held-out loss, and the updates that led to it, if there are held-out records.
    pub(super) fn best(&self) -> Option<(f64, u64)> {
        self.state().best
    }

    /// Gives the averaged weights, if there are any.
    pub(super) fn average(&self) -> Option<RenderTask> {
        self.state().average.clone()
    }

    /// Gives the mean loss that was logged last.
    pub(super) fn last_loss(&self) -> Option<f64> {
        self.state().last_loss
    }

    /// Gives what went wrong with the log, if anything, and takes the bar away.
    pub(super) fn result(&self) -> anyhow::Result<()> {
        let mut state = self.state();
        state.screen.close();
        state.failure.take().map_or(Ok(()), Err)
    }

    fn line(&self, state: &mut State, update: &Update) -> anyhow::Result<()> {
        let seconds = state.since_log.began.elapsed().as_secs_f64();
        let waited = self.loader.waited();
        let all = state.since_log.losses.iter();
        let (sum, n) = all.fold((0.0, 0), |(sum, n), loss| (sum + loss.0, n + loss.1));
        let loss = sum / n as f64;
        let wait = (waited - state.since_log.waited).as_secs_f64() / seconds;
        let speed = (n * self.tokens_per_update) as f64 / seconds;
        let mut values = vec![
            ("loss", loss),
            ("rate", update.rate),
            ("tokens_per_second", speed),
            ("tflop_per_second", n as f64 * self.flops / seconds / 1e12),
            ("data_wait", wait),
        ];
        if let Some(peak) = self.peak {
            // Model FLOPs utilization (Chowdhery et al., 2022).
            values.push(("mfu", n as f64 * self.flops / seconds / peak));
        }
        if let Some(norm) = update.patch.gradient_norm {
            values.push(("gradient_norm", norm));
        }
        let memory = [
            ("rss_bytes", device::resident_bytes()),
            (
                "device_bytes",
                device::reserved_bytes(&update.patch.loss.device()),
            ),
        ];
        let known = memory
            .into_iter()
            .filter_map(|(name, bytes)| Some((name, bytes? as f64)));
        values.extend(known);
        let names: Vec<String> = (0..state.since_log.losses.len())
            .map(|position| format!("loss_of_patch/{position:03}"))
            .collect();
        let losses = names.iter().zip(&state.since_log.losses);
        values.extend(
            losses
                .filter(|(_, (_, n))| *n > 0)
                .map(|(name, (sum, n))| (name.as_str(), sum / *n as f64)),
        );
        state.log.write(update.updates, &values)?;
        state.last_loss = Some(loss);
        state.since_log = Since {
            began: Instant::now(),
            waited,
            losses: Vec::new(),
        };
        let left = self.total.saturating_sub(update.updates) as f64 * seconds / n as f64;
        let left = humantime::format_duration(Duration::from_secs(left as u64));
        let line = format!(
            "update {} of {}, loss {loss:.4}, rate {:.1e}, {speed:.0} tokens/s, {left} left",
            update.updates, self.total, update.rate
        );
        let done = update.updates as f64 / self.total as f64;
        state.screen.show(done, line);
        Ok(())
    }
}

impl Watch for RunWatch {
    fn updated(&self, update: &Update) {
        let state = &mut *self.state();
        state.updates = update.updates;
        if let Some(average) = state.average.take() {
            let next = ema::follow(average, update.task, self.decay, update.updates - 1);
            state.average = Some(next);
        }
        let loss = f64::from(update.patch.loss.clone().into_scalar::<f32>());
        let position = update.patch.position;
        if state.since_log.losses.len() <= position {
            state.since_log.losses.resize(position + 1, (0.0, 0));
        }
        let of_position = &mut state.since_log.losses[position];
        *of_position = (of_position.0 + loss, of_position.1 + 1);
        let (sum, n) = state.since_checkpoint;
        state.since_checkpoint = (sum + loss, n + 1);
        let due = update.updates.is_multiple_of(self.log_every) || update.updates == self.total;
        if due && let Err(error) = self.line(state, update) {
            state.failure.get_or_insert(error);
            self.stop.1.stop(Some("the log cannot be written"));
        }
        let due = self
            .samples
            .as_ref()
            .filter(|it| it.are_due(update.updates));
        if let Some(samples) = due {
            let task = state.average.clone();
            let task = task.unwrap_or_else(|| update.task.valid());
            // A training is worth more than its samples.
            if let Err(error) = samples.take(update.updates, task) {
                let updates = update.updates;
                let line = format!("no sample after update {updates}: {error:#}");
                state.screen.warn(&line);
            }
        }
        if self.stop.0.load(Ordering::Relaxed) {
            self.stop.1.stop(Some("asked to"));
        }
    }

    fn judged(&self) -> Option<RenderTask> {
        self.average()
    }

    fn validated(&self, loss: f64) {
        let state = &mut *self.state();
        state.valid_loss = Some(loss);
        if state.best.is_none_or(|(best, _)| loss < best) {
            state.best = Some((loss, state.updates));
        }
        let line = format!("update {}, held-out loss {loss:.4}", state.updates);
        state.screen.say(&line);
        if let Err(error) = state.log.write(state.updates, &[("valid_loss", loss)]) {
            state.failure.get_or_insert(error);
            self.stop.1.stop(Some("the log cannot be written"));
        }
    }

    fn checkpointing(&self, updates: u64) {
        let mut state = self.state();
        let (sum, n) = std::mem::take(&mut state.since_checkpoint);
        let aside = Aside {
            average: state.average.clone(),
            batches: self.loader.given(),
            // A checkpoint between two judgements has none: losses in training are no measure for it.
            loss: match self.judged {
                true => state.valid_loss.take(),
                false => (n > 0).then(|| sum / n as f64),
            },
        };
        self.keeper.announce(updates, aside);
    }
}
