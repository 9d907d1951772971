//! How precisely a renderer computes (ours; the page says nothing about it).
//!
//! Only the states decide: layers follow the number type of what enters them, so that a pass is in
//! half precision if and only if its first states are, and those of the pool with them.

use std::fmt;
use std::str::FromStr;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, FloatDType, Shape, Tensor};
use serde::{Deserialize, Serialize};

/// Precision of a [`Renderer`](super::Renderer), in training and in painting. Its own weights and their
/// gradients are in single precision either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16 for states, projections, keys, values and all matrix products, with copies of the
    /// weights, made for every product in training and once in painting; single precision for normalization, softmax and the error function, and for what
    /// comes after the scores of the codes.
    Bf16,
}

impl Precision {
    /// Tells whether a device computes in it.
    pub fn runs_on(self, device: &Device) -> bool {
        match self {
            Self::F32 => true,
            Self::Bf16 => device.supports_dtype(FloatDType::BF16),
        }
    }

    /// Gives the bytes of a state.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Gives states as the layers shall see them.
    pub(super) fn of<const D: usize>(self, states: Tensor<D>) -> Tensor<D> {
        match self {
            // Not a cast: a device may have been told to compute in another type altogether.
            Self::F32 => states,
            Self::Bf16 => states.cast(FloatDType::BF16),
        }
    }

    /// Gives zeros beside such states.
    pub(super) fn zeros<const D: usize>(
        self,
        shape: impl Into<Shape>,
        device: &Device,
    ) -> Tensor<D> {
        match self {
            Self::F32 => Tensor::zeros(shape, device),
            Self::Bf16 => Tensor::zeros(shape, (device, DType::BF16)),
        }
    }

    /// Gives a module whose weights need no copies any more. They are off the graph.
    pub(super) fn weights<M: Module>(self, module: M) -> M {
        struct Rounded;
        impl ModuleMapper for Rounded {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                param.map(|weights| Precision::Bf16.of(weights))
            }
        }
        match self {
            Self::F32 => module,
            Self::Bf16 => module.map(&mut Rounded),
        }
    }
}

impl FromStr for Precision {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err("there are f32 and bf16"),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

/// Gives numbers of half precision in single precision; others stay as they are.
pub(super) fn single<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match x.dtype() {
        DType::BF16 | DType::F16 => x.cast(FloatDType::F32),
        _ => x,
    }
}
