//! Drawing tokens where their logits are, so that no device waits for the host at every token, or hands
//! it the scores of all codes. Drawn is what the host would draw, to rounding. Axes: `r` rows, `m` tokens,
//! `v` codes.

use burn::tensor::{Int, Tensor};

use super::sampling::{Choice, LEAST_PROBABILITY, Sampler};

impl<U> Sampler<U> {
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
