//! A bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What people see of a training while it runs; on standard error.
#[derive(Debug)]
pub struct Screen {
    bar: ProgressBar,
    quiet: bool,
    last_line: Option<Instant>,
}

impl Screen {
    /// Gives a screen that says on which device; `quiet` shows nothing.
    pub fn new(quiet: bool, device: &str) -> Self {
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(1000)
        };
        let style =
            ProgressStyle::with_template("{prefix} [{bar:30}] {msg}").expect("a fixed template");
        bar.set_style(style);
        bar.set_prefix(device.to_owned());
        Self {
            bar,
            quiet,
            last_line: None,
        }
    }

    /// Shows how far it is, from 0 to 1, and what there is to say.
    pub fn show(&mut self, done: f64, message: String) {
        self.bar.set_position((done * 1000.0) as u64);
        let is_late = |last: Instant| last.elapsed() >= LINE_EVERY;
        let due = done >= 1.0 || self.last_line.is_none_or(is_late);
        if self.bar.is_hidden() && due {
            self.last_line = Some(Instant::now());
            self.say(&message);
        } else {
            self.bar.set_message(message);
        }
    }

    /// Says something that stays.
    #[expect(clippy::print_stderr, reason = "this is the log")]
    pub fn say(&self, line: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }

    /// Says what must not be missed, quiet or not.
    #[expect(clippy::print_stderr, reason = "this is the log")]
    pub fn warn(&self, line: &str) {
        self.bar.suspend(|| eprintln!("nuwa-train: {line}"));
    }

    /// Takes the bar away.
    pub fn close(&self) {
        self.bar.finish_and_clear();
    }
}
