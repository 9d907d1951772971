//! What every kernel of our own asks and needs of a tensor of the CPU backend.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Device, Tensor};

/// Tells whether a tensor lies on the CPU in single precision, on the graph or off it.
pub fn takes<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && x.device() == Device::flex()
}

/// Gives the numbers of a contiguous tensor.
pub fn numbers(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("made contiguous before")
}
