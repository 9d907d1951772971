//! Networks onto disk.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::DType;
use burn_store::bridge;
use burn_store::burn_pack::{AtomicFile, Error as PackError, Tensor as PackTensor, Writer};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    ARCHITECTURE_KEY, CONFIG_FILE, ConfigFile, FORMAT, Header, Naming, Storage, WEIGHTS_FILE,
    collect,
};
use crate::error::Error;

/// Writes a network with its description to a directory, which is created where needed.
///
/// Each file appears under its name only when it is complete and on disk.
///
/// # Errors
/// When the directory cannot be written, and [`Error::NotFinite`] when a weight is NaN, infinite
/// or too large for `storage`.
pub fn save<M: Module, C: Serialize>(
    module: &M,
    header: &Header,
    architecture: &C,
    storage: Storage,
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
        storage,
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
    storage: Storage,
    path: &Path,
) -> Result<(), Error> {
    let dtype = match storage {
        Storage::Full => DType::F32,
        Storage::Half => DType::F16,
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
