//! The token loop on devices that CubeCL compiles for. One token of a patch is too little work for
//! kernels made of many operations: the time goes to launching them. These do a layer's share at once, on
//! buffers that stay where they are, so that a token is one graph, which is launched again and again.

mod attend;
mod draw;
mod gather;
mod product;
mod token_loop;
mod wave;

use burn::backend::{BackendTensor, Cube, DispatchTensorKind};
use burn::tensor::{DType, Element, Int, IntDType, Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::server::ServerError;

#[cfg(test)]
pub(super) use self::draw::{Drawing, Rule};
pub(super) use self::token_loop::TokenLoop;

/// Threads that work together on a part of an output.
const UNITS: usize = 256;

/// Beneath every number that is looked at; kernels in WGSL have no infinity.
const BENEATH: f32 = -1e30;

/// Gives the memory of a tensor, whose numbers lie one after the other. What was to be computed of it
/// before is launched.
///
/// # Panics
/// When it is not on a device of CubeCL's.
pub(crate) fn raw<const D: usize>(x: Tensor<D>) -> CubeTensor {
    let x = on_cube(x.into_dispatch().kind).float();
    let client = x.client.clone();
    into_contiguous(client.resolve_tensor_float::<CubeBackend>(x))
}

/// Gives the memory of a tensor of integers, as [`raw`] does.
pub(super) fn raw_ids<const D: usize>(x: Tensor<D, Int>) -> CubeTensor {
    let x = on_cube(x.cast(IntDType::I32).into_dispatch().kind).int();
    let client = x.client.clone();
    into_contiguous(client.resolve_tensor_int::<CubeBackend>(x))
}

fn on_cube(kind: DispatchTensorKind) -> BackendTensor<Cube> {
    match kind {
        DispatchTensorKind::Cube(tensor) => tensor,
        _ => panic!("a tensor off the graph, on a device of CubeCL's"),
    }
}

/// Makes room for numbers, which begin as anything.
fn empty(like: &CubeTensor, shape: [usize; 2], dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    let handle = client.empty(shape[0] * shape[1] * dtype.size());
    CubeTensor::new_contiguous(client, device, shape.into(), handle, dtype)
}

/// Reads numbers to the host.
///
/// # Errors
/// When they were not written, because the device failed.
pub(super) fn read<E: Element>(x: &CubeTensor) -> Result<Vec<E>, ServerError> {
    let bytes = x.client.read_one(x.handle.clone())?;
    let data = TensorData::from_bytes(bytes, x.meta.shape().clone(), x.dtype);
    Ok(data.try_to_vec().expect("numbers of this type"))
}

fn element(dtype: DType) -> ElemType {
    match dtype {
        DType::BF16 => ElemType::Float(FloatKind::BF16),
        _ => ElemType::Float(FloatKind::F32),
    }
}
