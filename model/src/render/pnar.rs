//! P-NAR: rounds that predict every masked place, keep the surest and mask the rest again (\[N\]
//! §3.2; counts and temperatures as fixed in page §4).

use std::f64::consts::{FRAC_PI_2, PI};

use super::adc::walk_tokens;
use super::job::PatchJob;
use super::nar::{Drawn, given};
use super::sampling::{Draw, Sampler, Uncover, Uniforms};
use super::session::Session;
use crate::patch::{Order, PatchIndex, TokenSize};

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
        .map(|round| 4.5 - 3.5 * round as f64 / (rounds - 1).max(1) as f64)
        .collect()
}

/// Gives the places of a patch, in the order they are written, each with its turn to be uncovered when
/// neighbors are to come far apart: the order in which a Halton sequence of bases 2 and 3 first
/// reaches them. Frames of one patch take turns.
pub fn spread_turns(order: Order, patch: TokenSize) -> Vec<usize> {
    let mut turns = vec![usize::MAX; patch.h * patch.w];
    let mut next = 0;
    for n in 0.. {
        if next == turns.len() {
            break;
        }
        let along = |base, side| {
            let (digits, scale) = radical_inverse(n, base);
            digits * side / scale
        };
        let place = along(2, patch.h) * patch.w + along(3, patch.w);
        if turns[place] == usize::MAX {
            turns[place] = next;
            next += 1;
        }
    }
    let turn = |t: PatchIndex| turns[t.h * patch.w + t.w] * patch.f + t.f;
    walk_tokens(order, patch).into_iter().map(turn).collect()
}

/// Mirrors the digits of `n` at the point, as a fraction: 6 is 110 in base 2 and becomes 0.011, 3/8.
/// Floats would miss places by a rounding.
fn radical_inverse(mut n: usize, base: usize) -> (usize, usize) {
    let (mut digits, mut scale) = (0, 1);
    while n > 0 {
        digits = digits * base + n % base;
        scale *= base;
        n /= base;
    }
    (digits, scale)
}

/// The places of one picture's patch during decoding.
struct Patch<'a> {
    tokens: &'a mut [i32],
    masked: &'a mut [bool],
}

impl Session {
    /// Writes the patches of a wave in rounds.
    pub(super) fn write_pnar<U: Uniforms>(
        &self,
        jobs: &[PatchJob],
        sampler: &Sampler<U>,
    ) -> Vec<Vec<i32>> {
        let (b, m) = (self.pictures(), self.config.tokens_per_patch());
        let rounds = sampler.unmasking.rounds;
        let turns: Vec<Vec<usize>> = match sampler.unmasking.first {
            Uncover::Surest => Vec::new(),
            Uncover::Spread => {
                let turns = |job: &PatchJob| spread_turns(job.order, self.config.patch);
                jobs.iter().map(turns).collect()
            }
        };
        let (mut tokens, mut masked) = given(jobs);
        let hidden = |masked: &[bool]| masked.iter().filter(|&&hidden| hidden).count();
        let counts: Vec<Vec<usize>> = masked
            .chunks(m)
            .map(|masked| masked_counts(hidden(masked), rounds))
            .collect();
        for (round, heat) in temperatures(rounds).into_iter().enumerate() {
            let scored = turns.is_empty();
            let turn = 2 * round + 1;
            let drawn = self.draw_masked(jobs, (&tokens, &masked), sampler, turn, scored);
            let patches = tokens.chunks_mut(m).zip(masked.chunks_mut(m));
            for (row, ((tokens, masked), drawn)) in patches.zip(drawn.chunks(m)).enumerate() {
                let noise = |token| {
                    let (picture, index) = (row % b, jobs[row / b].index);
                    sampler.noise(Draw {
                        picture,
                        index,
                        token,
                        turn: turn + 1,
                    })
                };
                let score = |place: usize, drawn: &Drawn| match turns.get(row / b) {
                    None => drawn.log_probability + heat * noise(place),
                    Some(turns) => -(turns[place] as f64),
                };
                advance(Patch { tokens, masked }, drawn, counts[row][round], score);
            }
        }
        self.by_patch(&tokens)
    }
}

/// One round of one patch: writes what was drawn at every masked place, then masks the `count` places
/// of the lowest scores again. A place once kept stays.
fn advance(patch: Patch, drawn: &[Drawn], count: usize, score: impl Fn(usize, &Drawn) -> f64) {
    let mut scores = Vec::new();
    for (place, drawn) in drawn.iter().enumerate() {
        if patch.masked[place] {
            patch.tokens[place] = drawn.token;
            scores.push((score(place, drawn), place));
        }
    }
    scores.sort_by(|a, b| a.0.total_cmp(&b.0));
    patch.masked.fill(false);
    for (_, place) in scores.into_iter().take(count) {
        patch.masked[place] = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_keeps_at_least_one_place_and_the_last_keeps_all() {
        for m in [9, 20, 64, 256] {
            let counts = masked_counts(m, 16);
            assert_eq!(counts[16 - 1], 0);
            for pair in counts.windows(2) {
                assert!(pair[1] < pair[0] || pair == [1, 1], "{counts:?}");
            }
        }
        assert_eq!(masked_counts(256, 16)[..3], [254, 251, 244]);
    }

    #[test]
    fn every_place_has_its_turn_and_the_first_ones_lie_far_apart() {
        let patch = TokenSize { f: 2, h: 8, w: 9 };
        for order in Order::ALL {
            let turns = spread_turns(order, patch);
            let mut sorted = turns.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..144).collect::<Vec<_>>());
            // Row and column belong to the place, however it is written.
            let places = walk_tokens(order, patch);
            let first: Vec<_> = (0..8)
                .map(|turn| turns.iter().position(|&t| t == 2 * turn).expect("a turn"))
                .map(|at| (places[at].f, places[at].h, places[at].w))
                .collect();
            let expected = [
                (0, 0),
                (4, 3),
                (2, 6),
                (6, 1),
                (1, 4),
                (5, 7),
                (3, 2),
                (7, 5),
            ];
            assert_eq!(first, expected.map(|(h, w)| (0, h, w)));
        }
        // One round does everything.
        assert_eq!((masked_counts(9, 1), temperatures(1)), (vec![0], vec![4.5]));
    }

    #[test]
    fn heat_and_training_share_run_between_their_ends() {
        let heat = temperatures(16);
        assert_eq!((heat[0], heat[16 - 1]), (4.5, 1.0));
        assert_eq!(
            (training_count(0.0, 256), training_count(0.999, 256)),
            (256, 1)
        );
    }
}
