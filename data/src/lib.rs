//! Everything between the disk and pixels: pictures in and out, augmentation, and datasets of
//! crops for training.
//!
//! - [`image`]: [`Picture`], its files and its tensors.
//! - [`spool`] and [`out`]: painted pixels on disk, and files and films of any size from them.
//! - [`pending`]: files that appear under their name only when they are complete.
//! - [`augment`]: random crops, flips, color and the one-shot distortions, each a pure function
//!   of a picture and a random generator.
//! - [`synthetic`]: landscapes made from a seed, with true captions.
//! - [`prepare`] and [`manifest`]: datasets from folders, tar shards, paintings and films.
//! - [`store`]: tokens and text states on disk.
//! - [`video`]: clips, and frames of films.
//! - [`dataset`] and [`batch`]: pictures as a Burn dataset, and samples as tensors.
//!
//! Never here: networks, tokens of a particular network, training, command lines. This crate does
//! not know `nuwa-model`.

pub mod augment;
pub mod batch;
pub mod dataset;
mod error;
pub mod image;
pub mod keyed;
mod lock;
pub mod manifest;
pub mod out;
pub mod pending;
pub mod prepare;
mod sample;
pub mod spool;
pub mod store;
pub mod synthetic;
pub mod video;

pub use crate::error::DataError;
pub use crate::image::Picture;
pub use crate::sample::Sample;
pub use crate::spool::Spool;
