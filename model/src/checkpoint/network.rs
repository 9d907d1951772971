//! What the networks of this crate have in common: they are built from a saved architecture.

use burn::module::Module;
use burn::tensor::Device;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Kind;
use crate::clip::{ClipText, ClipTextConfig};
use crate::render::{Renderer, RendererConfig};
use crate::vqgan::{PgVqgan, Vqgan, VqganConfig};

/// A network whose weights can be kept, brought in and handed out.
pub trait Network: Module {
    /// The architecture, as saved beside the weights.
    type Config: Serialize + DeserializeOwned;

    /// What a checkpoint calls the network.
    const KIND: Kind;

    /// Regular expressions from field paths to the names of public weight files, with their
    /// replacements, applied one after the other.
    const PUBLIC_NAMES: &'static [(&'static str, &'static str)] = &[];

    /// Says what is wrong with an architecture, if anything.
    ///
    /// # Errors
    /// The first field that describes no network.
    fn check(config: &Self::Config) -> Result<(), String>;

    /// Makes the network with fresh weights, which are allocated when first used.
    ///
    /// # Panics
    /// When [`check`](Self::check) fails.
    fn init(config: &Self::Config, device: &Device) -> Self;
}

impl Network for Vqgan {
    type Config = VqganConfig;

    const KIND: Kind = Kind::Vqgan;

    fn check(config: &VqganConfig) -> Result<(), String> {
        config.check().map_err(|error| error.to_string())
    }

    fn init(config: &VqganConfig, device: &Device) -> Self {
        config.init(device)
    }
}

impl Network for PgVqgan {
    type Config = VqganConfig;

    const KIND: Kind = Kind::PgVqgan;

    fn check(config: &VqganConfig) -> Result<(), String> {
        config.check().map_err(|error| error.to_string())
    }

    fn init(config: &VqganConfig, device: &Device) -> Self {
        config.init_pixel_guided(device)
    }
}

impl Network for Renderer {
    type Config = RendererConfig;

    const KIND: Kind = Kind::Renderer;
    // `in` is a keyword, so the fields of the feed-forward layer have other names.
    const PUBLIC_NAMES: &'static [(&'static str, &'static str)] = &[
        (r"\.ff\.expand\.", ".ff.in."),
        (r"\.ff\.contract\.", ".ff.out."),
    ];

    fn check(config: &RendererConfig) -> Result<(), String> {
        config
            .problem()
            .map_or(Ok(()), |problem| Err(problem.into()))
    }

    fn init(config: &RendererConfig, device: &Device) -> Self {
        config.init(device)
    }
}

impl Network for ClipText {
    type Config = ClipTextConfig;

    const KIND: Kind = Kind::ClipText;
    const PUBLIC_NAMES: &'static [(&'static str, &'static str)] = &[("^", "text_model.")];

    fn check(config: &ClipTextConfig) -> Result<(), String> {
        config.check()
    }

    fn init(config: &ClipTextConfig, device: &Device) -> Self {
        config.init(device)
    }
}
