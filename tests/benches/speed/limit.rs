//! How fast tokens can be written at most: memory must give what each of them reads.

use nuwa_model::render::RendererConfig;

use super::{TEXT, route};

/// Gives the bytes that a token of so many pictures reads: all weights of the layers and the head once,
/// and of every picture the keys and values of what it sees, on the mean over the patches of the grid.
/// Norms and biases are left out.
pub(super) fn bytes_of_a_token(config: &RendererConfig, pictures: usize, number: usize) -> f64 {
    let (d, layers, m) = (
        config.d_model as f64,
        config.n_layers as f64,
        config.tokens_per_patch() as f64,
    );
    let (cross, text) = match config.d_text {
        Some(_) => (2.0, TEXT as f64),
        None => (0.0, 0.0),
    };
    let weights = layers * (16.0 + cross) * d * d + config.n_codes as f64 * d;
    let route = route();
    let patches = route.steps().iter().map(|step| step.context.len() as f64);
    let seen = patches.sum::<f64>() / route.steps().len() as f64 * m + m / 2.0 + text;
    (weights + pictures as f64 * 2.0 * layers * seen * d) * number as f64
}
