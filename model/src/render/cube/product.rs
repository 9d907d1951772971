//! A linear layer for a few rows, with what stands around it: layer normalization before, a residual or
//! GEGLU after. Bound by reading the weights.

mod kernel;

use burn::nn::LayerNorm;
use burn::tensor::Tensor;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use self::kernel::{COLUMNS, Epilogue, WIDTH, product_kernel};
use super::{UNITS, element, raw};

/// Rows for which a cube reads its stretch of the weights once; more are several cubes.
const MOST_ROWS: usize = 8;

/// A linear layer, and the normalization before it.
#[derive(Debug)]
pub(super) struct Linear {
    /// γ and β, `[2, k]`, in single precision.
    norm: Option<CubeTensor>,
    /// `[k, n]`.
    weight: CubeTensor,
    /// `[n]`.
    bias: CubeTensor,
}

/// What becomes of a product.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then<'a> {
    Nothing,
    /// It is added to a residual.
    Added(&'a CubeTensor),
    Geglu,
}

impl Linear {
    /// Takes a weight `[k, n]` and a bias `[n]`, which gets the weight's precision. Columns are filled up to
    /// as many as can be read at a time.
    pub(super) fn new(norm: Option<&LayerNorm>, weight: Tensor<2>, bias: Tensor<1>) -> Self {
        let [k, n] = weight.dims();
        let bias = bias.cast(weight.dtype());
        let missing = n.next_multiple_of(WIDTH) - n;
        let (weight, bias) = match missing {
            0 => (weight, bias),
            _ => {
                let like = (&weight.device(), weight.dtype());
                let zeros = Tensor::zeros([k, missing], like);
                let weight = Tensor::cat(vec![weight, zeros], 1);
                (
                    weight,
                    Tensor::cat(vec![bias, Tensor::zeros([missing], like)], 0),
                )
            }
        };
        let norm = norm.map(|norm| {
            let beta = norm.beta.as_ref().expect("every normalization has one");
            raw(Tensor::stack::<2>(vec![norm.gamma.val(), beta.val()], 0))
        });
        Self {
            norm,
            weight: raw(weight),
            bias: raw(bias),
        }
    }

    /// Gives how many columns the output has.
    pub(super) fn columns(&self) -> usize {
        self.weight.meta.shape()[1]
    }

    /// Applies it to states `[rows, k]`; the output says how precise the result is.
    pub(super) fn launch(&self, x: &CubeTensor, then: Then<'_>, output: &CubeTensor) {
        // Whatever is not looked at.
        let (epilogue, residual) = match then {
            Then::Nothing => (Epilogue::Plain, x),
            Then::Added(residual) => (Epilogue::Added, residual),
            Then::Geglu => (Epilogue::Geglu, x),
        };
        let norm = self.norm.as_ref().unwrap_or(x);
        let (all_rows, k, n) = (x.meta.shape()[0], x.meta.shape()[1], self.columns());
        let groups = all_rows.div_ceil(MOST_ROWS);
        let columns = output.meta.shape()[1].div_ceil(COLUMNS);
        product_kernel::launch(
            &output.client,
            CubeCount::Static(columns as u32, groups as u32, 1),
            CubeDim::new_1d(UNITS as u32),
            WIDTH,
            x.clone().into_buffer_arg(),
            norm.clone().into_buffer_arg(),
            self.weight.clone().into_buffer_arg(),
            self.bias.clone().into_buffer_arg(),
            residual.clone().into_buffer_arg(),
            output.clone().into_buffer_arg(),
            k as u32,
            n as u32,
            all_rows as u32,
            all_rows.div_ceil(groups),
            self.norm.is_some(),
            epilogue,
            element(x.dtype),
            element(output.dtype),
        );
    }
}
