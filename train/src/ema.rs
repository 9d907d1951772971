//! An exponential moving average of weights (Polyak and Juditsky, 1992), to paint with.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Bool, Int, Tensor};

/// Gives the average moved a step towards the weights: `decay · average + (1 − decay) · weights`.
///
/// Early on the average follows faster, with a decay of (1 + n) / (10 + n) after `n` updates, so
/// that the random start does not stay in it (as in TensorFlow's `ExponentialMovingAverage`).
/// Weights that are not trained stay what they are; averaged with themselves, they would drift.
///
/// # Panics
/// When the two are not copies of one module.
pub fn follow<M: Module>(average: M, weights: &M, decay: f64, updates: u64) -> M {
    let n = updates as f64;
    let decay = decay.min((1.0 + n) / (10.0 + n));
    let mut now = Now::default();
    weights.visit(&mut now);
    average.map(&mut Follow { now, decay })
}

/// The weights by their names, flattened and off the graph; none where they are not trained.
#[derive(Default)]
struct Now(HashMap<ParamId, Option<Tensor<1>>>);

impl ModuleVisitor for Now {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let trained = match (value.is_autodiff(), value.is_require_grad()) {
            (true, true) => Some(value.inner()),
            (true, false) => None,
            (false, _) => Some(value),
        };
        let trained = trained.map(|value| value.flatten(0, D - 1));
        self.0.insert(param.id, trained);
    }
    fn visit_int<const D: usize>(&mut self, _: &Param<Tensor<D, Int>>) {}
    fn visit_bool<const D: usize>(&mut self, _: &Param<Tensor<D, Bool>>) {}
}

struct Follow {
    now: Now,
    decay: f64,
}

impl ModuleMapper for Follow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let now = self
            .now
            .0
            .remove(&param.id)
            .expect("a copy of the same module");
        let Some(now) = now else { return param };
        let decay = self.decay;
        param.map(|average| {
            let now = now.reshape(average.dims());
            average * decay + now * (1.0 - decay)
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    use super::*;
    use crate::materialize::materialize;

    fn first(linear: &Linear) -> f32 {
        let weights = linear.weight.val().into_data();
        weights.try_to_vec::<f32>().expect("f32")[0]
    }

    #[test]
    fn the_average_moves_by_the_decay_and_faster_at_first() {
        let device = Device::flex().autodiff();
        let mut weights = materialize(LinearConfig::new(1, 1).init(&device));
        weights.weight = weights.weight.map(|w| w.zeros_like());
        let average = weights.clone().valid();
        weights.weight = weights.weight.map(|w| w.ones_like().require_grad());
        let early = follow(average, &weights, 0.9, 0);
        assert!((first(&early) - 0.9).abs() < 1e-6, "{}", first(&early));
        let late = follow(early, &weights, 0.5, 1_000_000);
        assert!((first(&late) - 0.95).abs() < 1e-6, "{}", first(&late));
        // What is not trained is not averaged, whatever it is.
        let still = follow(late.clone(), &weights.no_grad(), 0.5, 1_000_000);
        assert_eq!(first(&still), first(&late));
    }
}
