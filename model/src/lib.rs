//! The networks of NUWA-Infinity and the geometry of their patches, on any Burn backend.
//!
//! - [`patch`]: orders, extents and routes (integers only, no tensors).
//! - [`render`]: the render transformer, its context pool and the three decodings.
//! - [`vqgan`]: pixels to tokens and back; the pixel-guided decoder for video; tiled decoding.
//! - [`clip`]: the text tower and its tokenizer.
//! - [`checkpoint`] and [`import`]: weights on disk, ours and other people's.
//! - [`device`]: which backend runs all this.
//!
//! Never here: image files, datasets, optimizers, command lines.

/// Asserts the shape of a tensor: the contract between our own functions.
#[allow(unused_imports, reason = "each room uses it as it needs")]
pub(crate) use burn::tensor::assert_shape;

pub mod checkpoint;
pub mod clip;
pub mod device;
#[cfg(all(test, feature = "flex"))]
mod drawn;
pub mod error;
#[cfg(feature = "flex")]
pub mod flex;
pub mod import;
pub mod patch;
pub mod preset;
pub mod render;
pub mod softmax;
pub mod vqgan;
