//! One row of scores at a time: into weights, and back.

use crate::exp;
use crate::simd::Kernel;
use crate::sums::sum;

/// What scores are multiplied by: 1/√64.
const SCALE: f32 = 0.125;

/// Turns a row of scores into weights, zero beyond what is seen; gives ln Σ exp.
pub(super) struct Softmax<'a> {
    pub(super) scores: &'a mut [f32],
    pub(super) seen: usize,
}

impl Kernel for Softmax<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> f32 {
        let (scores, hidden) = self.scores.split_at_mut(self.seen);
        hidden.fill(0.0);
        let (lanes, rest) = scores.as_chunks::<16>();
        let mut highest = [f32::NEG_INFINITY; 16];
        for lanes in lanes {
            for (highest, score) in highest.iter_mut().zip(lanes) {
                *highest = if *score > *highest { *score } else { *highest };
            }
        }
        let highest = highest.iter().chain(rest).copied();
        let highest = highest.fold(f32::NEG_INFINITY, f32::max);
        for score in &mut *scores {
            *score = exp::<FUSED>((*score - highest) * SCALE);
        }
        let total = sum(scores.iter().copied());
        let share = (1.0 / total) as f32;
        for score in scores {
            *score *= share;
        }
        highest * SCALE + total.ln() as f32
    }
}

/// Turns scores into weights and the gradients of weights into those of scores.
pub(super) struct Back<'a> {
    pub(super) weights: &'a mut [f32],
    pub(super) pulls: &'a mut [f32],
    pub(super) total: f32,
    pub(super) seen: usize,
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let (weights, hidden) = self.weights.split_at_mut(self.seen);
        hidden.fill(0.0);
        let (pulls, hidden) = self.pulls.split_at_mut(self.seen);
        hidden.fill(0.0);
        for (weight, pull) in weights.iter_mut().zip(&mut *pulls) {
            *weight = exp::<FUSED>(*weight * SCALE - self.total);
            *pull *= *weight;
        }
        let mean = sum(pulls.iter().copied()) as f32;
        for (weight, pull) in weights.iter().zip(pulls) {
            *pull = (*pull - mean * weight) * SCALE;
        }
    }
}
