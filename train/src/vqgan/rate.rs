//! What codes cost: the price of rare codes while they are learned, and codes that keep it.

use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use nuwa_model::vqgan::Vqgan;
use serde::{Deserialize, Serialize};

use super::codebook::{changed, numbers};

/// What a code costs beside its distance: the less it is chosen, the more.
///
/// ours: entropy-constrained vector quantization (Chou, Lookabaugh and Gray, 1989), of which latents
/// and codes then learn. Without it, plain sky falls to hundreds of codes that look alike, and a
/// renderer has nothing to learn from which of them comes next.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CodeRate {
    /// Price of a nat, in mean squared distances of chosen codes to their mean.
    weight: f64,
    /// How often each code was chosen lately; older choices fade.
    #[serde(with = "bits")]
    counts: Vec<f64>,
}

impl CodeRate {
    /// How much of what was counted is left after the next step.
    const MEMORY: f64 = 0.99;

    /// Begins with codes of equal cost.
    pub fn new(weight: f64, n_codes: usize) -> Self {
        Self {
            weight,
            counts: vec![1.0; n_codes],
        }
    }

    /// Counts the codes of a step.
    pub fn count(&mut self, codes: &[i32]) {
        for count in &mut self.counts {
            *count *= Self::MEMORY;
        }
        for &code in codes {
            self.counts[code as usize] += 1.0;
        }
    }

    /// Gives what each code costs now, off the graph.
    ///
    /// # Shapes
    /// `codebook`: `[n_codes, code_dim]`, off the graph; gives `[n_codes]`.
    pub fn costs(&self, codebook: Tensor<2>) -> Tensor<1> {
        // One more for each, so that a code that was never chosen can be.
        let total: f64 = self.counts.iter().map(|count| count + 1.0).sum();
        let price = self.weight * self.spread(codebook.clone());
        let cost = |count: &f64| (price * -((count + 1.0) / total).ln()) as f32;
        let costs: Vec<f32> = self.counts.iter().map(cost).collect();
        Tensor::from_floats(costs.as_slice(), &codebook.device())
    }

    /// Gives the mean squared distance of chosen codes to their mean.
    fn spread(&self, codebook: Tensor<2>) -> f64 {
        let [_, dim] = codebook.dims();
        let codebook = numbers(codebook);
        let total: f64 = self.counts.iter().sum();
        let weighed = || {
            let shares = self.counts.iter().map(|count| count / total);
            shares.zip(codebook.chunks_exact(dim))
        };
        let mut mean = vec![0.0; dim];
        for (share, code) in weighed() {
            for (mean, &value) in mean.iter_mut().zip(code) {
                *mean += share * f64::from(value);
            }
        }
        let apart = |code: &[f32]| -> f64 {
            let squares = code
                .iter()
                .zip(&mean)
                .map(|(&a, b)| (f64::from(a) - b).powi(2));
            squares.sum()
        };
        weighed().map(|(share, code)| share * apart(code)).sum()
    }
}

/// Numbers as their bits: JSON may come back another number in the last place, and a training that
/// goes on must be the one that was left.
mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(numbers: &[f64], to: S) -> Result<S::Ok, S::Error> {
        let bits: Vec<u64> = numbers.iter().map(|number| number.to_bits()).collect();
        bits.serialize(to)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<f64>, D::Error> {
        let bits = Vec::<u64>::deserialize(from)?;
        Ok(bits.into_iter().map(f64::from_bits).collect())
    }
}

/// Gives a VQGAN whose nearest code is the code for which squared distance and cost are least
/// together.
///
/// Latents get one more number, which is 0 and which the decoder does not look at; codes have the
/// root of their cost there. So it is a VQGAN like any other, with one more number per code.
///
/// # Shapes
/// `costs`: `[n_codes]`.
pub fn with_costs(mut vqgan: Vqgan, costs: Tensor<1>) -> Vqgan {
    // What all cost decides nothing.
    let roots = (costs.clone() - costs.min()).sqrt().unsqueeze_dim::<2>(1);
    let embedding = vqgan.quantize.embedding.weight;
    vqgan.quantize.embedding.weight =
        changed(embedding, |codes| Tensor::cat(vec![codes, roots], 1));
    let zero = |weight: &Tensor<4>, at| weight.clone().narrow(at, 0, 1).zeros_like();
    change_weight(&mut vqgan.quant_conv, |weight| {
        let zero = zero(&weight, 0);
        Tensor::cat(vec![weight, zero], 0)
    });
    vqgan.quant_conv.bias = vqgan.quant_conv.bias.map(|bias| {
        changed(bias, |bias| {
            let zero = bias.clone().narrow(0, 0, 1).zeros_like();
            Tensor::cat(vec![bias, zero], 0)
        })
    });
    change_weight(&mut vqgan.post_quant_conv, |weight| {
        let zero = zero(&weight, 1);
        Tensor::cat(vec![weight, zero], 1)
    });
    vqgan
}

