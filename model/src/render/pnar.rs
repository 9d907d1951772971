//! P-NAR: rounds that predict every masked place, keep the surest and mask the rest again (\[N\]
//! §3.2; counts and temperatures as fixed in page §4).

use std::f64::consts::{FRAC_PI_2, PI};

use super::nar::given;
use super::sampling::{Draw, Sampler, Uniforms};
use super::session::{PatchJob, Session};

/// Decoding rounds of one patch.
pub const ROUNDS: usize = 16;

/// Gives how many of `m` places are masked in a training pass, for u in [0, 1): ⌊m cos(πu/2)⌋, at
/// least 1.
pub fn training_count(u: f64, m: usize) -> usize {
    ((m as f64 * (PI * u / 2.0).cos()) as usize).max(1)
}

/// Gives how many of `m` places are still masked after each round.
pub fn masked_counts(m: usize, rounds: usize) -> Vec<usize> {
    let mut left = m;
    let mut after = |round: usize| {
        let share = (FRAC_PI_2 * (round + 1) as f64 / rounds as f64).cos();
        let count = (m as f64 * share) as usize;
        left = if round + 1 == rounds {
            0
        } else {
            count.min(left.saturating_sub(1)).max(1)
        };
        left
    };
    (0..rounds).map(&mut after).collect()
}

/// Gives the temperature of the confidence noise of each round: linear from 4.5 to 1.0.
pub fn temperatures(rounds: usize) -> Vec<f64> {
    (0..rounds)
        .map(|round| 4.5 - 3.5 * round as f64 / (rounds - 1) as f64)
        .collect()
}

/// The places of one picture's patch during decoding.
struct Patch<'a> {
    tokens: &'a mut [i32],
    masked: &'a mut [bool],
}

impl Session {
    /// Writes the patches of a wave in [`ROUNDS`] rounds.
    pub(super) fn write_pnar<U: Uniforms>(
        &self,
        jobs: &[PatchJob],
        sampler: &Sampler<U>,
    ) -> Vec<Vec<i32>> {
        let (b, m) = (self.batch(), self.config.tokens_per_patch());
        let (mut tokens, mut masked) = given(jobs);
        let hidden = |masked: &[bool]| masked.iter().filter(|&&hidden| hidden).count();
        let counts: Vec<Vec<usize>> = masked
            .chunks(m)
            .map(|masked| masked_counts(hidden(masked), ROUNDS))
            .collect();
        for (round, heat) in temperatures(ROUNDS).into_iter().enumerate() {
            let logits = self.masked_logits(jobs, &tokens, &masked);
            let patches = tokens.chunks_mut(m).zip(masked.chunks_mut(m));
            let logits = logits.chunks(m * self.config.n_codes);
            for (row, ((tokens, masked), logits)) in patches.zip(logits).enumerate() {
                let key = |token| Draw {
                    picture: row % b,
                    index: jobs[row / b].index,
                    token,
                    turn: 2 * round + 1,
                };
                let count = counts[row][round];
                advance(Patch { tokens, masked }, logits, count, heat, key, sampler);
            }
        }
        self.by_patch(&tokens)
    }
}

/// One round of one patch: draws every masked place, then masks the `count` least sure again. A
/// place once kept stays.
fn advance<U: Uniforms>(
    patch: Patch,
    logits: &[f32],
    count: usize,
    heat: f64,
    key: impl Fn(usize) -> Draw,
    sampler: &Sampler<U>,
) {
    let v = logits.len() / patch.tokens.len();
    let mut scratch = Vec::new();
    let mut scores = Vec::new();
    for (place, logits) in logits.chunks(v).enumerate() {
        if !patch.masked[place] {
            continue;
        }
        let draw = key(place);
        let token = sampler.gumbel_token(logits, draw, &mut scratch);
        patch.tokens[place] = token;
        let noise = sampler.noise(Draw {
            turn: draw.turn + 1,
            ..draw
        });
        scores.push((
            log_probability(logits, token as usize) + heat * noise,
            place,
        ));
    }
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    patch.masked.fill(false);
    for (_, place) in scores.into_iter().take(count) {
        patch.masked[place] = true;
    }
}

fn log_probability(logits: &[f32], token: usize) -> f64 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - top).exp()).sum();
    f64::from(logits[token] - top) - sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_keeps_at_least_one_place_and_the_last_keeps_all() {
        for m in [9, 20, 64, 256] {
            let counts = masked_counts(m, ROUNDS);
            assert_eq!(counts[ROUNDS - 1], 0);
            for pair in counts.windows(2) {
                assert!(pair[1] < pair[0] || pair == [1, 1], "{counts:?}");
            }
        }
        assert_eq!(masked_counts(256, ROUNDS)[..3], [254, 251, 244]);
    }

    #[test]
    fn heat_and_training_share_run_between_their_ends() {
        let heat = temperatures(ROUNDS);
        assert_eq!((heat[0], heat[ROUNDS - 1]), (4.5, 1.0));
        assert_eq!(
            (training_count(0.0, 256), training_count(0.999, 256)),
            (256, 1)
        );
    }
}
