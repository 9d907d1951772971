//! What is done with gradients between backward and update: measured, checked, clipped.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// A gradient that holds a number which is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the gradient of {tensor} is not finite")]
pub struct NotFinite {
    /// Name of the parameter.
    pub tensor: String,
}

/// Gives the norm of all gradients of a module together, and scales them down to `most` if it is
/// larger (Pascanu et al., 2013). Waits for the device: an update must not be made of numbers that
/// are none.
///
/// # Errors
/// Names the first parameter whose gradient is not finite; the gradients are as they were then.
pub fn clip<M: Module>(
    module: &M,
    gradients: &mut GradientsParams,
    most: Option<f64>,
) -> Result<f64, NotFinite> {
    let mut squares = Squares {
        gradients,
        sum: None,
    };
    module.visit(&mut squares);
    let Some(sum) = squares.sum else {
        return Ok(0.0);
    };
    let norm = f64::from(sum.into_scalar::<f32>()).sqrt();
    if !norm.is_finite() {
        let mut find = Find {
            gradients,
            path: Vec::new(),
            found: None,
        };
        module.visit(&mut find);
        // Numbers that are finite, though the sum of their squares is not, stop training as well.
        let tensor = find
            .found
            .unwrap_or_else(|| "all parameters together".into());
        return Err(NotFinite { tensor });
    }
    if let Some(most) = most.filter(|&most| norm > most) {
        let factor = most / norm;
        module.visit(&mut Scale { gradients, factor });
    }
    Ok(norm)
}

struct Squares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else {
            return;
        };
        let squares = square_sum(gradient);
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + squares,
            None => squares,
        });
    }
}

/// Gives the sum of all squares, `[1]`.
fn square_sum<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    if nuwa_model::flex::takes(&x) {
        return flex::square_sum(x);
    }
    (x.clone() * x).sum()
}

/// On the CPU in one pass, by all threads: Burn writes the squares of every gradient down first.
#[cfg(feature = "flex")]
mod flex {
    use burn::backend::flex::FlexTensor;
    use burn::backend::tensor::FloatTensor;
    use burn::backend::{Backend, Dispatch, Flex, backend_extension};
    use burn::tensor::Tensor;
    use nuwa_kernels::squares;
    use nuwa_model::flex::{numbers, tensor};

    pub(super) fn square_sum<const D: usize>(x: Tensor<D>) -> Tensor<1> {
        Tensor::from_dispatch(<Dispatch as SquareSum>::square_sum(x.into_dispatch()))
    }

    #[backend_extension(Flex)]
    trait SquareSum: Backend {
        fn square_sum(x: FloatTensor<Self>) -> FloatTensor<Self>;
    }

    impl SquareSum for Flex {
        fn square_sum(x: FlexTensor) -> FlexTensor {
            let sum = squares::sum(numbers(&x.to_contiguous()));
            tensor(vec![sum as f32], [1])
        }
    }
}

struct Find<'a> {
    gradients: &'a GradientsParams,
    path: Vec<String>,
    found: Option<String>,
}

impl ModuleVisitor for Find<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.get::<D>(param.id) else {
            return;
        };
        if self.found.is_none() && !gradient.abs().sum().into_scalar::<f32>().is_finite() {
            self.found = Some(self.path.join("."));
        }
    }

    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient * self.factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    use super::*;
    use crate::materialize::materialize;

    fn gradients(linear: &Linear, weight: f32) -> GradientsParams {
        let device = Device::flex();
        let mut gradients = GradientsParams::new();
        let weight = Tensor::<2>::from_floats([[weight, 0.0]], &device);
        gradients.register(linear.weight.id, weight);
        let bias = linear.bias.as_ref().expect("there is one");
        gradients.register(bias.id, Tensor::<1>::from_floats([4.0, 0.0], &device));
        gradients
    }

    #[test]
    fn all_gradients_together_are_scaled_and_only_when_they_are_too_large() {
        let linear = materialize(LinearConfig::new(1, 2).init(&Device::flex()));
        for (most, expected) in [(None, 3.0), (Some(10.0), 3.0), (Some(2.5), 1.5)] {
            let mut gradients = gradients(&linear, 3.0);
            assert_eq!(clip(&linear, &mut gradients, most), Ok(5.0));
            let weight = gradients
                .get::<2>(linear.weight.id)
                .expect("kept")
                .into_data();
            assert_eq!(weight.try_to_vec::<f32>().expect("f32"), [expected, 0.0]);
        }
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let linear = materialize(LinearConfig::new(1, 2).init(&Device::flex()));
        for number in [f32::NAN, f32::INFINITY] {
            let mut gradients = gradients(&linear, number);
            let error = clip(&linear, &mut gradients, Some(1.0)).expect_err("refused");
            assert_eq!(error.to_string(), "the gradient of weight is not finite");
        }
    }
}
