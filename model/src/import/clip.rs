//! Released CLIP weights, with or without the image tower beside the text tower.

use std::path::Path;

use burn::tensor::Device;

use super::safetensors::architecture;
use super::{Imported, Shapes, Tensors, unknown};
use crate::checkpoint::{Kind, Network};
use crate::clip::{ClipText, ClipTextConfig};
use crate::error::Error;

/// Prefix of the text tower's names, where a file has one.
const PREFIX: &str = "text_model.";
/// The rest of a whole CLIP.
const ELSEWHERE: [&str; 4] = [
    "vision_model.",
    "visual_projection.",
    "text_projection.",
    "logit_scale",
];
/// A buffer that only counts upwards.
const COUNTER: &str = "embeddings.position_ids";
/// Width of one attention head in every released CLIP; shapes do not tell it.
const HEAD_WIDTH: usize = 64;

/// Reads a text tower under `text_model.*` or bare names.
///
/// Without `config` the architecture is deduced, with heads 64 wide.
///
/// # Errors
/// When the file cannot be read, its shapes are those of no text tower, or a tensor is missing,
/// extra, misshapen or not finite.
pub fn text(
    path: &Path,
    config: Option<&ClipTextConfig>,
    device: &Device,
) -> Result<Imported<ClipText>, Error> {
    let mut tensors = Tensors::open(path)?;
    let skipped = tensors.skip(|name| {
        ELSEWHERE.iter().any(|part| name.starts_with(part)) || name.ends_with(COUNTER)
    });
    let names = match prefix(&tensors.shapes()) {
        PREFIX => ClipText::PUBLIC_NAMES,
        _ => &[],
    };
    let config = match (config, architecture::<ClipText>(&tensors, path)?) {
        (Some(config), _) => config.clone(),
        (None, Some(config)) => config,
        (None, None) => {
            deduce(&tensors.shapes()).map_err(|reason| unknown(path, Kind::ClipText, reason))?
        }
    };
    let network = tensors.fit(path, &config, names, device)?;
    Ok(Imported {
        network,
        config,
        skipped,
    })
}

fn prefix(shapes: &Shapes) -> &'static str {
    shapes.any(PREFIX).map_or("", |_| PREFIX)
}

pub(super) fn deduce(shapes: &Shapes) -> Result<ClipTextConfig, String> {
    let prefix = prefix(shapes);
    let length = |name: &str, axis| shapes.length(&format!("{prefix}{name}"), 2, axis);
    let hidden_size = length("embeddings.token_embedding.weight", 1)?;
    if !hidden_size.is_multiple_of(HEAD_WIDTH) {
        return Err(format!(
            "its width {hidden_size} is not a multiple of {HEAD_WIDTH}"
        ));
    }
    Ok(ClipTextConfig {
        hidden_size,
        intermediate_size: length("encoder.layers.0.mlp.fc1.weight", 0)?,
        num_hidden_layers: shapes.count(&format!("{prefix}encoder.layers")),
        num_attention_heads: hidden_size / HEAD_WIDTH,
        vocab_size: length("embeddings.token_embedding.weight", 0)?,
        max_position_embeddings: length("embeddings.position_embedding.weight", 0)?,
    })
}
