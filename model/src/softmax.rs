//! Softmax over the last axis and ln Σ exp, on the CPU by kernels of our own.
//!
//! Burn's CPU backend takes one exponential after the other, and under autodiff keeps every step in
//! between; attention spends more time there than in its products.

use burn::tensor::Tensor;

/// Gives the softmax over the last axis.
pub(crate) fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if crate::flex::takes(&x) {
        return flex::softmax(x);
    }
    burn::tensor::activation::softmax(x, D - 1)
}

/// Gives ln Σ exp over the last axis, which is 1 then: what scores lack to be log-probabilities.
pub fn log_sum_exp<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if crate::flex::takes(&x) {
        return flex::log_sum_exp(x);
    }
    let highest = x.clone().detach().max_dim(D - 1);
    (x - highest.clone()).exp().sum_dim(D - 1).log() + highest
}

#[cfg(feature = "flex")]
mod flex {
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::backend::flex::FlexTensor;
    use burn::backend::tensor::FloatTensor;
    use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
    use burn::tensor::Tensor;
    use nuwa_kernels::softmax as kernel;

    use crate::flex::{numbers, record, tensor};

    pub(super) fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
        Tensor::from_dispatch(<Dispatch as Softmax>::softmax(x.into_dispatch()))
    }

    pub(super) fn log_sum_exp<const D: usize>(x: Tensor<D>) -> Tensor<D> {
        Tensor::from_dispatch(<Dispatch as Softmax>::log_sum_exp(x.into_dispatch()))
    }

    #[backend_extension(Flex, Autodiff)]
    trait Softmax: Backend {
        fn softmax(x: FloatTensor<Self>) -> FloatTensor<Self>;

        fn log_sum_exp(x: FloatTensor<Self>) -> FloatTensor<Self>;
    }

    impl Softmax for Flex {
        fn softmax(x: FlexTensor) -> FlexTensor {
            let x = x.to_contiguous();
            map(&x, kernel::forward)
        }

        fn log_sum_exp(x: FlexTensor) -> FlexTensor {
            let x = x.to_contiguous();
            let mut shape = x.layout().shape().to_vec();
            let n = shape.last_mut().expect("an axis");
            let totals = kernel::totals(numbers(&x), std::mem::replace(n, 1));
            tensor(totals, shape)
        }
    }

    impl<C: CheckpointStrategy> Softmax for Autodiff<Flex, C> {
        fn softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
            record::<C, _, 1>(Rows, [x], |[x]| {
                let output = Flex::softmax(x);
                (output.clone(), output)
            })
        }

        fn log_sum_exp(x: FloatTensor<Self>) -> FloatTensor<Self> {
            record::<C, _, 1>(Totals, [x], |[x]| {
                let x = x.to_contiguous();
                let output = Flex::log_sum_exp(x.clone());
                (output.clone(), [x, output])
            })
        }
    }

    #[derive(Debug)]
    struct Totals;

    impl Backward<Flex, 1> for Totals {
        /// The input and the output.
        type State = [FlexTensor; 2];

        fn backward(
            self,
            ops: Ops<Self::State, 1>,
            gradients: &mut Gradients,
            _checkpointer: &mut Checkpointer,
        ) {
            let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
            let ([parent], [x, totals]) = (ops.parents, ops.state);
            if let Some(node) = parent {
                let found = map(&x, |x, n| {
                    kernel::of_totals(x, numbers(&totals), numbers(&gradient), n)
                });
                gradients.register::<Flex>(node.id, found);
            }
        }
    }

    #[derive(Debug)]
    struct Rows;

    impl Backward<Flex, 1> for Rows {
        /// The output.
        type State = FlexTensor;

        fn backward(
            self,
            ops: Ops<Self::State, 1>,
            gradients: &mut Gradients,
            _checkpointer: &mut Checkpointer,
        ) {
            let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
            let [parent] = ops.parents;
            if let Some(node) = parent {
                let found = map(&ops.state, |output, n| {
                    kernel::gradient(output, numbers(&gradient), n)
                });
                gradients.register::<Flex>(node.id, found);
            }
        }
    }

    /// Gives a tensor of the same shape; `work` is also told how long a row is.
    fn map(x: &FlexTensor, work: impl Fn(&[f32], usize) -> Vec<f32>) -> FlexTensor {
        let shape = x.layout().shape().clone();
        let n = shape.iter().last().copied().unwrap_or(1);
        tensor(work(numbers(x), n), shape)
    }

    #[cfg(test)]
    mod tests {
        use burn::tensor::Tolerance;

        use super::*;
        use crate::drawn;

        #[test]
        fn log_sum_exp_and_its_gradient_are_those_of_burn() {
            for (rows, n) in [(1, 1), (7, 15), (300, 97)] {
                let x: Tensor<2> = drawn::normal([n, rows], 0.0, 40.0).transpose();
                let weight: Tensor<2> = drawn::normal([rows, 1], 0.0, 20.0);
                let found = drawn::with_gradient(&x, &weight, log_sum_exp);
                let expected = drawn::with_gradient(&x, &weight, |x| {
                    let log_p = burn::tensor::activation::log_softmax(x.clone(), 1);
                    (x - log_p).mean_dim(1)
                });
                for (found, expected) in found.iter().zip(&expected) {
                    // Sums reach 150, of which single precision has the fifth digit.
                    found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-5, 2e-5));
                }
            }
        }

        #[test]
        fn softmax_and_its_gradient_are_those_of_burn() {
            for (rows, n) in [(1, 1), (7, 15), (300, 97)] {
                let x: Tensor<2> = drawn::normal([rows, n], 0.0, 20.0);
                // A hidden place, as masks make them, and rows that are a view.
                let x = x.slice_fill([0..rows, 0..n / 4], f32::NEG_INFINITY);
                let weight: Tensor<2> = drawn::normal([n, rows], 0.0, 20.0).transpose();
                let found = drawn::with_gradient(&x, &weight, softmax);
                let expected =
                    drawn::with_gradient(&x, &weight, |x| burn::tensor::activation::softmax(x, 1));
                for (found, expected) in found.iter().zip(&expected) {
                    found.assert_approx_eq::<f32>(expected, Tolerance::absolute(3e-5));
                }
            }
        }
    }
}
