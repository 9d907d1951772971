//! Drawing tokens where their logits are, so that no device waits for the host at every token, or hands
//! it the scores of all codes.
//!
//! ours, for AR: the host sorts ([`Sampler::token`]); devices are slow at that, and Burn 0.22 reads what it
//! sorts to the host. Here the rank is found by its value: thresholds cut the range of the logits into
//! parts, whatever lies above each is counted or weighed at once, and the part that holds the rank is
//! cut again. Drawn is what the host would draw, to rounding. Axes: `r` rows, `v` codes.

use burn::tensor::{Int, Tensor};

use super::sampling::{Choice, LEAST_PROBABILITY, Sampler};

/// Thresholds of a round, and rounds: together finer than the spacing of the numbers.
const PARTS: usize = 64;
const ROUNDS: usize = 5;

/// What a logit may be below the highest for its code to be drawn at all: a weight of e⁻⁸⁷, near the
/// least that floats hold.
const LOWEST: f32 = -87.0;

impl<U> Sampler<U> {
    /// Chooses tokens as [`token`](Self::token) does, on the device of the logits.
    ///
    /// Codes whose logits are equal to the bit at the end of the `top_k` likeliest are all drawn from.
    ///
    /// # Shapes
    /// logits `[r, v]`, uniform numbers `[r, 1]`; gives `[r, 1]`.
    pub(super) fn tokens(&self, logits: Tensor<2>, uniforms: Tensor<2>) -> Tensor<2, Int> {
        let logits = self.unsmoothed_there(logits);
        let (top_k, top_p, temperature) = match self.choice {
            Choice::Greedy => return logits.argmax(1),
            Choice::Drawn {
                top_k,
                top_p,
                temperature,
            } => (top_k.max(1), top_p, temperature),
        };
        let [_, v] = logits.dims();
        let top = logits.clone().max_dim(1);
        let heights = (logits - top).div_scalar(temperature).clamp_min(LOWEST);
        let possible = is_above(heights.clone() - LOWEST);
        let mut weights = heights.clone().exp() * possible;
        if top_k < v {
            let ones = Tensor::ones_like(&heights);
            let target = Tensor::full_like(&uniforms, top_k as f64 - 0.5);
            let least = threshold(&heights, &ones, target);
            weights = kept(weights, &heights, least);
        }
        if top_p < 1.0 {
            let target = weights.clone().sum_dim(1) * top_p;
            let least = threshold(&heights, &weights, target);
            weights = kept(weights, &heights, least);
        }
        let target = weights.clone().sum_dim(1) * uniforms;
        let least = threshold(&heights, &weights, target.clone());
        // Rounding may put the target beyond all of them; what was cut off is not drawn even then.
        let heights = heights.mask_fill(weights.clone().equal_elem(0.0), 2.0 * LOWEST);
        pick(heights, weights, least, target)
    }

    /// Chooses tokens as [`gumbel_token`](Self::gumbel_token) does, on the device of the logits.
    ///
    /// # Shapes
    /// logits `[r, m, v]`, gumbel noise alike, which greedy choice does without; gives `[r, m, 1]`.
    pub(super) fn noisy_tokens(
        &self,
        logits: Tensor<3>,
        noise: Option<Tensor<3>>,
    ) -> Tensor<3, Int> {
        let logits = self.unsmoothed_there(logits);
        let noisy = match (self.choice, noise) {
            (Choice::Drawn { temperature, .. }, Some(noise)) => logits / temperature + noise,
            _ => logits,
        };
        noisy.argmax(2)
    }

    fn unsmoothed_there<const D: usize>(&self, logits: Tensor<D>) -> Tensor<D> {
        if self.smoothing == 0.0 {
            return logits;
        }
        let v = logits.dims()[D - 1];
        let weights = (logits.clone() - logits.max_dim(D - 1)).exp();
        let shares = weights.clone() / weights.sum_dim(D - 1);
        let floor = self.smoothing / v as f64;
        (shares - floor).clamp_min(LEAST_PROBABILITY).log()
    }
}

