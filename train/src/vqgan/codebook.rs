//! Keeping a codebook alive: codes that nothing chooses are put where latents are.
//!
//! A code that is never the nearest gets no gradient and stays lost; small data loses most of a
//! codebook that way. Starting the codes at latents, and moving lost ones back to latents, is the
//! known cure (random restart).

use std::convert::Infallible;

use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};
use nuwa_data::Picture;
use nuwa_model::vqgan::Vqgan;
use nuwa_model::vqgan::tiled::Tiling;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Counts which codes are chosen.
#[derive(Debug, Clone, Serialize, Deserialize)]
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

/// Gives the codes of a picture as painting encodes it: in windows, and continued beyond its border
/// (see [`Vqgan::encode_continued`]), so that what is learned from them is what will be given.
///
/// # Shapes
/// `[1, h, w]` for a size of `[h, w]` tokens.
pub fn encode(
    vqgan: &Vqgan,
    picture: &Picture,
    size: [usize; 2],
    device: &Device,
) -> Tensor<3, Int> {
    let read = |[y, x]: [isize; 2], [h, w]: [usize; 2]| -> Result<Tensor<4>, Infallible> {
        Ok(picture.continued(x, y, w, h).to_tensor(device))
    };
    let tiling = Tiling::of_stride(vqgan.stride());
    let Ok(codes) = vqgan.encode_continued(size, &tiling, read);
    codes
}

/// Reads codes to the host.
pub fn codes_on_host<const D: usize>(codes: Tensor<D, Int>) -> Vec<i32> {
    codes
        .into_data()
        .convert::<i32>()
        .try_to_vec()
        .expect("converted to i32")
}

/// Moves every code that `usage` has not seen to a latent; gives how many were moved.
///
/// Latents are drawn as k-means++ draws its centres (Arthur and Vassilvitskii, 2007): each with a
/// chance proportional to the squared distance to the nearest code that is in use. Drawn evenly,
/// the codes of a picture that is mostly sky would tell shades of sky apart.
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
    if unused.is_empty() || b * h * w == 0 {
        return 0;
    }
    let latents = numbers(latents.inner().permute([0, 2, 3, 1]));
    let latents: Vec<&[f32]> = latents.chunks(d).collect();
    let weight = vqgan.quantize.embedding.weight.clone();
    vqgan.quantize.embedding.weight = changed(weight, |codes| {
        let (shape, device) = (codes.dims(), codes.device());
        let mut rows = numbers(codes);
        let mut centres = Centres::new(&latents);
        for code in (0..usage.counts.len()).filter(|&code| usage.counts[code] > 0) {
            centres.add(&rows[code * d..][..d]);
        }
        for &code in &unused {
            let latent = latents[centres.draw(rng)];
            rows[code * d..][..d].copy_from_slice(latent);
            centres.add(latent);
        }
        Tensor::from_data(TensorData::new(rows, shape), &device)
    });
    unused.len()
}

/// Changes values off the graph, and leaves the parameter as trainable as it was.
pub(super) fn changed<const D: usize>(
    param: Param<Tensor<D>>,
    change: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Param<Tensor<D>> {
    param.map(|values| {
        let (required, autodiff) = (values.is_require_grad(), values.is_autodiff());
        let values = if autodiff { values.inner() } else { values };
        let values = change(values);
        let values = if autodiff { values.autodiff() } else { values };
        values.set_require_grad(required)
    })
}

pub(super) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    data.try_to_vec().expect("converted to f32")
}

/// Squared distances of points to the nearest of some centres.
struct Centres<'a> {
    points: &'a [&'a [f32]],
    distances: Vec<f32>,
}

impl<'a> Centres<'a> {
    /// Starts without a centre: every point is equally far.
    fn new(points: &'a [&'a [f32]]) -> Self {
        let distances = vec![f32::INFINITY; points.len()];
        Self { points, distances }
    }

    fn add(&mut self, centre: &[f32]) {
        for (point, distance) in self.points.iter().zip(&mut self.distances) {
            let apart: f32 = point
                .iter()
                .zip(centre)
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            *distance = distance.min(apart);
        }
    }

    /// Draws a point, the more likely the farther it is.
    fn draw(&self, rng: &mut impl Rng) -> usize {
        let total: f64 = self.distances.iter().copied().map(f64::from).sum();
        if !(total.is_finite() && total > 0.0) {
            // No centre yet, or one at every point.
            return rng.random_range(0..self.points.len());
        }
        let mut left = rng.random::<f64>() * total;
        let reached = self.distances.iter().position(|&distance| {
            left -= f64::from(distance);
            left < 0.0
        });
        reached.unwrap_or(self.points.len() - 1)
    }
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

    #[test]
    fn latents_far_from_every_code_are_drawn_first() {
        let device = Device::flex();
        let config = VqganConfig {
            ch: 32,
            multipliers: vec![1],
            blocks: 1,
            z: 4,
            n_codes: 4,
            code_dim: 1,
        };
        let mut vqgan = config.init(&device);
        // A sky of nearly one value, and three stars of different brightness.
        let mut sky: Vec<f32> = (0..400).map(|at| 0.001 * (at % 7) as f32).collect();
        for (at, star) in [(13, 5.0), (200, -4.0), (377, 9.0)] {
            sky[at] = star;
        }
        let latents = Tensor::from_data(TensorData::new(sky, [1, 1, 20, 20]), &device);
        let moved = revive(
            &mut vqgan,
            &CodeUsage::new(4),
            latents,
            &mut StdRng::seed_from_u64(3),
        );
        assert_eq!(moved, 4);
        let mut codes = numbers(vqgan.quantize.embedding.weight.val());
        codes.sort_by(f32::total_cmp);
        assert_eq!([codes[0], codes[2], codes[3]], [-4.0, 5.0, 9.0]);
        assert!((0.0..0.01).contains(&codes[1]), "{codes:?}");
    }
}