/// Takes apart what [`with_costs`] put together; costs are those beside the cheapest code's.
///
/// # Shapes
/// `[n_codes]`.
pub fn without_costs(mut vqgan: Vqgan) -> (Vqgan, Tensor<1>) {
    let embedding = vqgan.quantize.embedding.weight;
    let [_, dims] = embedding.dims();
    let dim = dims - 1;
    let roots = embedding.val().narrow(1, dim, 1);
    let roots = if roots.is_autodiff() {
        roots.inner()
    } else {
        roots
    };
    let costs = roots.square().squeeze_dim::<1>(1);
    vqgan.quantize.embedding.weight = changed(embedding, |codes| codes.narrow(1, 0, dim));
    change_weight(&mut vqgan.quant_conv, |weight| weight.narrow(0, 0, dim));
    vqgan.quant_conv.bias = vqgan
        .quant_conv
        .bias
        .map(|bias| changed(bias, |bias| bias.narrow(0, 0, dim)));
    change_weight(&mut vqgan.post_quant_conv, |weight| {
        weight.narrow(1, 0, dim)
    });
    (vqgan, costs)
}

fn change_weight(conv: &mut Conv2d, change: impl FnOnce(Tensor<4>) -> Tensor<4>) {
    conv.weight = changed(conv.weight.clone(), change);
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, TensorData};
    use nuwa_model::vqgan::VqganConfig;

    use super::*;

    #[test]
    fn what_is_chosen_often_becomes_cheap_and_what_is_not_dear() {
        let device = Device::flex();
        let mut rate = CodeRate::new(0.25, 4);
        // Three quarters at 1 and a quarter at 5, whose mean is 2: in the mean square 3 apart from it.
        let codebook = Tensor::<1>::from_floats([1.0, 5.0, 5.0, 5.0], &device).reshape([4, 1]);
        let costs = |rate: &CodeRate| numbers(rate.costs(codebook.clone()));
        let first = costs(&rate);
        assert!(first.iter().all(|&cost| cost == first[0]), "{first:?}");
        for _ in 0..500 {
            rate.count(&[0, 0, 0, 0, 0, 0, 1, 2]);
        }
        let costs = costs(&rate);
        // The price of a nat is a quarter of 3; counts are those of the last hundred steps.
        let nats = [600.0_f32, 100.0, 100.0, 0.0].map(|count| -((count + 1.0) / 804.0).ln());
        for (cost, nats) in costs.iter().zip(nats) {
            assert!((cost - 0.75 * nats).abs() < 0.05, "{cost} of {nats}");
        }
    }

    #[test]
    fn costs_that_codes_keep_choose_as_costs_beside_them_and_decode_alike() {
        let device = Device::flex();
        device.seed(5);
        let config = VqganConfig {
            ch: 32,
            multipliers: vec![1, 1],
            blocks: 1,
            z: 8,
            n_codes: 12,
            code_dim: 3,
        };
        let plain = crate::materialize::materialize(config.init(&device));
        let pixels = Tensor::random([2, 3, 16, 16], Distribution::Uniform(-1.0, 1.0), &device);
        let latents = plain.latents(pixels.clone());
        // Costs as large as the distances that they are weighed against.
        let spread: f32 = latents.clone().var(1).mean().into_scalar();
        let costs: Vec<f32> = (0..12)
            .map(|at| spread * (1 + at * 5 % 12) as f32)
            .collect();
        let costs = Tensor::from_data(TensorData::new(costs, [12]), &device);

        let chosen = plain.quantize.cheapest(latents, Some(costs.clone()));
        let priced = with_costs(plain.clone(), costs.clone());
        let codes = priced.encode(pixels.clone());
        assert_eq!(codes.to_data(), chosen.to_data());
        assert_ne!(
            codes.to_data(),
            plain.encode(pixels).to_data(),
            "costs decide"
        );
        priced
            .decode(codes.clone())
            .into_data()
            .assert_approx_eq::<f32>(&plain.decode(codes).into_data(), Default::default());

        let (back, rest) = without_costs(priced);
        assert_eq!(
            back.quant_conv.weight.to_data(),
            plain.quant_conv.weight.to_data()
        );
        assert_eq!(
            back.quantize.embedding.weight.to_data(),
            plain.quantize.embedding.weight.to_data()
        );
        rest.into_data().assert_approx_eq::<f32>(
            &(costs.clone() - costs.min()).into_data(),
            Default::default(),
        );
    }
}