/// Gives ln p of tokens `[r, m, 1]` by their logits `[r, m, v]`.
pub(super) fn log_probabilities(logits: Tensor<3>, tokens: Tensor<3, Int>) -> Tensor<3> {
    let heights = logits.clone() - logits.max_dim(2);
    let sum = heights.clone().exp().sum_dim(2);
    heights.gather(2, tokens) - sum.log()
}

/// Gives the highest threshold `[r, 1]`, or as good as that, above which weights sum to more than
/// `target`.
fn threshold(heights: &Tensor<2>, weights: &Tensor<2>, target: Tensor<2>) -> Tensor<2> {
    let ([r, v], device) = (heights.dims(), heights.device());
    let wide = |x: &Tensor<2>| x.clone().unsqueeze_dim::<3>(2).expand([r, v, PARTS]);
    let (heights, weights) = (wide(heights), wide(weights));
    let target = target.unsqueeze_dim::<3>(2).expand([r, 1, PARTS]);
    let parts: Vec<f32> = (0..PARTS).map(|part| part as f32 / PARTS as f32).collect();
    let parts = Tensor::<1>::from_data(parts.as_slice(), &device).reshape([1, 1, PARTS]);
    let mut least = Tensor::<3>::full([r, 1, 1], LOWEST, &device);
    // Nothing lies above the end, which is a little beyond the highest. All is arithmetic: what compares
    // is not fused with what sums, and a token is bound by launches.
    let mut width = f64::from(1e-3 - LOWEST);
    for _ in 0..ROUNDS {
        let cuts = least.clone() + parts.clone() * width;
        let above = is_above(heights.clone() - cuts.expand([r, v, PARTS]));
        let above = (above * weights.clone()).sum_dim(1);
        let reached = is_above(above - target.clone()).sum_dim(2);
        width /= PARTS as f64;
        least = least + (reached - 1.0).clamp_min(0.0) * width;
    }
    least.reshape([r, 1])
}

/// Gives 1 where a difference is positive, 0 elsewhere.
fn is_above<const D: usize>(difference: Tensor<D>) -> Tensor<D> {
    (difference * 1e30).clamp(0.0, 1.0)
}

/// Takes the weight of everything that is not above a threshold.
fn kept(weights: Tensor<2>, heights: &Tensor<2>, least: Tensor<2>) -> Tensor<2> {
    let least = least.expand(heights.dims());
    weights * is_above(heights.clone() - least)
}

