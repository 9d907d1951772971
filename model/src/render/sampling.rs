//! Drawing tokens from logits. Randomness is keyed by (seed, patch, token, round), never by the
//! moment of execution, so any schedule of a route gives the same picture (page §4, §9.7).

use std::borrow::Cow;

use rayon::prelude::*;

use crate::patch::PatchIndex;

/// What is left of the probability of a code that label smoothing alone explains.
pub(super) const LEAST_PROBABILITY: f64 = 1e-9;

/// What a random number is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Which picture of the batch.
    pub picture: usize,
    /// Which patch.
    pub index: PatchIndex,
    /// Which token of the patch, in the order they are written.
    pub token: usize,
    /// Which use of that token: 0 for AR; 2·round + 1 for NAR and P-NAR tokens, 2·round + 2 for
    /// P-NAR confidence.
    pub turn: usize,
}

/// A source of uniform numbers in (0, 1), a pure function of what they are for.
pub trait Uniforms: Sync {
    /// Fills `out` with the numbers of a draw.
    fn fill(&self, draw: Draw, out: &mut [f64]);
}

/// SplitMix64 over (seed, i, j, k, token, round), 53 bits (page §9.7); one seed per picture.
#[derive(Debug, Clone)]
pub struct KeyedUniforms {
    /// Seed of each picture of the batch.
    pub seeds: Vec<u64>,
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn stir(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Uniforms for KeyedUniforms {
    fn fill(&self, draw: Draw, out: &mut [f64]) {
        let PatchIndex { f, h, w } = draw.index;
        let mut key = self.seeds[draw.picture];
        for part in [h, w, f, draw.token, draw.turn] {
            key = stir(key.wrapping_add(GOLDEN.wrapping_mul(part as u64 + 1)));
        }
        for out in out {
            key = key.wrapping_add(GOLDEN);
            *out = ((stir(key) >> 11) as f64 + 0.5) * 2f64.powi(-53);
        }
    }
}

/// How a token is chosen from its logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// The likeliest, without noise.
    Greedy,
    /// Drawn: AR from the `top_k` likeliest at a temperature, NAR and P-NAR by gumbel-max.
    Drawn {
        /// How many of the likeliest codes AR draws from (768 in the papers).
        top_k: usize,
        /// The likeliest codes of these that together have this probability are enough, above 0
        /// to 1 (nucleus sampling, Holtzman et al., 2020; 1 in the papers).
        top_p: f64,
        /// Divides the logits, above 0.
        temperature: f64,
    },
}

impl Default for Choice {
    fn default() -> Self {
        Self::Drawn {
            top_k: 768,
            top_p: 1.0,
            temperature: 1.0,
        }
    }
}

/// How P-NAR uncovers the places of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmasking {
    /// Rounds, at least 1.
    pub rounds: usize,
    /// Which places come first.
    pub first: Uncover,
}

/// Which of the masked places P-NAR keeps first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncover {
    /// Those it is surest of (page §4).
    Surest,
    /// Those spread widest, by a Halton sequence: neighbors, which depend on each other, are not
    /// drawn at once ("Halton Scheduler for Masked Generative Image Transformer", 2025).
    Spread,
}

impl Default for Unmasking {
    /// The page's.
    fn default() -> Self {
        Self {
            rounds: 16,
            first: Uncover::Surest,
        }
    }
}

/// Chooses tokens: a rule and a source of random numbers.
#[derive(Debug, Clone)]
pub struct Sampler<U> {
    /// The rule.
    pub choice: Choice,
    /// The random numbers.
    pub uniforms: U,
    /// How P-NAR goes.
    pub unmasking: Unmasking,
    /// Label smoothing ε of the training, which is taken off the probabilities again; 0 for none.
    ///
    /// not in the paper: a model trained with smoothed labels learns (1 − ε) p + ε / V, so one
    /// token in 1 / ε would be drawn from all codes alike.
    pub smoothing: f64,
}

impl<U: Uniforms> Sampler<U> {
    /// Chooses by a rule; P-NAR goes as the page says.
    pub fn new(choice: Choice, uniforms: U) -> Self {
        Self {
            choice,
            uniforms,
            unmasking: Unmasking::default(),
            smoothing: 0.0,
        }
    }

