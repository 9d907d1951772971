//! Loss of a patch: cross-entropy with label smoothing (page §4, §9.6).

use burn::tensor::{Bool, Int, Tensor};
use nuwa_model::softmax::log_sum_exp;

/// Gives the mean cross-entropy of the tokens, or of the masked ones only.
///
/// Label smoothing ε trains towards (1−ε)·one-hot + ε/V over all V codes. The mean over masked
/// tokens runs over the whole batch.
///
/// # Shapes
/// logits `[b, m, v]`, tokens and masked `[b, m]`, result `[1]`.
pub fn patch_loss(
    logits: Tensor<3>,
    tokens: Tensor<2, Int>,
    smoothing: f64,
    masked: Option<Tensor<2, Bool>>,
) -> Tensor<1> {
    let total = log_sum_exp(logits.clone());
    let hit = logits.clone().gather(2, tokens.unsqueeze_dim::<3>(2));
    let score = match smoothing {
        0.0 => hit,
        _ => hit * (1.0 - smoothing) + logits.mean_dim(2) * smoothing,
    };
    let score = (score - total).squeeze_dim::<2>(2); // [b, m]
    match masked {
        None => score.mean().neg(),
        Some(masked) => {
            let weight = masked.float();
            let count = weight.clone().sum();
            (score * weight).sum().neg() / count
        }
    }
}
