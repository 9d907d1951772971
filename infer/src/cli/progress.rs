//! What is seen while a picture is painted, and how it is stopped.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};
use nuwa_model::device;

use super::args::Common;
use super::events::{self, Event};
use super::preview::Preview;
use crate::painting::{Painting, Progress};

/// Set when the user wants the painting to stop.
static STOP: AtomicBool = AtomicBool::new(false);

/// The progress of one painting.
pub(super) struct Watch {
    bar: ProgressBar,
    json: bool,
    n_open: usize,
    n_written: usize,
    tokens_per_patch: usize,
    start: Instant,
    /// Time since then that was not spent on painting.
    aside: Duration,
    preview: Option<Preview>,
}

impl Watch {
    /// Starts watching. From now on an interruption ends the painting after the wave in flight.
    pub(super) fn start(paintings: &[Painting], common: &Common, preview: Option<Preview>) -> Self {
        // Fails only when a handler is there already: that of an earlier painting in this process.
        let _ = ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed));
        STOP.store(false, Ordering::Relaxed);
        let n_open = paintings.iter().map(Painting::n_open).sum();
        let bar = match common.is_quiet() {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(n_open as u64),
        };
        let template = "[{bar:40}] patch {pos} of {len}, {msg}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("a fixed template"));
        Self {
            bar,
            json: common.json,
            n_open,
            n_written: 0,
            tokens_per_patch: paintings[0].header.model.patch.count(),
            start: Instant::now(),
            aside: Duration::ZERO,
            preview,
        }
    }

    /// Takes note of a wave; tells whether to stop after it.
    pub(super) fn see(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.n_written += progress.n_written;
        self.bar.set_position(self.n_written as u64);
        let rate = self.n_tokens() as f64 / self.seconds();
        let (&Progress { level, pool, .. }, rss_bytes) = (progress, device::resident_bytes());
        let memory = rss_bytes.map_or(String::new(), |bytes| format!(", {}", BinaryBytes(bytes)));
        let message = format!("level {level}, {pool} caches, {rate:.0} tokens/s{memory}");
        self.bar.set_message(message);
        if let Some(preview) = self.preview.as_mut().filter(|preview| preview.is_due()) {
            self.bar
                .suspend(|| preview.show(progress.tokens, progress.frame));
        }
        if self.json {
            let left = self.n_open.saturating_sub(self.n_written) * self.tokens_per_patch;
            events::say(&Event::Patches {
                done: self.n_written,
                of: self.n_open,
                level,
                pool,
                tokens_per_s: rate,
                eta_s: (rate > 0.0).then(|| left as f64 / rate),
                rss_bytes,
            });
        }
        match STOP.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Ends watching; gives the tokens written and the seconds it took.
    pub(super) fn finish(self) -> (usize, f64) {
        self.bar.finish_and_clear();
        (self.n_tokens(), self.seconds())
    }

    /// Leaves out time that was spent on something else.
    pub(super) fn set_aside(&mut self, time: Duration) {
        self.aside += time;
    }

    fn seconds(&self) -> f64 {
        (self.start.elapsed() - self.aside).as_secs_f64()
    }

    fn n_tokens(&self) -> usize {
        self.n_written * self.tokens_per_patch
    }
}
