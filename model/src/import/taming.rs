//! Checkpoints of "Taming Transformers": VQGANs, and pixel-guided ones under the same names.

use std::path::Path;

use burn::tensor::Device;

use super::{Imported, Shapes, Tensors, unknown};
use crate::checkpoint::{Kind, Network};
use crate::error::Error;
use crate::vqgan::{PgVqgan, Vqgan, VqganConfig};

/// What training kept beside the network: the adversary, and the network behind LPIPS.
const TRAINING_ONLY: [&str; 2] = ["loss.", "discriminator."];

/// Names that give away a relative of the VQGAN, with what they mean.
const RELATIVES: [(&str, &str); 5] = [
    (
        "quantize.embed.",
        "a codebook drawn from by the Gumbel trick",
    ),
    (
        "quantize.proj.",
        "a codebook drawn from by the Gumbel trick",
    ),
    (
        "quantize.embedding.cluster_size",
        "a codebook kept by moving averages",
    ),
    (
        "quantize.embedding.embed_avg",
        "a codebook kept by moving averages",
    ),
    (
        "model_ema.",
        "moving averages of the weights beside the weights",
    ),
];

/// Reads a released VQGAN: `.ckpt`, `.pth` or safetensors, plain or wrapped by Lightning.
///
/// # Errors
/// When the file cannot be read, its shapes are those of no VQGAN, or a tensor is missing, extra,
/// misshapen or not finite.
pub fn vqgan(path: &Path, device: &Device) -> Result<Imported<Vqgan>, Error> {
    read(path, device)
}

/// Reads a pixel-guided VQGAN, whose guide is called `guide`; otherwise as [`vqgan`].
///
/// # Errors
/// As [`vqgan`].
pub fn pg_vqgan(path: &Path, device: &Device) -> Result<Imported<PgVqgan>, Error> {
    read(path, device)
}

fn read<N: Network<Config = VqganConfig>>(
    path: &Path,
    device: &Device,
) -> Result<Imported<N>, Error> {
    let mut tensors = Tensors::open(path)?;
    let skipped = tensors.skip(|name| TRAINING_ONLY.iter().any(|part| name.starts_with(part)));
    let config =
        deduce(&tensors.shapes(), N::KIND).map_err(|reason| unknown(path, N::KIND, reason))?;
    let network = tensors.fit(path, &config, N::PUBLIC_NAMES, device)?;
    Ok(Imported {
        network,
        config,
        skipped,
    })
}

pub(super) fn deduce(shapes: &Shapes, kind: Kind) -> Result<VqganConfig, String> {
    // The part that goes down from pixels, and how many more blocks than stated it has per level.
    let (mirror, extra_blocks) = match kind {
        Kind::PgVqgan => ("guide", 1),
        _ => ("encoder", 0),
    };
    for (prefix, meaning) in RELATIVES {
        if let Some(name) = shapes.any(prefix) {
            return Err(format!("it has {meaning} ({name})"));
        }
    }
    let ch = shapes.length(&format!("{mirror}.conv_in.weight"), 4, 0)?;
    let level = |n: usize| {
        let name = format!("{mirror}.down.{n}.block.0.conv1.weight");
        let width = shapes.length(&name, 4, 0)?;
        if ch == 0 || !width.is_multiple_of(ch) {
            return Err(format!("{name} is {width} wide, not a multiple of {ch}"));
        }
        Ok(width / ch)
    };
    let levels = shapes.count(&format!("{mirror}.down"));
    let blocks = shapes.count(&format!("{mirror}.down.0.block"));
    Ok(VqganConfig {
        ch,
        multipliers: (0..levels).map(level).collect::<Result<_, _>>()?,
        blocks: blocks.saturating_sub(extra_blocks),
        z: shapes.length("decoder.conv_in.weight", 4, 1)?,
        n_codes: shapes.length("quantize.embedding.weight", 2, 0)?,
        code_dim: shapes.length("quantize.embedding.weight", 2, 1)?,
    })
}
