//! GEGLU (page §4): value ⊙ gelu(gate), exact erf; on the CPU by a kernel of our own.
//!
//! Burn's CPU backend takes one erf after the other. On other backends its gelu has the gradient
//! of the tanh approximation, so the exact one is spelled out there.

use burn::tensor::Tensor;

use super::precision::single;

/// Gives `[b, m, h]` for `[b, m, 2h]`, values first.
pub(super) fn geglu(expanded: Tensor<3>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if crate::flex::takes(&expanded) {
        return flex::geglu(expanded);
    }
    spelled_out(expanded)
}

fn spelled_out(expanded: Tensor<3>) -> Tensor<3> {
    let half = expanded.dims()[2] / 2;
    let value = expanded.clone().narrow(2, 0, half);
    let gate = expanded.narrow(2, half, half);
    let precision = gate.dtype();
    // In half precision erf + 1 would have no digits left where erf is nearly −1.
    let below = (single(gate.clone()) * std::f64::consts::FRAC_1_SQRT_2).erf() * 0.5 + 0.5;
    value * gate * below.cast(precision)
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
    use nuwa_kernels::geglu as kernel;

    use crate::flex::{numbers, record, tensor};

    pub(super) fn geglu(x: Tensor<3>) -> Tensor<3> {
        Tensor::from_dispatch(<Dispatch as Geglu>::geglu(x.into_dispatch()))
    }

    #[backend_extension(Flex, Autodiff)]
    trait Geglu: Backend {
        fn geglu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    }

    impl Geglu for Flex {
        fn geglu(x: FlexTensor) -> FlexTensor {
            let x = x.to_contiguous();
            let [b, m, two_h] = x.layout().shape().dims();
            let output = kernel::forward(numbers(&x), two_h / 2);
            tensor(output, [b, m, two_h / 2])
        }
    }

    impl<C: CheckpointStrategy> Geglu for Autodiff<Flex, C> {
        fn geglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
            record::<C, _, 1>(Rows, [x], |[x]| (Flex::geglu(x.clone()), x))
        }
    }

    #[derive(Debug)]
    struct Rows;

    impl Backward<Flex, 1> for Rows {
        /// The input.
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
                let input = ops.state.to_contiguous();
                let [b, m, two_h] = input.layout().shape().dims();
                let found = kernel::gradient(numbers(&input), numbers(&gradient), two_h / 2);
                gradients.register::<Flex>(node.id, tensor(found, [b, m, two_h]));
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use burn::tensor::Tolerance;

        use super::*;
        use crate::drawn;

        #[test]
        fn geglu_and_its_gradient_are_the_exact_ones() {
            // Widths that fill no register, and enough rows for two threads.
            for [b, m, h] in [[1, 1, 1], [2, 3, 37], [3, 50, 192]] {
                let draw = |shape: [usize; 3]| drawn::normal(shape, 0.0, 3.0);
                let (x, weight) = (draw([b, m, 2 * h]), draw([b, m, h]));
                let found = drawn::with_gradient(&x, &weight, geglu);
                let expected = drawn::with_gradient(&x, &weight, super::super::spelled_out);
                // 1.5e-7 of products that reach a hundred.
                for (found, expected) in found.iter().zip(&expected) {
                    found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-5, 2e-5));
                }
            }
        }
    }
}
