//! Layer normalization, on the CPU by a kernel of our own: under autodiff Burn keeps and runs a
//! dozen steps for each.

use burn::nn::LayerNorm;
use burn::tensor::Tensor;
use burn::tensor::module::layer_norm;

use super::precision::single;

/// Added to the variance: burn-nn's default, which every normalization here has (page §7).
pub(super) const EPSILON: f64 = 1e-5;

/// Normalizes states `[b, m, d]` over their width. Those of half precision are summed and divided in
/// single precision, and given back as they came.
pub(super) fn normalize(norm: &LayerNorm, states: Tensor<3>) -> Tensor<3> {
    let precision = states.dtype();
    normalize_single(norm, single(states)).cast(precision)
}

/// Gives states `[b, m, d]` with mean 0 and variance 1 over their width, in single precision at least: what
/// [`normalize`] gives before γ and β.
pub(super) fn standardize(states: Tensor<3>) -> Tensor<3> {
    let states = single(states);
    let ([_, _, d], device) = (states.dims(), states.device());
    let (ones, zeros) = (Tensor::ones([d], &device), Tensor::zeros([d], &device));
    #[cfg(feature = "flex")]
    if crate::flex::takes(&states) {
        return flex::layer_norm(states, ones, zeros);
    }
    layer_norm(states, ones, Some(zeros), EPSILON)
}

/// Gives γ and β.
pub(super) fn affine(norm: &LayerNorm) -> (Tensor<1>, Tensor<1>) {
    let beta = norm
        .beta
        .as_ref()
        .expect("every normalization here has both");
    (norm.gamma.val(), beta.val())
}

fn normalize_single(norm: &LayerNorm, states: Tensor<3>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    if let (true, Some(beta)) = (crate::flex::takes(&states), &norm.beta) {
        return flex::layer_norm(states, norm.gamma.val(), beta.val());
    }
    norm.forward(states)
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
    use nuwa_kernels::layer_norm as kernel;

    use super::EPSILON;
    use crate::flex::{numbers, record, tensor};

    pub(super) fn layer_norm(x: Tensor<3>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<3> {
        let (x, gamma, beta) = (
            x.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
        );
        Tensor::from_dispatch(<Dispatch as Normalization>::row_norm(x, gamma, beta))
    }

    #[backend_extension(Flex, Autodiff)]
    trait Normalization: Backend {
        fn row_norm(
            x: FloatTensor<Self>,
            gamma: FloatTensor<Self>,
            beta: FloatTensor<Self>,
        ) -> FloatTensor<Self>;
    }

    impl Normalization for Flex {
        fn row_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor) -> FlexTensor {
            let [x, gamma, beta] = [x, gamma, beta].map(|tensor| tensor.to_contiguous());
            let output = kernel::forward(numbers(&x), numbers(&gamma), numbers(&beta), EPSILON);
            tensor(output, x.layout().shape().clone())
        }
    }

    impl<C: CheckpointStrategy> Normalization for Autodiff<Flex, C> {
        fn row_norm(
            x: FloatTensor<Self>,
            gamma: FloatTensor<Self>,
            beta: FloatTensor<Self>,
        ) -> FloatTensor<Self> {
            record::<C, _, 3>(Rows, [x, gamma, beta], |[x, gamma, beta]| {
                let state = [x.clone(), gamma.clone()];
                (Flex::row_norm(x, gamma, beta), state)
            })
        }
    }

    #[derive(Debug)]
    struct Rows;

    impl Backward<Flex, 3> for Rows {
        /// Input and γ.
        type State = [FlexTensor; 2];

        fn backward(
            self,
            ops: Ops<Self::State, 3>,
            gradients: &mut Gradients,
            _checkpointer: &mut Checkpointer,
        ) {
            let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
            let [x, gamma] = ops.state.map(|tensor| tensor.to_contiguous());
            let [of_x, of_gamma, of_beta] = ops.parents;
            let found = kernel::gradients(
                numbers(&x),
                numbers(&gamma),
                numbers(&gradient),
                EPSILON,
                of_x.is_some(),
            );
            let row = gamma.layout().shape();
            let found = [
                (of_x, found.input, x.layout().shape()),
                (of_gamma, found.gamma, row),
                (of_beta, found.beta, row),
            ];
            for (node, numbers, shape) in found {
                if let Some(node) = node {
                    gradients.register::<Flex>(node.id, tensor(numbers, shape.clone()));
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use burn::nn::{LayerNorm, LayerNormConfig};
        use burn::tensor::{Device, Tolerance};

        use super::*;
        use crate::drawn;

        fn draw<const D: usize>(shape: [usize; D]) -> Tensor<D> {
            drawn::normal(shape, 0.5, 2.0)
        }

        #[test]
        fn the_kernel_is_burns_own_normalization_and_so_are_its_gradients() {
            // Rows that fill no register, and enough of them for two threads.
            for [b, m, d] in [[1, 1, 2], [2, 3, 37], [3, 80, 192]] {
                let mut norm: LayerNorm = LayerNormConfig::new(d).init(&Device::flex());
                let (gamma, beta) = (draw([d]), draw([d]));
                // So small that it shows which number is added to the variance.
                let x = draw([b, m, d]) * 0.01;
                let weight = Tensor::from_inner(draw([b, m, d]));
                let mut run = |normalize: &dyn Fn(&LayerNorm, Tensor<3>) -> Tensor<3>, tracked| {
                    norm.gamma = burn::module::Param::from_tensor(
                        Tensor::from_inner(gamma.clone()).require_grad(),
                    );
                    norm.beta = Some(burn::module::Param::from_tensor(
                        Tensor::from_inner(beta.clone()).require_grad(),
                    ));
                    let x = Tensor::from_inner(x.clone()).set_require_grad(tracked);
                    let y = normalize(&norm, x.clone());
                    let gradients = (y.clone() * weight.clone()).sum().backward();
                    let mut found = vec![y.inner().into_data()];
                    let of_gamma = norm.gamma.val().grad(&gradients).expect("tracked");
                    let beta = norm.beta.as_ref().expect("set above").val();
                    let of_beta = beta.grad(&gradients).expect("tracked");
                    found.extend(x.grad(&gradients).map(Tensor::into_data));
                    found.extend([of_gamma, of_beta].map(Tensor::into_data));
                    found
                };
                for tracked in [true, false] {
                    let found = run(&super::super::normalize, tracked);
                    let expected = run(&|norm, x| norm.forward(x), tracked);
                    assert_eq!(found.len(), expected.len());
                    for (found, expected) in found.iter().zip(&expected) {
                        found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-4, 2e-5));
                    }
                }
            }
        }
    }
}
