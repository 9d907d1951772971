//! Files written by `torch.save`.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::sync::LazyLock;

use burn_store::bridge;
use burn_store::pytorch_reader::{MAX_PICKLE_SIZE, PytorchError, PytorchReader};
use regex::bytes::{Captures, Regex};
use tempfile::NamedTempFile;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::Tensors;
use crate::error::Error;

/// Where Lightning keeps the weights, beside the state of the training.
const LIGHTNING_KEY: &str = "state_dict";
/// The description of all objects in a file, whose directory has the file's name.
const PICKLE: &str = "data.pkl";

/// A class of Lightning, as a pickle names it.
static LIGHTNING_CLASS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?-u)c((?:pytorch_)?lightning[A-Za-z0-9_.]*)\n([A-Za-z0-9_]+)\n";
    Regex::new(pattern).expect("a constant, tried by tests")
});

pub(super) fn open(path: &Path) -> Result<Tensors, Error> {
    let (reader, scratch) = match read(path) {
        Ok(reader) => (reader, None),
        Err(error) => {
            let damaged = || Error::damaged(path)(&error);
            let scratch = without_lightning_classes(path)
                .ok()
                .flatten()
                .ok_or_else(damaged)?;
            (read(scratch.path()).map_err(|_| damaged())?, Some(scratch))
        }
    };
    let tensors = reader
        .into_tensors()
        .into_values()
        .map(bridge::from_pytorch);
    Ok(Tensors {
        tensors: tensors.collect(),
        metadata: HashMap::new(),
        scratch,
    })
}

fn read(path: &Path) -> Result<PytorchReader, PytorchError> {
    match PytorchReader::with_top_level_key(path, LIGHTNING_KEY) {
        Err(PytorchError::KeyNotFound(_)) => PytorchReader::new(path),
        result => result,
    }
}

/// Copies a checkpoint with the names of Lightning's classes in place of the classes, if it has any.
///
/// The released VQGANs keep the state of callbacks under the classes of the callbacks, and the
/// reader takes no class for a key. Nothing that is kept under such a key is weights.
fn without_lightning_classes(path: &Path) -> zip::result::ZipResult<Option<NamedTempFile>> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path)?))?;
    let names = archive
        .file_names()
        .collect::<zip::result::ZipResult<Vec<_>>>()?;
    let is_pickle = |name: &&str| name.rsplit('/').next() == Some(PICKLE);
    let Some(pickle_name) = names
        .iter()
        .map(|name| &**name)
        .find(is_pickle)
        .map(str::to_owned)
    else {
        return Ok(None);
    };
    let mut pickle = Vec::new();
    archive
        .by_name(&pickle_name)?
        .take(MAX_PICKLE_SIZE)
        .read_to_end(&mut pickle)?;
    if !LIGHTNING_CLASS.is_match(&pickle) {
        return Ok(None);
    }
    let pickle = LIGHTNING_CLASS.replace_all(&pickle, |captures: &Captures| {
        let name = [&captures[1], &captures[2]].join(&b'.');
        // The opcode of a string: its length in four bytes, then the string.
        [b"X", (name.len() as u32).to_le_bytes().as_slice(), &name].concat()
    });
    let scratch = NamedTempFile::new()?;
    let mut copy = ZipWriter::new(BufWriter::new(scratch.reopen()?));
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        if entry.name()? == pickle_name {
            copy.start_file(&*pickle_name, SimpleFileOptions::default())?;
            copy.write_all(&pickle)?;
        } else {
            copy.raw_copy_file(entry)?;
        }
    }
    copy.finish()?.flush()?;
    Ok(Some(scratch))
}
