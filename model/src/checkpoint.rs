//! The project's own weight format: a directory with `weights.bpk` and `config.json`.
//!
//! `config.json` says what network the weights belong to, how it is built, under which licence
//! the weights are and where they come from; nothing else is needed to load them.

mod fit;
mod load;
mod network;
mod save;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::fit::{Naming, collect, fit, values};
pub(crate) use self::load::list;
pub use self::load::{TensorInfo, load, load_into, read_config, read_header, tensors};
pub use self::network::Network;
pub(crate) use self::save::unwritable;
pub use self::save::{fingerprint, save};

/// Version of the format this program reads and writes.
pub const FORMAT: u64 = 1;
/// Name of the description beside the weights.
pub const CONFIG_FILE: &str = "config.json";
/// Name of the weights.
pub const WEIGHTS_FILE: &str = "weights.bpk";

/// Key in the weight file under which the architecture is kept, so that weights and a
/// `config.json` of two different saves are not taken for one checkpoint.
const ARCHITECTURE_KEY: &str = "architecture";

/// The networks a checkpoint can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Pixels to tokens and back.
    Vqgan,
    /// The VQGAN whose decoder is guided by the previous frame.
    PgVqgan,
    /// The render transformer.
    Renderer,
    /// The text tower of CLIP.
    ClipText,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Vqgan, Self::PgVqgan, Self::Renderer, Self::ClipText];

    /// The name of the kind in files and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vqgan => "vqgan",
            Self::PgVqgan => "pg-vqgan",
            Self::Renderer => "renderer",
            Self::ClipText => "clip-text",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name);
        kind.ok_or_else(|| format!("no weights are called {name:?}; there are {names}"))
    }
}

/// What a checkpoint says about itself, besides its architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which network the weights belong to.
    pub kind: Kind,
    /// Under which terms the weights may be used.
    pub licence: String,
    /// Where the weights come from: a file, an address, a training run.
    pub source: String,
    /// Anything else worth keeping.
    pub notes: Option<String>,
}

/// How precisely weights are stored. Loading gives the device's own float type either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// 32 bits.
    #[default]
    Full,
    /// 16 bits: half the size, 11 significant bits, nothing above 65504.
    Half,
}

/// The contents of `config.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    format: u64,
    kind: Kind,
    architecture: Value,
    licence: String,
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notes: Option<String>,
}
