//! The token loop on devices that CubeCL compiles for. One token of a patch is too little work for
//! kernels made of many operations: the time goes to launching them. These do a layer's share at once.

mod attend;
mod draw;
mod gather;
mod product;

use burn::tensor::{DType, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{ElemType, FloatKind};

pub(super) use self::attend::attend;
pub(super) use self::draw::{Rule, draw};
pub(super) use self::product::Linear;
use crate::device::is_host;

/// Threads that work together on a part of an output.
const UNITS: usize = 256;

/// Beneath every number that is looked at; kernels in WGSL have no infinity.
const BENEATH: f32 = -1e30;

/// Tells whether a tensor is off the graph and of a type that the kernels take.
pub(super) fn takes<const D: usize>(x: &Tensor<D>) -> bool {
    !is_host(&x.device()) && !x.is_autodiff() && matches!(x.dtype(), DType::F32 | DType::BF16)
}

/// Gives a tensor whose numbers lie one after the other.
fn contiguous(x: CubeTensor) -> CubeTensor {
    match x.is_contiguous() {
        true => x,
        false => x.copy(),
    }
}

/// Makes room for an output.
fn empty(like: &CubeTensor, shape: impl Into<burn::tensor::Shape>, dtype: DType) -> CubeTensor {
    let shape = shape.into();
    let handle = like.client.empty(shape.num_elements() * dtype.size());
    CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        shape,
        handle,
        dtype,
    )
}

fn element(dtype: DType) -> ElemType {
    match dtype {
        DType::BF16 => ElemType::Float(FloatKind::BF16),
        _ => ElemType::Float(FloatKind::F32),
    }
}
