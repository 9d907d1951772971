//! Attention over the places of a feature map. Axis letters as in `blocks`; `n` places.

use burn::module::Module;
use burn::nn::GroupNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor};

use super::blocks::{conv1x1, conv2d, group_norm};
use super::moments::Norms;
use crate::softmax::softmax;

/// Largest attention score matrix held at once; larger ones are computed in bands of queries.
const MAX_SCORES: usize = 1 << 24;

/// Attention of one head over all places of a feature map.
#[derive(Module, Debug)]
pub(crate) struct PixelAttention {
    norm: GroupNorm,
    q: Conv2d,
    k: Conv2d,
    v: Conv2d,
    pub(super) proj_out: Conv2d,
}

impl PixelAttention {
    pub(crate) fn new(channels: usize, device: &Device) -> Self {
        let project = || conv1x1(channels, channels, device);
        Self {
            norm: group_norm(channels, device),
            q: project(),
            k: project(),
            v: project(),
            proj_out: project(),
        }
    }

    /// Adds to every place a mix of all places.
    ///
    /// # Shapes
    /// `[b, c, h, w]` to the same.
    pub(crate) fn forward(&self, x: Tensor<4>, norms: &mut Norms<'_>) -> Option<Tensor<4>> {
        let [b, c, h, w] = x.dims();
        let places = h * w;
        let normed = norms.normalize(&self.norm, x.clone())?;
        let project = |conv| conv2d(conv, normed.clone()).reshape([b, c, places]); // [b, c, n]
        let q = project(&self.q).swap_dims(1, 2) * (c as f64).powf(-0.5); // [b, n, c]
        let (k, v) = (project(&self.k), project(&self.v).swap_dims(1, 2));

        let mixed = attend(q, k, v, MAX_SCORES).swap_dims(1, 2); // [b, c, n]
        Some(x + conv2d(&self.proj_out, mixed.reshape([b, c, h, w])))
    }
}

/// Mixes values by softmax of the products of queries and keys, `max_scores` of them at a time.
///
/// # Shapes
/// `q`, `v`: `[b, n, c]`, `k`: `[b, c, n]`, to `[b, n, c]`.
fn attend(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, max_scores: usize) -> Tensor<3> {
    let [b, n, _] = q.dims();
    let rows = (max_scores / (b * n)).clamp(1, n);
    let bands = (0..n).step_by(rows).map(|start| {
        let q = q.clone().narrow(1, start, rows.min(n - start));
        softmax(q.matmul(k.clone())).matmul(v.clone())
    });
    Tensor::cat(bands.collect(), 1)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    #[test]
    fn attention_in_bands_is_attention() {
        let device = Device::flex();
        let draw = |shape| Tensor::<3>::random(shape, Distribution::Default, &device);
        let (q, k, v) = (draw([2, 7, 4]), draw([2, 4, 7]), draw([2, 7, 4]));
        let whole = attend(q.clone(), k.clone(), v.clone(), 1000).into_data();
        for max_scores in [1, 30, 50] {
            let banded = attend(q.clone(), k.clone(), v.clone(), max_scores).into_data();
            banded.assert_approx_eq::<f32>(&whole, Tolerance::absolute(1e-6));
        }
    }
}
