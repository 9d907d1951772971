//! A linear layer for a few rows, with what stands around it: layer normalization before, a residual or
//! GEGLU after. Bound by reading the weights, once.

mod kernel;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::nn::LayerNorm;
use burn::tensor::{DType, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use self::kernel::{COLUMNS, Epilogue, WIDTH, product_kernel};
use super::{UNITS, contiguous, element, empty, takes};
use crate::render::token_layer::Then;

/// Rows up to which weights are read for each stretch of columns by one cube; for more of them a product of
/// matrices is the better way.
const MOST_ROWS: usize = 8;

/// A linear layer, and the normalization before it.
#[derive(Debug)]
pub(in crate::render) struct Linear {
    /// γ and β, `[2, k]`, in single precision.
    norm: Option<Tensor<2>>,
    /// `[k, n]`.
    weight: Tensor<2>,
    /// `[n]`.
    bias: Tensor<1>,
}

impl Linear {
    /// Takes a weight and a bias, if their columns can be read side by side.
    pub(in crate::render) fn new(
        norm: Option<&LayerNorm>,
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
    ) -> Option<Self> {
        let [_, n] = weight.dims();
        if !takes(weight) || !n.is_multiple_of(2 * WIDTH) {
            return None;
        }
        let norm = match norm {
            None => None,
            Some(norm) => {
                let beta = norm.beta.as_ref()?;
                let pair = vec![norm.gamma.val(), beta.val()];
                Some(Tensor::stack::<2>(pair, 0))
            }
        };
        Some(Self {
            norm,
            weight: weight.clone(),
            bias: bias?.clone(),
        })
    }

    /// Gives the weight.
    pub(in crate::render) fn weight(&self) -> &Tensor<2> {
        &self.weight
    }

    /// Tells whether states are few enough, and of the type of the weights.
    pub(in crate::render) fn takes(&self, states: &Tensor<3>) -> bool {
        let [b, t, _] = states.dims();
        t == 1 && b <= MOST_ROWS && states.dtype() == self.weight.dtype()
    }

    /// Applies it to states `[b, 1, k]`; gives single precision if `single`.
    pub(in crate::render) fn forward(&self, x: Tensor<3>, then: Then, single: bool) -> Tensor<3> {
        let (epilogue, residual) = match then {
            Then::Nothing => (Epilogue::Plain, None),
            Then::Added(residual) => (Epilogue::Added, Some(residual)),
            Then::Geglu => (Epilogue::Geglu, None),
        };
        let normed = self.norm.is_some();
        let x = x.into_dispatch();
        // Whatever is not looked at.
        let norm = self.norm.clone();
        let norm = norm.map_or_else(|| x.clone(), Tensor::into_dispatch);
        let residual = residual.map_or_else(|| x.clone(), Tensor::into_dispatch);
        let weight = self.weight.clone().into_dispatch();
        let bias = self.bias.clone().into_dispatch();
        let kind = Kind {
            normed,
            epilogue,
            single,
        };
        let output = <Dispatch as RowProduct>::row_product(x, norm, weight, bias, residual, kind);
        Tensor::from_dispatch(output)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    normed: bool,
    epilogue: Epilogue,
    single: bool,
}

impl Kind {
    fn output(self, x: &Shape, weight: &Shape) -> Shape {
        let n = match self.epilogue {
            Epilogue::Geglu => weight[1] / 2,
            Epilogue::Plain | Epilogue::Added => weight[1],
        };
        Shape::new([x[0], 1, n])
    }
}

#[backend_extension(Cube, Fusion)]
pub(super) trait RowProduct: Backend {
    #[fusion(dtype = if kind.single { DType::F32 } else { x }, shape = kind.output(x, weight))]
    fn row_product(
        x: FloatTensor<Self>,
        norm: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        kind: Kind,
    ) -> FloatTensor<Self>;
}

impl RowProduct for CubeBackend {
    fn row_product(
        x: CubeTensor,
        norm: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
        residual: CubeTensor,
        kind: Kind,
    ) -> CubeTensor {
        let [x, norm, weight, bias, residual] = [x, norm, weight, bias, residual].map(contiguous);
        let (x_shape, w_shape) = (x.meta.shape().clone(), weight.meta.shape().clone());
        let (rows, k, n) = (x_shape[0], w_shape[0], w_shape[1]);
        assert!(rows <= MOST_ROWS && n % WIDTH == 0, "{rows} rows of {n}");
        let shape = kind.output(&x_shape, &w_shape);
        let dtype = if kind.single { DType::F32 } else { x.dtype };
        let output = empty(&x, shape.clone(), dtype);
        let (states, results) = (element(x.dtype), element(dtype));
        product_kernel::launch(
            &output.client.clone(),
            CubeCount::Static(shape[2].div_ceil(COLUMNS) as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            WIDTH,
            x.into_buffer_arg(),
            norm.into_buffer_arg(),
            weight.into_buffer_arg(),
            bias.into_buffer_arg(),
            residual.into_buffer_arg(),
            output.clone().into_buffer_arg(),
            k as u32,
            n as u32,
            rows,
            kind.normed,
            kind.epilogue,
            states,
            results,
        );
        output
    }
}
