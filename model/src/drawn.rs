//! Random numbers for tests, the same in every run and on every backend.

use std::cell::RefCell;

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use rand::SeedableRng;
use rand::rngs::StdRng;

thread_local! {
    // Every test runs on a thread of its own; the generator of a device is shared by all of them.
    static RNG: RefCell<StdRng> = RefCell::new(StdRng::seed_from_u64(1));
}

/// Draws a tensor of normally distributed numbers on the CPU backend.
pub(crate) fn normal<const D: usize>(shape: [usize; D], mean: f64, deviation: f64) -> Tensor<D> {
    let range = Distribution::Normal(mean, deviation);
    let data = RNG.with_borrow_mut(|rng| TensorData::random::<f32, _, _>(shape, range, rng));
    Tensor::from_data(data, &Device::flex())
}

/// Gives what `work` makes of `x`, and the gradient of `x` where `pull` is that of the outcome.
pub(crate) fn with_gradient<const D: usize>(
    x: &Tensor<D>,
    pull: &Tensor<D>,
    work: impl Fn(Tensor<D>) -> Tensor<D>,
) -> [TensorData; 2] {
    let x = Tensor::from_inner(x.clone()).require_grad();
    let y = work(x.clone());
    let loss = (y.clone() * Tensor::from_inner(pull.clone())).sum();
    let gradient = x.grad(&loss.backward()).expect("tracked");
    [y.inner().into_data(), gradient.into_data()]
}
