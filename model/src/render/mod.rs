//! The render transformer: what it is ([`RendererConfig`]), what it sees ([`Ncp`]), and its three
//! ways to write a patch ([`ar`], [`nar`], [`pnar`]).
//!
//! Training runs [`Renderer`] on hidden-state caches ([`PatchCache`]); painting runs a [`Session`],
//! whose caches are projected once ([`PatchMemory`]). The two agree to rounding.

mod adc;
pub mod ar;
mod attention;
mod block;
mod config;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod cube;
mod desk;
mod draw;
#[cfg(feature = "flex")]
mod flex;
mod geglu;
mod job;
pub mod nar;
mod ncp;
mod norm;
pub mod pnar;
mod precision;
mod prompt;
mod reach;
pub mod sampling;
mod session;
mod token_layer;
mod transformer;
mod wave;

pub use adc::{TokenGrid, walk_tokens};
pub use config::{Decoding, Feed, HEAD_WIDTH, RendererConfig, Transfer};
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) use cube::raw;
pub use job::PatchJob;
pub use ncp::{Ncp, PatchCache, PatchMemory, PoolKind};
pub use precision::Precision;
pub use prompt::{Guidance, Prompt, TextOfPatch};
pub use session::{Session, Written};
pub use transformer::{RenderInput, RenderOutput, Renderer};

#[cfg(test)]
mod tests;
