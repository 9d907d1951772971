//! Drawing AR tokens, a cube for each row: the rank is found by its value, since devices sort badly.
//! Thresholds cut the range of the logits into parts, whatever lies above each is counted or weighed at
//! once, and the part that holds the rank is cut again.

mod kernel;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use self::kernel::draw_kernel;
use super::{UNITS, contiguous, empty};

/// How a token is drawn.
#[derive(Debug, Clone, Copy)]
pub(in crate::render) struct Rule {
    pub(in crate::render) top_k: usize,
    pub(in crate::render) top_p: f32,
    pub(in crate::render) temperature: f32,
    pub(in crate::render) smoothing: f32,
}

/// Chooses tokens as [`Sampler::token`](crate::render::sampling::Sampler::token) does.
///
/// Codes whose logits are equal to the bit at the end of the `top_k` likeliest are all drawn from.
///
/// # Shapes
/// logits `[r, v]`, uniform numbers `[r, 1]`, in single precision; gives `[r, 1]`.
pub(in crate::render) fn draw(
    logits: Tensor<2>,
    uniforms: Tensor<2>,
    rule: Rule,
) -> Tensor<2, Int> {
    let (logits, uniforms) = (logits.into_dispatch(), uniforms.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Drawing>::draw_tokens(logits, uniforms, rule))
}

#[backend_extension(Cube, Fusion)]
pub(super) trait Drawing: Backend {
    #[fusion(dtype = DType::I32, shape = uniforms)]
    fn draw_tokens(
        logits: FloatTensor<Self>,
        uniforms: FloatTensor<Self>,
        rule: Rule,
    ) -> IntTensor<Self>;
}

impl Drawing for CubeBackend {
    fn draw_tokens(logits: CubeTensor, uniforms: CubeTensor, rule: Rule) -> CubeTensor {
        let [logits, uniforms] = [logits, uniforms].map(contiguous);
        let (rows, v) = (logits.meta.shape()[0], logits.meta.shape()[1]);
        let output = empty(&logits, Shape::new([rows, 1]), DType::I32);
        draw_kernel::launch(
            &output.client.clone(),
            CubeCount::Static(rows as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            logits.into_buffer_arg(),
            uniforms.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            v as u32,
            rule.top_k.min(v) as f32,
            rule.top_p,
            rule.temperature,
            rule.smoothing / v as f32,
            rule.top_k < v,
            rule.top_p < 1.0,
            rule.smoothing > 0.0,
        );
        output
    }
}