/// Gives the code at the rank that was found: the lowest above the threshold. Of codes that are
/// equal the target says which, as all of them have the same weight.
fn pick(
    heights: Tensor<2>,
    weights: Tensor<2>,
    least: Tensor<2>,
    target: Tensor<2>,
) -> Tensor<2, Int> {
    let shape = heights.dims();
    let below = heights.clone().lower_equal(least.expand(shape));
    let lowest = heights.clone().mask_fill(below, 1.0).min_dim(1);
    let equal = heights.clone().equal(lowest.clone().expand(shape)).float();
    let higher = is_above(heights - lowest.clone().expand(shape)) * weights;
    let rest = target - higher.sum_dim(1);
    let n = equal.clone().sum_dim(1);
    let rank = (rest / lowest.exp())
        .floor()
        .clamp_min(0.0)
        .min_pair(n - 1.0);
    // Counts up to each of the equal ones; the first that reaches its rank is the one.
    let counted = equal.clone().cumsum(1) * equal;
    is_above(counted - rank.expand(shape)).argmax(1)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::drawn;
    use crate::patch::PatchIndex;
    use crate::render::sampling::{Draw, KeyedUniforms, Uniforms};

    fn draw(token: usize) -> Draw {
        Draw {
            picture: 0,
            index: PatchIndex { f: 0, h: 1, w: 2 },
            token,
            turn: 0,
        }
    }

    /// Draws from every row on the host and on the device.
    fn both(sampler: &Sampler<KeyedUniforms>, logits: Tensor<2>) -> [Vec<i32>; 2] {
        let [r, v] = logits.dims();
        let u: Vec<f32> = (0..r)
            .map(|row| {
                let mut u = [0.0];
                sampler.uniforms.fill(draw(row), &mut u);
                u[0] as f32
            })
            .collect();
        let uniforms = Tensor::from_data(TensorData::new(u, [r, 1]), &logits.device());
        let there = sampler.tokens(logits.clone(), uniforms).into_data();
        let logits: Vec<f32> = logits.into_data().try_to_vec().expect("floats");
        let here = logits.chunks(v).enumerate();
        let here = here.map(|(row, logits)| sampler.token(logits, draw(row)));
        [
            here.collect(),
            there.convert::<i32>().try_to_vec().expect("ids"),
        ]
    }

    fn sampler(top_k: usize, top_p: f64, temperature: f64) -> Sampler<KeyedUniforms> {
        let choice = Choice::Drawn {
            top_k,
            top_p,
            temperature,
        };
        Sampler::new(choice, KeyedUniforms { seeds: vec![7] })
    }

    #[test]
    fn the_device_draws_what_the_host_draws() {
        let rules = [
            (1, 1.0, 1.0),
            (5, 1.0, 1.0),
            (768, 1.0, 0.8),
            (5000, 0.9, 1.3),
            (40, 0.5, 1.0),
        ];
        for (number, (top_k, top_p, temperature)) in rules.into_iter().enumerate() {
            for smoothing in [0.0, 0.15] {
                let mut sampler = sampler(top_k, top_p, temperature);
                sampler.smoothing = smoothing;
                let logits = drawn::normal([200, 900], number as f64, 3.0);
                let [here, there] = both(&sampler, logits);
                let apart = here.iter().zip(&there).filter(|(a, b)| a != b).count();
                // The sums of a device are rounded in another order than those of the host.
                assert!(apart <= 1, "{apart} of 200: {top_k} {top_p} {temperature}");
            }
        }
        let greedy = Sampler::new(Choice::Greedy, KeyedUniforms { seeds: vec![7] });
        let [here, there] = both(&greedy, drawn::normal([50, 300], 0.0, 3.0));
        assert_eq!(here, there);
    }

    #[test]
    fn a_number_that_is_rounded_to_one_draws_the_last_that_is_left() {
        let logits = Tensor::<2>::from_data([[3.0, 1.0, 2.0, 0.0]], &Device::flex());
        let uniforms = || Tensor::<2>::from_data([[1.0]], &Device::flex());
        for (top_k, expected) in [(1, 0), (2, 2), (3, 1), (9, 3)] {
            let drawn = sampler(top_k, 1.0, 1.0).tokens(logits.clone(), uniforms());
            assert_eq!(drawn.into_scalar::<i64>(), expected, "{top_k}");
        }
    }

    #[test]
    fn codes_that_are_equal_are_drawn_alike_and_impossible_ones_never() {
        let row = [1.0, f32::NEG_INFINITY, 2.0, 2.0, 2.0, 1.0, -300.0];
        let logits = Tensor::<2>::from_data([row], &Device::flex()).repeat_dim(0, 3000);
        let [here, there] = both(&sampler(768, 1.0, 1.0), logits);
        let apart = here.iter().zip(&there).filter(|(a, b)| a != b).count();
        assert!(apart <= 1, "{apart} of 3000");
        let count = |code: i32| there.iter().filter(|&&found| found == code).count();
        assert_eq!(count(1) + count(6), 0);
        for code in [2, 3, 4] {
            // e² of 3 e² + 2 e each, within four standard deviations.
            assert!(count(code).abs_diff(803) < 98, "{code}: {}", count(code));
        }
    }
}
