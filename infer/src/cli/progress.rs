//! What is seen while a picture is painted, and how it is stopped.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::painting::{Painting, Progress};

/// Set when the user wants the painting to stop.
static STOP: AtomicBool = AtomicBool::new(false);

/// The progress of one painting.
pub(super) struct Watch {
    bar: ProgressBar,
    n_written: usize,
    tokens_per_patch: usize,
    start: Instant,
}

impl Watch {
    /// Starts watching. From now on an interruption ends the painting after the wave in flight.
    pub(super) fn start(paintings: &[Painting], quiet: bool) -> Self {
        // Fails only when a handler is there already: that of an earlier painting in this process.
        let _ = ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed));
        STOP.store(false, Ordering::Relaxed);
        let bar = match quiet {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(paintings.iter().map(Painting::n_open).sum::<usize>() as u64),
        };
        let template = "[{bar:40}] patch {pos} of {len}, {msg}, {eta} left";
        bar.set_style(ProgressStyle::with_template(template).expect("a fixed template"));
        Self {
            bar,
            n_written: 0,
            tokens_per_patch: paintings[0].header.model.patch.count(),
            start: Instant::now(),
        }
    }

    /// Takes note of a wave; tells whether to stop after it.
    pub(super) fn see(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.n_written += progress.n_written;
        self.bar.set_position(self.n_written as u64);
        let rate = self.n_tokens() as f64 / self.start.elapsed().as_secs_f64();
        let Progress { level, pool, .. } = progress;
        let message = format!("level {level}, {pool} caches, {rate:.0} tokens/s");
        self.bar.set_message(message);
        match STOP.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// Ends watching; gives the tokens written and the seconds it took.
    pub(super) fn finish(self) -> (usize, f64) {
        self.bar.finish_and_clear();
        (self.n_tokens(), self.start.elapsed().as_secs_f64())
    }

    fn n_tokens(&self) -> usize {
        self.n_written * self.tokens_per_patch
    }
}
