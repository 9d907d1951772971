//! How fast this machine paints, measured on a few patches and windows.

use std::time::Instant;

use burn::tensor::{Int, Tensor};
use nuwa_model::patch::{Route, Step};
use nuwa_model::render::sampling::{Choice, KeyedUniforms, Sampler};
use nuwa_model::render::{PatchJob, Session, TokenGrid};

use crate::model_run::ModelRun;
use crate::plan::Plan;

/// Seconds that parts of the work take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// A batch of one patch: written, then cached.
    pub one_patch: f64,
    /// A batch of `widest` patches.
    pub widest_wave: f64,
    /// Patches of the widest batch.
    pub widest: usize,
    /// A known patch: cached only.
    pub known_patch: f64,
    /// A window of tokens to pixels.
    pub decoded_window: f64,
    /// A window of pixels to tokens; 0 when nothing is given.
    pub encoded_window: f64,
}

impl Pace {
    /// Paints one patch, the widest batch, and a window, all on paper: nothing is kept. Their
    /// contexts are as long as the longest of the route, and empty.
    ///
    /// `is_warm` says that the device computes at full speed from the start; others compile first,
    /// so that a patch and a window go before.
    pub fn measure(
        run: &ModelRun,
        session: &Session,
        route: &Route,
        plan: &Plan,
        is_warm: bool,
    ) -> Self {
        let widest = plan.waves.iter().max().copied().unwrap_or(1);
        let fullest = route.steps().iter().max_by_key(|step| step.context.len());
        let fullest = fullest.expect("a route has steps");
        if !is_warm {
            wave(session, fullest, 1);
            decode(run, plan.window);
        }
        let (one_patch, cached) = wave(session, fullest, 1);
        let widest_wave = match widest {
            1 => one_patch,
            n => wave(session, fullest, n).0,
        };
        Self {
            one_patch,
            widest_wave,
            widest,
            known_patch: cached,
            decoded_window: decode(run, plan.window),
            encoded_window: match plan.n_encoded {
                0 => 0.0,
                _ => encode(run, plan.window),
            },
        }
    }

    /// Gives the seconds of a batch of `n` patches: on the line through one and the widest.
    pub fn wave(&self, n: usize) -> f64 {
        if self.widest <= 1 {
            return self.one_patch * n as f64;
        }
        let more = (self.widest_wave - self.one_patch) / (self.widest - 1) as f64;
        self.one_patch + more * (n - 1) as f64
    }
}

/// Paints a batch of `n` patches that see as much as one step; gives the seconds that takes, and those of
/// caching them if they are known.
fn wave(session: &Session, step: &Step, n: usize) -> (f64, f64) {
    let blank = session.blank();
    let m = session.config().tokens_per_patch() * session.pictures();
    let context = || vec![&blank; step.context.len()];
    let job = || PatchJob::new(step, context(), vec![TokenGrid::UNKNOWN; m]);
    let jobs: Vec<PatchJob> = (0..n).map(|_| job()).collect();
    let seeds = (0..session.pictures() as u64).collect();
    let sampler = Sampler::new(Choice::default(), KeyedUniforms { seeds });
    let start = Instant::now();
    let wrote = session.write(&jobs, &sampler);
    // Devices compute while this goes on. One that fails here will say so when it paints.
    let _ = session.device().sync();
    let written = start.elapsed().as_secs_f64();
    let jobs = jobs.iter().zip(wrote.tokens);
    let jobs: Vec<_> = jobs.map(|(job, codes)| job.with(codes)).collect();
    let start = Instant::now();
    let caches = session.precache(&jobs);
    let _ = session.device().sync();
    drop(caches);
    (written, start.elapsed().as_secs_f64())
}

fn decode(run: &ModelRun, [h, w]: [usize; 2]) -> f64 {
    let device = run.vqgan.quantize.embedding.weight.device();
    let start = Instant::now();
    let codes = Tensor::<3, Int>::zeros([1, h, w], &device);
    run.vqgan.decode(codes).into_data();
    start.elapsed().as_secs_f64()
}

fn encode(run: &ModelRun, [h, w]: [usize; 2]) -> f64 {
    let device = run.vqgan.quantize.embedding.weight.device();
    let stride = run.vqgan_config.stride();
    let start = Instant::now();
    let pixels = Tensor::<4>::zeros([1, 3, h * stride, w * stride], &device);
    run.vqgan.encode(pixels).into_data();
    start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_lie_on_the_line_through_the_two_that_were_measured() {
        let pace = Pace {
            one_patch: 1.0,
            widest_wave: 2.5,
            widest: 4,
            known_patch: 0.1,
            decoded_window: 0.5,
            encoded_window: 0.0,
        };
        assert_eq!([1, 2, 4].map(|n| pace.wave(n)), [1.0, 1.5, 2.5]);
        let alone = Pace { widest: 1, ..pace };
        assert_eq!(alone.wave(1), 1.0);
    }
}