    /// Takes label smoothing off logits: ln of p − ε / V, up to a constant. Codes that would be left
    /// with nothing are as good as impossible.
    fn unsmoothed<'a>(&self, logits: &'a [f32]) -> Cow<'a, [f32]> {
        if self.smoothing == 0.0 {
            return Cow::Borrowed(logits);
        }
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |&x: &f32| f64::from(x - top).exp();
        let sum: f64 = logits.iter().map(weight).sum();
        let floor = self.smoothing / logits.len() as f64;
        let rest = |x| (weight(x) / sum - floor).max(LEAST_PROBABILITY).ln() as f32;
        logits.iter().map(rest).collect()
    }

    /// Chooses the next AR token from its logits `[v]`: sorted downwards, softmax over the k
    /// likeliest, the first rank whose cumulative sum exceeds u (page §9.7).
    pub fn token(&self, logits: &[f32], draw: Draw) -> i32 {
        let logits = &*self.unsmoothed(logits);
        match self.choice {
            Choice::Greedy => likeliest(logits.iter().map(|&x| f64::from(x))),
            Choice::Drawn {
                top_k,
                top_p,
                temperature,
            } => {
                let mut u = [0.0];
                self.uniforms.fill(draw, &mut u);
                draw_ranked(logits, top_k, top_p, temperature, u[0])
            }
        }
    }

    /// Chooses a NAR or P-NAR token from its logits `[v]` by gumbel-max.
    pub fn gumbel_token(&self, logits: &[f32], draw: Draw, scratch: &mut Vec<f64>) -> i32 {
        let logits = &*self.unsmoothed(logits);
        match self.choice {
            Choice::Greedy => likeliest(logits.iter().map(|&x| f64::from(x))),
            Choice::Drawn { temperature, .. } => {
                scratch.resize(logits.len(), 0.0);
                self.uniforms.fill(draw, scratch);
                let noisy = |(&x, &u): (&f32, &f64)| f64::from(x) / temperature + gumbel(u);
                likeliest(logits.iter().zip(scratch.iter()).map(noisy))
            }
        }
    }

    /// Gives the noise of [`gumbel_token`](Self::gumbel_token) for devices, `[places · v]`: that of `draw`
    /// where there is one, and zeros. Greedy choice has none.
    pub(super) fn noises(
        &self,
        v: usize,
        places: usize,
        draw: impl Fn(usize) -> Option<Draw> + Sync,
    ) -> Option<Vec<f32>> {
        if self.choice == Choice::Greedy {
            return None;
        }
        let mut noise = vec![0.0; places * v];
        let fill = |uniforms: &mut Vec<f64>, (place, noise): (usize, &mut [f32])| {
            if let Some(draw) = draw(place) {
                uniforms.resize(v, 0.0);
                self.uniforms.fill(draw, uniforms);
                let numbers = noise.iter_mut().zip(uniforms.iter());
                numbers.for_each(|(noise, &u)| *noise = gumbel(u) as f32);
            }
        };
        let chunks = noise.par_chunks_mut(v).enumerate();
        chunks.for_each_init(Vec::new, fill);
        Some(noise)
    }

    /// Gives the gumbel noise of a P-NAR confidence; none when greedy.
    pub fn noise(&self, draw: Draw) -> f64 {
        if self.choice == Choice::Greedy {
            return 0.0;
        }
        let mut u = [0.0];
        self.uniforms.fill(draw, &mut u);
        gumbel(u[0])
    }
}

fn gumbel(u: f64) -> f64 {
    -(-u.ln()).ln()
}

/// Gives the index of the largest value, the first of equals.
fn likeliest(values: impl Iterator<Item = f64>) -> i32 {
    let mut best = (0, f64::NEG_INFINITY);
    for (index, value) in values.enumerate() {
        if value > best.1 {
            best = (index, value);
        }
    }
    best.0 as i32
}

