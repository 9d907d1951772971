//! Networks from disk.

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use burn_store::burn_pack::{Error as PackError, Reader, Tensor as PackTensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    ARCHITECTURE_KEY, CONFIG_FILE, ConfigFile, FORMAT, Header, Kind, Naming, Network, WEIGHTS_FILE,
    fit,
};
use crate::error::Error;

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

/// Reads a network with its architecture and description from a directory.
///
/// # Errors
/// As [`read_config`] and [`load_into`]; also when the architecture describes no network.
pub fn load<N: Network>(
    directory: &Path,
    device: &Device,
) -> Result<(N, N::Config, Header), Error> {
    let config = read_config::<N::Config>(directory, N::KIND)?;
    N::check(&config).map_err(|reason| Error::Config {
        path: directory.join(CONFIG_FILE),
        reason,
    })?;
    let network = load_into(N::init(&config, device), directory)?;
    let (header, _) = read_header(directory)?;
    Ok((network, config, header))
}

/// What a weight file tells about one tensor, before its values are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TensorInfo {
    /// Name in the file.
    pub name: String,
    /// Type of the numbers in the file.
    pub dtype: String,
    /// Shape in the file.
    pub shape: Vec<usize>,
}

/// Lists the tensors of the checkpoint in a directory, by name.
///
/// # Errors
/// When the weights are missing or damaged.
pub fn tensors(directory: &Path) -> Result<Vec<TensorInfo>, Error> {
    Ok(list(&read_weights(&directory.join(WEIGHTS_FILE))?.0))
}

pub(crate) fn list(tensors: &[PackTensor]) -> Vec<TensorInfo> {
    let describe = |tensor: &PackTensor| TensorInfo {
        name: tensor.name.clone(),
        dtype: format!("{:?}", tensor.dtype),
        shape: tensor.shape.to_vec(),
    };
    let mut list: Vec<_> = tensors.iter().map(describe).collect();
    list.sort();
    list
}

/// Reads a weight file of this format: its tensors, not yet their values, and the architecture
/// it was saved for.
fn read_weights(path: &Path) -> Result<(Vec<PackTensor>, Option<Value>), Error> {
    fs::File::open(path).map_err(Error::io("open", path))?;
    let damaged = |error: PackError| Error::damaged(path)(&error);
    let reader = Reader::from_file_exact(path).map_err(damaged)?;
    let saved_for = reader.metadata().get(ARCHITECTURE_KEY);
    let saved_for = saved_for.and_then(|text| serde_json::from_str(text).ok());
    Ok((reader.into_tensors().map_err(damaged)?, saved_for))
}
