//! The codebook: nearest code of a latent, latent of a code.
//!
//! A token is the index of a code. Axis letters: `b` batch, `h w` token grid, `d` code width,
//! `v` codes.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::tensor::module::embedding;
use burn::tensor::{Device, Int, Tensor};

/// Largest distance matrix held at once, in elements.
const MAX_DISTANCES: usize = 1 << 22;

/// The codebook.
#[derive(Module, Debug)]
pub struct Quantizer {
    /// One row per code, `[v, d]`.
    pub embedding: Embedding,
}

impl Quantizer {
    pub(crate) fn new(n_codes: usize, code_dim: usize, device: &Device) -> Self {
        let bound = 1.0 / n_codes as f64;
        let embedding = EmbeddingConfig::new(n_codes, code_dim)
            .with_initializer(Initializer::Uniform {
                min: -bound,
                max: bound,
            })
            .init(device);
        Self { embedding }
    }

    /// Gives the index of the code nearest to each latent; no gradient passes.
    ///
    /// # Shapes
    /// `[b, d, h, w]` to `[b, h, w]`.
    pub fn nearest(&self, latents: Tensor<4>) -> Tensor<3, Int> {
        self.cheapest(latents, None)
    }

    /// Gives the index of the code for which squared distance and cost are least together; no
    /// gradient passes.
    ///
    /// # Shapes
    /// `[b, d, h, w]` to `[b, h, w]`; `costs`: `[v]`.
    pub fn cheapest(&self, latents: Tensor<4>, costs: Option<Tensor<1>>) -> Tensor<3, Int> {
        let [b, d, h, w] = latents.dims();
        let codes = self.embedding.weight.val().detach(); // [v, d]
        let [v, _] = codes.dims();
        let flat = latents
            .detach()
            .permute([0, 2, 3, 1])
            .reshape([b * h * w, d]);

        // |z - e|² without its |z|², which is the same for every code.
        let squares = codes.clone().square().sum_dim(1).transpose(); // [1, v]
        let squares = match costs {
            Some(costs) => squares + costs.unsqueeze(),
            None => squares,
        };
        let codes = codes.transpose() * -2.0; // [d, v]
        let rows = b * h * w;
        let band = (MAX_DISTANCES / v).clamp(1, rows);
        let nearest = (0..rows)
            .step_by(band)
            .map(|start| {
                let latents = flat.clone().narrow(0, start, band.min(rows - start));
                (latents.matmul(codes.clone()) + squares.clone()).argmin(1)
            })
            .collect();
        Tensor::cat(nearest, 0).reshape([b, h, w])
    }

    /// Gives the latents that the codes stand for.
    ///
    /// # Shapes
    /// `[b, h, w]` to `[b, d, h, w]`.
    pub fn lookup(&self, codes: Tensor<3, Int>) -> Tensor<4> {
        let [b, h, w] = codes.dims();
        let rows = embedding(self.embedding.weight.val(), codes.reshape([b, h * w])); // [b, n, d]
        let [_, _, d] = rows.dims();
        rows.swap_dims(1, 2).reshape([b, d, h, w])
    }
}
