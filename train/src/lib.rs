//! Training: stage one (the VQGAN), stage two (the renderer, by render-and-optimize), and the
//! `nuwa-train` program. The only room with optimizers, schedules and adversaries.

/// Prints a line of a result. A reader that has gone, such as `head`, is no mistake, and no reason to stop.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout().lock(), $($text)*);
    }};
}

pub mod accelerator;
pub mod adam;
pub mod checkpoints;
mod cli;
mod config;
mod curve;
pub mod ema;
pub mod gradients;
pub mod log;
pub mod materialize;
pub mod one_shot;
pub mod overlay;
pub mod prepare;
pub mod render;
pub mod run_folder;
pub mod schedule;
pub mod tokenize;
pub mod vqgan;
pub mod weights;

pub use cli::run;
