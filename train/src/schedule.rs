//! Learning rates: linear warm-up to the peak, then linear decay to zero (page §6, §9.12).

use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};

/// Gives the rate of optimizer step `n` (from 0) of `total`; `warmup` is a share of the steps.
pub fn learning_rate(n: usize, total: usize, peak: f64, warmup: f64) -> f64 {
    let w = (warmup * total as f64 + 0.5).floor() as usize;
    if n < w {
        peak * (n + 1) as f64 / w as f64
    } else {
        peak * (total.saturating_sub(n)) as f64 / (total - w) as f64
    }
}

/// How long a training runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// This many optimizer steps.
    Steps(usize),
    /// This much wall time from the start.
    Wall(Duration),
}

/// A budget that has begun: tells how much of it is spent.
#[derive(Debug, Clone)]
pub struct Clock {
    budget: Budget,
    start: Instant,
}

impl Clock {
    /// Starts now.
    pub fn start(budget: Budget) -> Self {
        Self {
            budget,
            start: Instant::now(),
        }
    }

    /// Gives the share of the budget spent when `steps` are done, from 0; 1 and more is over.
    pub fn spent(&self, steps: usize) -> f64 {
        match self.budget {
            Budget::Steps(total) => steps as f64 / total.max(1) as f64,
            Budget::Wall(total) => self.start.elapsed().as_secs_f64() / total.as_secs_f64(),
        }
    }

    /// Gives the time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Gives the rate of the next step when `steps` are done.
    ///
    /// With a number of steps, exactly [`learning_rate`]; with wall time, the same two lines over
    /// the share of time spent.
    pub fn rate(&self, steps: usize, peak: f64, warmup: f64) -> f64 {
        match self.budget {
            Budget::Steps(total) => learning_rate(steps, total, peak, warmup),
            Budget::Wall(_) => {
                let spent = self.spent(steps).min(1.0);
                // The first step would otherwise be lost at rate zero.
                let floor = peak * 1e-3;
                if spent < warmup {
                    (peak * spent / warmup).max(floor)
                } else {
                    (peak * (1.0 - spent) / (1.0 - warmup)).max(floor)
                }
            }
        }
    }
}

/// The schedule as Burn's learner takes it: one call per optimizer step.
#[derive(Debug, Clone)]
pub struct WarmupLinear {
    clock: Arc<Clock>,
    peak: f64,
    warmup: f64,
    steps: usize,
}

impl WarmupLinear {
    /// Gives the schedule of a clock.
    pub fn new(clock: Arc<Clock>, peak: f64, warmup: f64) -> Self {
        Self {
            clock,
            peak,
            warmup,
            steps: 0,
        }
    }
}

impl LrScheduler for WarmupLinear {
    fn step(&mut self) -> f64 {
        let rate = self.clock.rate(self.steps, self.peak, self.warmup);
        self.steps += 1;
        rate
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar("steps", self.steps as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        if let Some(steps) = record.scalar::<u64>("steps") {
            self.steps = steps as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_moves_and_the_last_rate_is_above_zero() {
        assert_eq!(learning_rate(0, 100, 1.0, 0.05), 0.2);
        assert_eq!(learning_rate(4, 100, 1.0, 0.05), 1.0);
        assert_eq!(learning_rate(5, 100, 1.0, 0.05), 1.0);
        assert!(learning_rate(99, 100, 1.0, 0.05) > 0.0);
        assert_eq!(learning_rate(100, 100, 1.0, 0.05), 0.0);
        assert_eq!(learning_rate(0, 10, 2.0, 0.0), 2.0);
    }

    #[test]
    fn the_learners_schedule_counts_its_own_steps_and_survives_a_record() {
        let clock = Arc::new(Clock::start(Budget::Steps(40)));
        let mut schedule = WarmupLinear::new(clock.clone(), 1e-3, 0.05);
        let rates: Vec<f64> = (0..10).map(|_| schedule.step()).collect();
        let expected: Vec<f64> = (0..10).map(|n| learning_rate(n, 40, 1e-3, 0.05)).collect();
        assert_eq!(rates, expected);
        let mut resumed = WarmupLinear::new(clock, 1e-3, 0.05);
        resumed.load_record(schedule.to_record());
        assert_eq!(resumed.step(), learning_rate(10, 40, 1e-3, 0.05));
    }
}
