//! Linear layers on the CPU. Burn's own allocate, clear and copy around every product, and add the
//! bias in a pass of its own: together more work than the products of a small model.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use nuwa_kernels::linear as kernel;
use nuwa_kernels::product::Matrix;

use crate::flex::{numbers, record, tensor};

/// Gives x W + bias, on the graph or off it.
///
/// # Shapes
/// x `[b, m, k]`, weight `[k, n]`, bias `[n]`; gives `[b, m, n]`.
pub(in crate::render) fn linear(
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<3> {
    let bias = bias.unwrap_or_else(|| Tensor::zeros([0], &x.device()));
    let (x, weight, bias) = (
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    );
    Tensor::from_dispatch(<Dispatch as Linear>::linear_layer(x, weight, bias))
}

#[backend_extension(Flex, Autodiff)]
trait Linear: Backend {
    fn linear_layer(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl Linear for Flex {
    fn linear_layer(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let (x, bias) = (x.to_contiguous(), bias.to_contiguous());
        let ([b, m, _], [_, n]) = (x.layout().shape().dims(), weight.layout().shape().dims());
        let output = kernel::forward(numbers(&x), matrix(&weight), numbers(&bias));
        tensor(output, [b, m, n])
    }
}

impl<C: CheckpointStrategy> Linear for Autodiff<Flex, C> {
    fn linear_layer(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<C, _, 3>(Rows, [x, weight, bias], |[x, weight, bias]| {
            let state = [x.clone(), weight.clone()];
            (Flex::linear_layer(x, weight, bias), state)
        })
    }
}

#[derive(Debug)]
struct Rows;

impl Backward<Flex, 3> for Rows {
    /// Input and weight.
    type State = [FlexTensor; 2];

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let [x, weight] = ops.state;
        let [of_x, of_weight, of_bias] = ops.parents;
        let [k, n] = weight.layout().shape().dims();
        if let Some(node) = of_x {
            let found = kernel::of_input(numbers(&gradient), matrix(&weight));
            let found = tensor(found, x.layout().shape().clone());
            gradients.register::<Flex>(node.id, found);
        }
        if let Some(node) = of_weight {
            let x = x.to_contiguous();
            let found = kernel::of_weight(numbers(&x), numbers(&gradient), k, n);
            gradients.register::<Flex>(node.id, tensor(found, [k, n]));
        }
        if let Some(node) = of_bias {
            let found = kernel::of_bias(numbers(&gradient), n);
            gradients.register::<Flex>(node.id, tensor(found, [n]));
        }
    }
}

/// Gives a weight where and as it lies: a tied one is a transposed view.
fn matrix(weight: &FlexTensor) -> Matrix<'_> {
    let layout = weight.layout();
    let strides = layout.strides();
    let strides = [strides[0], strides[1]]
        .map(|stride| usize::try_from(stride).expect("no weight is stored backwards"));
    let numbers = &weight.storage::<f32>()[layout.start_offset()..];
    Matrix::strided(numbers, layout.shape().dims(), strides)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Tolerance, module};

    use super::*;
    use crate::drawn;

    fn draw<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        drawn::normal(shape, 0.0, 1.0)
    }

    #[test]
    fn the_layer_is_burns_and_so_are_its_gradients() {
        for [b, m, k, n] in [[1, 1, 1, 1], [2, 3, 5, 7], [3, 60, 96, 130]] {
            let (x, bias, pull) = (draw([b, m, k]), draw([n]), draw([b, m, n]));
            // As a tied weight comes: transposed, and part of something larger.
            let weight = draw([n, k + 3]).narrow(1, 2, k).transpose();
            let run = |layer: &dyn Fn(Tensor<3>, Tensor<2>, Tensor<1>) -> Tensor<3>, tracked| {
                let x = Tensor::from_inner(x.clone()).set_require_grad(tracked);
                let weight = Tensor::from_inner(weight.clone()).require_grad();
                let bias = Tensor::from_inner(bias.clone()).require_grad();
                let y = layer(x.clone(), weight.clone(), bias.clone());
                let gradients = (y.clone() * Tensor::from_inner(pull.clone()))
                    .sum()
                    .backward();
                let mut found = vec![y.inner().into_data()];
                found.extend(x.grad(&gradients).map(Tensor::into_data));
                found.extend(weight.grad(&gradients).map(Tensor::into_data));
                found.extend(bias.grad(&gradients).map(Tensor::into_data));
                found
            };
            for tracked in [true, false] {
                let found = run(&|x, weight, bias| linear(x, weight, Some(bias)), tracked);
                let expected = run(&|x, w, bias| module::linear(x, w, Some(bias)), tracked);
                assert_eq!(found.len(), 3 + usize::from(tracked));
                for (found, expected) in found.iter().zip(&expected) {
                    found.assert_approx_eq::<f32>(expected, Tolerance::rel_abs(1e-4, 1e-4));
                }
            }
            let found = linear(x.clone(), weight.clone(), None).into_data();
            let expected = module::linear(x, weight, None).into_data();
            found.assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(1e-4, 1e-4));
        }
    }

    #[test]
    fn weights_on_the_graph_learn_from_single_tokens_off_it() {
        // The context of patches of one token, which the kernel for single rows must not take.
        let x = draw([3, 1, 5]);
        let weight = Tensor::from_inner(draw([5, 2])).require_grad();
        let y = crate::render::attention::project_by(x.clone(), weight.clone(), None);
        let gradient = weight.grad(&y.sum().backward()).expect("tracked");
        let expected = x.sum_dim(0).reshape([5, 1]).repeat_dim(1, 2).into_data();
        let near = Tolerance::absolute(1e-5);
        gradient
            .into_data()
            .assert_approx_eq::<f32>(&expected, near);
    }
}
