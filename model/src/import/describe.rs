//! What is in a foreign file, without reading its values.

use std::path::Path;

use serde_json::Value;

use super::safetensors::{ARCHITECTURE_KEY, KIND_KEY};
use super::{Shapes, Tensors, clip, taming};
use crate::checkpoint::{Kind, TensorInfo};
use crate::error::Error;

/// What a foreign file holds, as far as it tells.
#[derive(Clone, Debug)]
pub struct Description {
    /// The network, where the file says it or its names give it away.
    pub kind: Option<Kind>,
    /// How the network is built, where the file says it or its shapes tell.
    pub architecture: Option<Value>,
    /// The licence, in a file written by this program.
    pub licence: Option<String>,
    /// Where the weights come from, in a file written by this program.
    pub source: Option<String>,
    /// Every tensor, by name.
    pub tensors: Vec<TensorInfo>,
}

/// Describes a safetensors or PyTorch file.
///
/// # Errors
/// When the file cannot be read, is damaged, or is neither.
pub fn describe(path: &Path) -> Result<Description, Error> {
    let tensors = Tensors::open(path)?;
    let shapes = tensors.shapes();
    let said = tensors
        .metadata(KIND_KEY)
        .and_then(|kind| kind.parse().ok());
    let kind = said.or_else(|| guess(&shapes));
    let said = tensors.metadata(ARCHITECTURE_KEY);
    let said = said.and_then(|text| serde_json::from_str(text).ok());
    let deduce = |kind| {
        let architecture = match kind {
            Kind::Vqgan | Kind::PgVqgan => {
                serde_json::to_value(taming::deduce(&shapes, kind).ok()?)
            }
            Kind::ClipText => serde_json::to_value(clip::deduce(&shapes).ok()?),
            // How far the context reaches does not show in shapes.
            Kind::Renderer => return None,
        };
        architecture.ok()
    };
    Ok(Description {
        kind,
        architecture: said.or_else(|| deduce(kind?)),
        licence: tensors.metadata("licence").map(str::to_string),
        source: tensors.metadata("source").map(str::to_string),
        tensors: tensors.list(),
    })
}

fn guess(shapes: &Shapes) -> Option<Kind> {
    let has = |prefix| shapes.any(prefix).is_some();
    if has("guide.") {
        Some(Kind::PgVqgan)
    } else if has("quantize.") {
        Some(Kind::Vqgan)
    } else if has("tok_emb.") {
        Some(Kind::Renderer)
    } else if has("text_model.") || has("embeddings.token_embedding.") {
        Some(Kind::ClipText)
    } else {
        None
    }
}
