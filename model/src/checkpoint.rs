//! The project's own weight format: a directory with `weights.bpk` and `config.json`.
//!
//! `config.json` says what network the weights belong to, how it is built, under which licence
//! the weights are and where they come from; nothing else is needed to load them.

mod fit;

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::DType;
use burn_store::bridge;
use burn_store::burn_pack::{AtomicFile, Error as PackError, Reader, Tensor as PackTensor, Writer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub(crate) use self::fit::{Naming, Slot, collect, fit, slots, values};
use crate::error::Error;

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
pub enum Precision {
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

/// Writes a network with its description to a directory, which is created where needed.
///
/// Each file appears under its name only when it is complete and on disk.
///
/// # Errors
/// When the directory cannot be written, and [`Error::NotFinite`] when a weight is NaN, infinite
/// or too large for `precision`.
pub fn save<M: Module, C: Serialize>(
    module: &M,
    header: &Header,
    architecture: &C,
    precision: Precision,
    directory: &Path,
) -> Result<(), Error> {
    let config_path = directory.join(CONFIG_FILE);
    let architecture = serde_json::to_value(architecture).map_err(|error| Error::Config {
        path: config_path.clone(),
        reason: error.to_string(),
    })?;
    fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
    save_weights(
        module,
        &architecture,
        precision,
        &directory.join(WEIGHTS_FILE),
    )?;
    let config = ConfigFile {
        format: FORMAT,
        kind: header.kind,
        architecture,
        licence: header.licence.clone(),
        source: header.source.clone(),
        notes: header.notes.clone(),
    };
    let mut text = serde_json::to_string_pretty(&config).expect("strings and JSON values");
    text.push('\n');
    write_whole(&config_path, text.as_bytes())
}

fn save_weights<M: Module>(
    module: &M,
    architecture: &Value,
    precision: Precision,
    path: &Path,
) -> Result<(), Error> {
    let dtype = match precision {
        Precision::Full => DType::F32,
        Precision::Half => DType::F16,
    };
    let refused = Arc::new(Mutex::new(Vec::new()));
    let tensors = collect(module, &Naming::Own);
    let tensors = tensors
        .into_iter()
        .map(|tensor| checked(tensor, dtype, &refused))
        .collect();
    let written = Writer::new(tensors)
        .with_metadata(ARCHITECTURE_KEY, &architecture.to_string())
        .auto_extension(false)
        .write_to_file(path);
    let tensors = std::mem::take(&mut *refused.lock().expect("nothing panics while holding it"));
    if !tensors.is_empty() {
        return Err(Error::NotFinite {
            path: path.to_path_buf(),
            tensors,
        });
    }
    written.map_err(|error| unwritable(path, &error))
}

/// Casts a tensor when it is written, and refuses it when a value is not finite afterwards.
fn checked(tensor: PackTensor, dtype: DType, refused: &Arc<Mutex<Vec<String>>>) -> PackTensor {
    let (name, shape, param_id) = (tensor.name.clone(), tensor.shape.clone(), tensor.param_id);
    let (named, refused) = (name.clone(), Arc::clone(refused));
    bridge::deferred(name, dtype, shape, param_id, move || {
        let invalid = |reason: String| PackError::ValidationError(reason);
        let data = bridge::to_data(&tensor)?;
        let data = data
            .try_cast(dtype)
            .map_err(|error| invalid(error.to_string()))?;
        let values = data.clone().try_into_vec_as::<f32>();
        let values = values.map_err(|error| invalid(error.to_string()))?;
        if values.iter().all(|value| value.is_finite()) {
            return Ok(data);
        }
        refused
            .lock()
            .expect("nothing panics while holding it")
            .push(named.clone());
        Err(invalid("not finite".into()))
    })
}

pub(crate) fn unwritable(path: &Path, reason: &dyn fmt::Display) -> Error {
    Error::Unwritable {
        path: path.to_path_buf(),
        reason: reason.to_string(),
    }
}

/// Writes a file so that it has its name only when it is complete and on disk.
fn write_whole(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let (scratch, mut file) = AtomicFile::create(path).map_err(|e| unwritable(path, &e))?;
    file.write_all(contents).map_err(Error::io("write", path))?;
    drop(file);
    scratch.commit().map_err(|error| unwritable(path, &error))
}

/// Reads what the checkpoint in a directory says about itself, and its architecture as JSON.
///
/// # Errors
/// When `config.json` is missing, of another format version, or has missing or unknown fields.
pub fn read_header(directory: &Path) -> Result<(Header, Value), Error> {
    let path = directory.join(CONFIG_FILE);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let invalid = |error: serde_json::Error| Error::Config {
        path: path.clone(),
        reason: error.to_string(),
    };
    let value: Value = serde_json::from_str(&text).map_err(invalid)?;
    let format = value.get("format");
    if format.and_then(Value::as_u64) != Some(FORMAT) {
        let found = format.map_or("no version".into(), Value::to_string);
        return Err(Error::FormatVersion {
            path,
            expected: FORMAT,
            found,
        });
    }
    let ConfigFile {
        kind,
        architecture,
        licence,
        source,
        notes,
        ..
    } = serde_json::from_value(value).map_err(invalid)?;
    Ok((
        Header {
            kind,
            licence,
            source,
            notes,
        },
        architecture,
    ))
}

/// Reads the architecture of the network of this kind in a directory.
///
/// # Errors
/// As [`read_header`]; also when the directory holds another kind, and when the architecture has
/// missing or unknown fields.
pub fn read_config<C: Serialize + DeserializeOwned>(
    directory: &Path,
    kind: Kind,
) -> Result<C, Error> {
    let path = directory.join(CONFIG_FILE);
    let (header, architecture) = read_header(directory)?;
    if header.kind != kind {
        return Err(Error::Kind {
            path,
            expected: kind,
            found: header.kind,
        });
    }
    let invalid = |reason: String| Error::Config {
        path: path.clone(),
        reason,
    };
    let config: C = serde_json::from_value(architecture.clone())
        .map_err(|error| invalid(format!("architecture: {error}")))?;
    // Deriving `Config` lets unknown keys pass; what was understood is what comes out again.
    let understood = serde_json::to_value(&config).map_err(|error| invalid(error.to_string()))?;
    let mut unknown = Vec::new();
    unknown_keys("architecture", &architecture, &understood, &mut unknown);
    if unknown.is_empty() {
        return Ok(config);
    }
    Err(invalid(format!("unknown field {}", unknown.join(", "))))
}

fn unknown_keys(place: &str, given: &Value, understood: &Value, unknown: &mut Vec<String>) {
    let (Value::Object(given), Value::Object(understood)) = (given, understood) else {
        return;
    };
    for (key, value) in given {
        let place = format!("{place}.{key}");
        match understood.get(key) {
            Some(known) => unknown_keys(&place, value, known, unknown),
            None => unknown.push(place),
        }
    }
}

/// Gives the module with the weights of the checkpoint in a directory.
///
/// # Errors
/// When a file is missing or damaged, the weights were saved for another architecture than
/// `config.json` tells, a tensor is missing, extra or misshapen, or a weight is not finite.
pub fn load_into<M: Module>(module: M, directory: &Path) -> Result<M, Error> {
    let (_, architecture) = read_header(directory)?;
    let path = directory.join(WEIGHTS_FILE);
    let (tensors, saved_for) = read_weights(&path)?;
    if saved_for.is_some_and(|saved_for| saved_for != architecture) {
        let reason = format!("they were saved for another architecture than {CONFIG_FILE} tells");
        return Err(Error::Damaged { path, reason });
    }
    fit(module, tensors, &Naming::Own, &path)
}

/// Reads a weight file of this format: its tensors, not yet their values, and the architecture
/// it was saved for.
pub(crate) fn read_weights(path: &Path) -> Result<(Vec<PackTensor>, Option<Value>), Error> {
    fs::File::open(path).map_err(Error::io("open", path))?;
    let damaged = |error: PackError| Error::damaged(path)(&error);
    let reader = Reader::from_file_exact(path).map_err(damaged)?;
    let saved_for = reader.metadata().get(ARCHITECTURE_KEY);
    let saved_for = saved_for.and_then(|text| serde_json::from_str(text).ok());
    Ok((reader.into_tensors().map_err(damaged)?, saved_for))
}

/// Gives a digest of the names, shapes and values of a network, 32 hexadecimal digits.
///
/// The same weights have the same fingerprint on every device; it stamps the tokens that a
/// network made.
///
/// # Panics
/// When the weights cannot be read back from their device.
pub fn fingerprint<M: Module>(module: &M) -> String {
    let mut tensors = collect(module, &Naming::Own);
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut digest = Sha256::new();
    for tensor in tensors {
        digest.update(format!("{} {:?}\n", tensor.name, tensor.shape.as_slice()));
        let data = bridge::into_data(tensor).expect("weights can be read from their device");
        let values = data.try_into_vec_as::<f32>().expect("weights are numbers");
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        digest.update(&bytes);
    }
    digest
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests;
