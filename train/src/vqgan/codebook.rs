//! Keeping a codebook alive: codes that nothing chooses are put where latents are.
//!
//! A code that is never the nearest gets no gradient and stays lost; small data loses most of a
//! codebook that way. Starting the codes at latents, and moving lost ones back to latents, is the
//! known cure (random restart).

use burn::module::Param;
use burn::tensor::{Int, Tensor, TensorData};
use nuwa_model::vqgan::Vqgan;
use rand::{Rng, RngExt};

/// Counts which codes are chosen.
#[derive(Debug, Clone)]
pub struct CodeUsage {
    counts: Vec<u64>,
}

impl CodeUsage {
    /// Starts with nothing chosen.
    pub fn new(n_codes: usize) -> Self {
        Self {
            counts: vec![0; n_codes],
        }
    }

    /// Counts codes of any shape.
    pub fn count(&mut self, codes: &[i32]) {
        for &code in codes {
            self.counts[code as usize] += 1;
        }
    }

    /// Gives the number of codes chosen at least once.
    pub fn n_used(&self) -> usize {
        self.counts.iter().filter(|&&n| n > 0).count()
    }

    /// Gives the perplexity of the choice: how many codes it would take, equally used, to be as
    /// varied. 0 when nothing was chosen.
    pub fn perplexity(&self) -> f64 {
        let total: u64 = self.counts.iter().sum();
        if total == 0 {
            return 0.0;
        }
        let shares = self
            .counts
            .iter()
            .filter(|&&n| n > 0)
            .map(|&n| n as f64 / total as f64);
        shares.map(|p| -p * p.ln()).sum::<f64>().exp()
    }

    fn unused(&self) -> Vec<usize> {
        (0..self.counts.len())
            .filter(|&code| self.counts[code] == 0)
            .collect()
    }
}

/// Reads codes to the host.
pub fn codes_on_host<const D: usize>(codes: Tensor<D, Int>) -> Vec<i32> {
    codes
        .into_data()
        .convert::<i32>()
        .try_to_vec()
        .expect("converted to i32")
}

/// Moves every code that `usage` has not seen to a random latent; gives how many were moved.
///
/// # Shapes
/// `latents`: `[b, code_dim, h, w]`.
pub fn revive(
    vqgan: &mut Vqgan,
    usage: &CodeUsage,
    latents: Tensor<4>,
    rng: &mut impl Rng,
) -> usize {
    let unused = usage.unused();
    let [b, d, h, w] = latents.dims();
    let n = b * h * w;
    if unused.is_empty() || n == 0 {
        return 0;
    }
    let latents = latents.inner().permute([0, 2, 3, 1]).reshape([n, d]);
    let device = latents.device();
    let index = |rows: Vec<i32>| -> Tensor<1, Int> {
        let shape = [rows.len()];
        Tensor::from_data(TensorData::new(rows, shape), &device)
    };
    let picks = unused
        .iter()
        .map(|_| rng.random_range(0..n) as i32)
        .collect();
    let places: Vec<i32> = unused.iter().map(|&code| code as i32).collect();
    let fresh = latents.select(0, index(picks)); // [k, d]
    let weight: Param<Tensor<2>> = vqgan.quantize.embedding.weight.clone();
    vqgan.quantize.embedding.weight = weight.map(|codes| {
        let required = codes.is_require_grad();
        let autodiff = codes.is_autodiff();
        let places = index(places);
        let kept = codes.inner();
        let old = kept.clone().select(0, places.clone());
        let moved = kept.select_assign(0, places, fresh - old, burn::tensor::IndexingUpdateOp::Add);
        let moved = if autodiff { moved.autodiff() } else { moved };
        moved.set_require_grad(required)
    });
    unused.len()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use nuwa_model::vqgan::VqganConfig;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn lost_codes_move_to_latents_and_used_ones_stay() {
        let device = Device::flex().autodiff();
        let config = VqganConfig {
            ch: 32,
            multipliers: vec![1],
            blocks: 1,
            z: 4,
            n_codes: 5,
            code_dim: 3,
        };
        let mut vqgan = config.init(&device);
        let before = vqgan.quantize.embedding.weight.val().inner().into_data();
        let mut usage = CodeUsage::new(5);
        usage.count(&[1, 1, 4]);
        assert_eq!(usage.n_used(), 2);
        assert!(
            (usage.perplexity() - 1.8899).abs() < 1e-3,
            "{}",
            usage.perplexity()
        );
        let latents = Tensor::full([1, 3, 2, 2], 7.0, &device);
        let moved = revive(&mut vqgan, &usage, latents, &mut StdRng::seed_from_u64(1));
        assert_eq!(moved, 3);
        let after = vqgan.quantize.embedding.weight.val();
        assert!(after.is_require_grad());
        let (before, after): (Vec<f32>, Vec<f32>) = (
            before.try_to_vec().expect("f32"),
            after.inner().into_data().try_to_vec().expect("f32"),
        );
        for code in [0, 2, 3] {
            assert!(
                after[3 * code..3 * code + 3]
                    .iter()
                    .all(|x| (x - 7.0).abs() < 1e-5)
            );
        }
        for code in [1, 4] {
            assert_eq!(
                before[3 * code..3 * code + 3],
                after[3 * code..3 * code + 3]
            );
        }
    }
}