fn draw_ranked(logits: &[f32], top_k: usize, top_p: f64, temperature: f64, u: f64) -> i32 {
    let mut ranked: Vec<(f32, usize)> = logits.iter().copied().zip(0..).collect();
    let downwards = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    let k = top_k.clamp(1, ranked.len());
    if k < ranked.len() {
        ranked.select_nth_unstable_by(k - 1, downwards);
        ranked.truncate(k);
    }
    ranked.sort_unstable_by(downwards);
    let top = f64::from(ranked[0].0);
    let mut sum = 0.0;
    let below: Vec<f64> = ranked
        .iter()
        .map(|&(x, _)| {
            sum += ((f64::from(x) - top) / temperature).exp();
            sum
        })
        .collect();
    // The nucleus: up to the first rank with which the sum reaches the share.
    let last = below
        .partition_point(|&below| below < top_p * sum)
        .min(k - 1);
    let sum = below[last];
    let rank = below.partition_point(|&below| below <= u * sum).min(last);
    ranked[rank].1 as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(token: usize) -> Draw {
        Draw {
            picture: 0,
            index: PatchIndex { f: 0, h: 1, w: 2 },
            token,
            turn: 0,
        }
    }

    #[test]
    fn uniforms_depend_on_every_part_of_the_key_and_nothing_else() {
        let uniforms = KeyedUniforms { seeds: vec![7, 8] };
        let value = |draw: Draw| {
            let mut out = [0.0];
            uniforms.fill(draw, &mut out);
            out[0]
        };
        let base = draw(3);
        assert_eq!(value(base), value(base));
        let at = |f, h, w| Draw {
            index: PatchIndex { f, h, w },
            ..base
        };
        let others = [
            Draw { picture: 1, ..base },
            Draw { token: 4, ..base },
            Draw { turn: 1, ..base },
            at(1, 1, 2),
            at(0, 2, 2),
            at(0, 2, 1),
        ];
        for other in others {
            assert_ne!(value(other), value(base), "{other:?}");
        }
        let mut many = vec![0.0; 20_000];
        uniforms.fill(base, &mut many);
        let mean = many.iter().sum::<f64>() / many.len() as f64;
        assert!(many.iter().all(|u| (0.0..1.0).contains(u)));
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }

    #[test]
    fn top_k_takes_the_first_rank_whose_sum_exceeds_u() {
        let logits = [0.0, 2f32.ln(), f32::NEG_INFINITY, 1f32.ln()];
        // Probabilities of the three best: 1/2 for code 1, 1/4 for codes 0 and 3.
        for (u, token) in [
            (0.0, 1),
            (0.49, 1),
            (0.51, 0),
            (0.74, 0),
            (0.76, 3),
            (0.999, 3),
        ] {
            assert_eq!(draw_ranked(&logits, 3, 1.0, 1.0, u), token, "u = {u}");
        }
        assert_eq!(draw_ranked(&logits, 1, 1.0, 1.0, 0.999), 1);
        assert_eq!(draw_ranked(&logits, 99, 1.0, 1.0, 0.999), 3);
        // Half is reached with one code, three quarters with two.
        for (top_p, u, token) in [
            (0.5, 0.99, 1),
            (0.6, 0.66, 1),
            (0.6, 0.67, 0),
            (0.75, 0.99, 0),
        ] {
            let drawn = draw_ranked(&logits, 3, top_p, 1.0, u);
            assert_eq!(drawn, token, "p = {top_p}, u = {u}");
        }
        // A low temperature sharpens: 2⁴ : 1 : 1.
        assert_eq!(draw_ranked(&logits, 3, 1.0, 0.25, 0.88), 1);
    }

    #[test]
    fn gumbel_max_draws_in_proportion() {
        let sampler = Sampler::new(Choice::default(), KeyedUniforms { seeds: vec![1] });
        let logits = [3f32.ln(), 0.0];
        let mut scratch = Vec::new();
        let zeros = (0..4000)
            .filter(|&t| sampler.gumbel_token(&logits, draw(t), &mut scratch) == 0)
            .count();
        assert!(
            (2900..3100).contains(&zeros),
            "{zeros} of 4000, expected 3000"
        );
    }

    #[test]
    fn smoothing_is_taken_off_again() {
        // Two codes of three carry all, smoothed with ε = 0.3: (0.7 p + 0.1).
        let smoothed = [0.7f32 * 0.75 + 0.1, 0.7 * 0.25 + 0.1, 0.1].map(f32::ln);
        let mut sampler = Sampler::new(Choice::default(), KeyedUniforms { seeds: vec![5] });
        sampler.smoothing = 0.3;
        let n = 4000;
        let mut counts = [0usize; 3];
        for token in 0..n {
            counts[sampler.token(&smoothed, draw(token)) as usize] += 1;
        }
        assert_eq!(counts[2], 0, "{counts:?}");
        // Four standard deviations.
        assert!(counts[0].abs_diff(n * 3 / 4) < 110, "{counts:?}");
        let mut scratch = Vec::new();
        let drawn = (0..n).map(|token| sampler.gumbel_token(&smoothed, draw(token), &mut scratch));
        assert_eq!(drawn.filter(|&code| code == 2).count(), 0);
    }
}
