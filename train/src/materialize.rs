//! Fresh weights, allocated now rather than at first use.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// Allocates every parameter of a module and gives the module back.
///
/// Burn draws initial weights when a parameter is first used. A copy that is taken before, such as
/// the one `valid` or `no_grad` makes, would draw its own or decide for both whether they train.
pub fn materialize<M: Module>(module: M) -> M {
    struct Touch;
    impl ModuleVisitor for Touch {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            param.val();
        }
    }
    module.visit(&mut Touch);
    module
}

#[cfg(test)]
mod tests {
    use burn::nn::LinearConfig;
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_copy_without_gradients_has_the_same_weights_and_leaves_the_original_trainable() {
        let device = Device::flex().autodiff();
        let linear = materialize(LinearConfig::new(3, 2).init(&device));
        let copy = linear.clone().no_grad();
        let x = Tensor::<2>::ones([1, 3], &device);
        let (a, b) = (copy.forward(x.clone()), linear.forward(x));
        assert_eq!(a.inner().into_data(), b.clone().inner().into_data());
        assert!(linear.weight.val().grad(&b.sum().backward()).is_some());
    }
}
