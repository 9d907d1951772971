//! Adam (Kingma and Ba, 2015), on the CPU in one pass by a kernel of our own: Burn's runs a dozen
//! over weights and moments, a fifth of a small model's training step.

use burn::optim::{AdamConfig, AdamState, AdaptiveMomentumState, ModuleOptimizer, Optimizer};
use burn::tensor::{Device, Tensor};

/// The numbers of Adam. What it keeps of a parameter is the state of Burn's Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// What is kept of the first moment in a step.
    pub beta_1: f32,
    /// What is kept of the second moment in a step.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
}

impl Default for Adam {
    /// β 0.9 and 0.999, ε 1e-8 (page §6).
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
        }
    }
}

impl Adam {
    /// Gives an optimizer of whole modules.
    pub fn init(self) -> ModuleOptimizer {
        ModuleOptimizer::from(self)
    }

    fn of_burn(self) -> burn::optim::Adam {
        AdamConfig::new()
            .with_beta_1(self.beta_1)
            .with_beta_2(self.beta_2)
            .with_epsilon(self.epsilon)
            .build()
    }
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        rate: f64,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        #[cfg(feature = "flex")]
        if nuwa_model::flex::takes(&weights) {
            let (weights, state) = flex::step(self, rate, weights, gradient, state);
            return (weights, Some(state));
        }
        self.of_burn().step(rate, weights, gradient, state)
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        burn::optim::Adam::to_device(state, device)
    }
}

#[cfg(feature = "flex")]
mod flex {
    use burn::backend::flex::FlexTensor;
    use burn::backend::tensor::FloatTensor;
    use burn::backend::{Backend, Dispatch, Flex, backend_extension};
    use nuwa_kernels::adam::{self, Factors};
    use nuwa_model::flex::{numbers, tensor};

    use super::*;

    pub(super) fn step<const D: usize>(
        adam: &Adam,
        rate: f64,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, AdamState<D>) {
        let momentum = state.map(|state| state.momentum).unwrap_or_else(|| {
            let zeros = || Tensor::zeros(weights.dims(), &weights.device());
            AdaptiveMomentumState::new(0, zeros(), zeros())
        });
        let time = momentum.time + 1;
        // beta^time without the rounding of single precision, in which 1 − β₂ has three digits.
        let correction = |beta: f32| 1.0 - f64::from(beta).powi(time as i32);
        let root = correction(adam.beta_2).sqrt();
        let factors = Factors {
            beta_1: adam.beta_1,
            beta_2: adam.beta_2,
            rate: (rate * root / correction(adam.beta_1)) as f32,
            epsilon: (f64::from(adam.epsilon) * root) as f32,
        };
        let (weights, moment_1, moment_2) = <Dispatch as AdamStep>::adam_step(
            weights.into_dispatch(),
            gradient.into_dispatch(),
            momentum.moment_1.into_dispatch(),
            momentum.moment_2.into_dispatch(),
            factors,
        );
        let [weights, moment_1, moment_2] =
            [weights, moment_1, moment_2].map(Tensor::from_dispatch);
        let momentum = AdaptiveMomentumState::new(time, moment_1, moment_2);
        (weights, AdamState::new(momentum))
    }

    #[backend_extension(Flex)]
    trait AdamStep: Backend {
        fn adam_step(
            weights: FloatTensor<Self>,
            gradient: FloatTensor<Self>,
            moment_1: FloatTensor<Self>,
            moment_2: FloatTensor<Self>,
            factors: Factors,
        ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    }

    impl AdamStep for Flex {
        fn adam_step(
            weights: FlexTensor,
            gradient: FlexTensor,
            moment_1: FlexTensor,
            moment_2: FlexTensor,
            factors: Factors,
        ) -> (FlexTensor, FlexTensor, FlexTensor) {
            let [mut moment_1, mut moment_2] = [moment_1, moment_2].map(own);
            let [weights, gradient] = [weights, gradient].map(|tensor| tensor.to_contiguous());
            let moved = adam::step(
                numbers(&weights),
                numbers(&gradient),
                moment_1.storage_mut(),
                moment_2.storage_mut(),
                factors,
            );
            let weights = tensor(moved, weights.layout().shape().clone());
            (weights, moment_1, moment_2)
        }
    }

    /// Gives a tensor whose storage is its numbers in order, and all of them.
    fn own(tensor: FlexTensor) -> FlexTensor {
        let tensor = tensor.to_contiguous();
        if tensor.storage::<f32>().len() == tensor.layout().num_elements() {
            return tensor;
        }
        // Part of a larger buffer.
        FlexTensor::from_data(tensor.into_data())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};

    use super::*;

    #[test]
    fn three_steps_are_those_of_burns_adam() {
        let device = Device::flex();
        let draw = || Tensor::<2>::random([130, 200], Distribution::Normal(0.0, 1.0), &device);
        let adam = Adam {
            beta_1: 0.8,
            beta_2: 0.95,
            epsilon: 1e-3,
        };
        // A view of a larger tensor, and transposed: what is stored is not what it holds.
        let start = Tensor::<2>::random([200, 140], Distribution::Normal(0.0, 1.0), &device)
            .narrow(1, 5, 130)
            .transpose();
        let before = start.to_data();
        let (mut found, mut state) = (start.clone(), None);
        let (mut expected, mut state_of_burn) = (start.clone(), None);
        for _ in 0..3 {
            let gradient = draw();
            (found, state) = adam.step(0.1, found, gradient.clone(), state);
            (expected, state_of_burn) = adam.of_burn().step(0.1, expected, gradient, state_of_burn);
        }
        let near = Tolerance::rel_abs(1e-5, 1e-5);
        found
            .into_data()
            .assert_approx_eq::<f32>(&expected.into_data(), near);
        let [state, state_of_burn] =
            [state, state_of_burn].map(|state| state.expect("kept").momentum);
        assert_eq!(state.time, state_of_burn.time);
        let moments = [
            (state.moment_1, state_of_burn.moment_1),
            (state.moment_2, state_of_burn.moment_2),
        ];
        for (found, expected) in moments {
            found
                .into_data()
                .assert_approx_eq::<f32>(&expected.into_data(), near);
        }
        assert_eq!(
            start.into_data(),
            before,
            "shared weights stay as they were"
        );
    }
}
