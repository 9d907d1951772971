//! Weights from and for other programs: their file formats, names and layouts are known only here.
//!
//! Architectures are deduced from the shapes of the tensors where these tell it; then every tensor
//! has to fit.

pub mod clip;
pub mod safetensors;
pub mod taming;

mod describe;
mod pytorch;
#[cfg(test)]
mod tests;

pub use self::describe::{Description, describe};

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use burn_store::burn_pack::Tensor as PackTensor;
use tempfile::NamedTempFile;

use crate::checkpoint::{self, Kind, Naming, Network, TensorInfo, fit};
use crate::error::Error;

/// A network from a foreign file.
#[derive(Debug)]
pub struct Imported<N: Network> {
    /// The network with its weights.
    pub network: N,
    /// How it is built.
    pub config: N::Config,
    /// Tensors of the file that belong to something else and were left out.
    pub skipped: Vec<String>,
}

/// The tensors of a foreign file, their values not yet read.
pub struct Tensors {
    /// Names, types, shapes and sources of values.
    tensors: Vec<PackTensor>,
    /// What the file says about itself.
    metadata: HashMap<String, String>,
    /// A copy that the values are read from; it goes when they have been.
    #[expect(dead_code, reason = "kept for its drop")]
    scratch: Option<NamedTempFile>,
}

impl Tensors {
    /// Opens a safetensors or PyTorch file; the contents tell which.
    ///
    /// Of a PyTorch file that keeps its weights under `state_dict`, only those are taken.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or is neither.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut start = [0; 9];
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let read = file.read(&mut start).map_err(Error::io("read", path))?;
        // The format starts with the length of a JSON object, then the object.
        if read == start.len() && start[8] == b'{' {
            return safetensors::open(path);
        }
        pytorch::open(path)
    }

    /// Gives name, type and shape of each tensor, by name.
    pub fn list(&self) -> Vec<TensorInfo> {
        checkpoint::list(&self.tensors)
    }

    /// Gives what the file says about itself under a key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    fn shapes(&self) -> Shapes<'_> {
        let shapes = self.tensors.iter();
        Shapes(
            shapes
                .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))
                .collect(),
        )
    }

    /// Takes out the tensors that belong to something else, and gives their names.
    fn skip(&mut self, belongs_elsewhere: impl Fn(&str) -> bool) -> Vec<String> {
        let all = std::mem::take(&mut self.tensors);
        let (skipped, kept) = all
            .into_iter()
            .partition(|tensor| belongs_elsewhere(&tensor.name));
        self.tensors = kept;
        let mut skipped: Vec<_> = skipped
            .into_iter()
            .map(|tensor: PackTensor| tensor.name)
            .collect();
        skipped.sort();
        skipped
    }

    /// Gives a network of this architecture with these weights, all of them or an error.
    fn fit<N: Network>(
        self,
        path: &Path,
        config: &N::Config,
        names: &[(&str, &str)],
        device: &Device,
    ) -> Result<N, Error> {
        N::check(config).map_err(|reason| unknown(path, N::KIND, reason))?;
        fit(
            N::init(config, device),
            self.tensors,
            &Naming::pytorch(names),
            path,
        )
    }
}

/// Gives a module that is not one of ours the tensors of PyTorch's files, all of them or an error.
///
/// `names` rewrites the fields of the module to names in the files, pattern by pattern; tensors whose
/// name `belongs_elsewhere` are left out.
///
/// # Errors
/// When a file cannot be read, or a tensor is missing, extra, misshapen or not finite.
///
/// # Panics
/// When a pattern is not a regular expression, or there are no files.
pub fn module<M: Module, P: AsRef<Path>>(
    module: M,
    files: &[P],
    names: &[(&str, &str)],
    belongs_elsewhere: impl Fn(&str) -> bool,
) -> Result<M, Error> {
    let mut all = Vec::new();
    for file in files {
        let mut tensors = Tensors::open(file.as_ref())?;
        tensors.skip(&belongs_elsewhere);
        all.push(tensors);
    }
    let tensors = all
        .iter_mut()
        .flat_map(|file| std::mem::take(&mut file.tensors));
    let path = files[0].as_ref();
    fit(module, tensors.collect(), &Naming::pytorch(names), path)
}

fn unknown(path: &Path, kind: Kind, reason: String) -> Error {
    Error::Architecture {
        path: path.to_path_buf(),
        kind,
        reason,
    }
}

/// The shapes of a file's tensors, asked for an architecture.
struct Shapes<'a>(BTreeMap<&'a str, &'a [usize]>);

impl Shapes<'_> {
    /// The length of a tensor along an axis; the error says why the file has no such length.
    fn length(&self, name: &str, rank: usize, axis: usize) -> Result<usize, String> {
        match self.0.get(name) {
            None => Err(format!("it has no {name}")),
            Some(shape) if shape.len() == rank => Ok(shape[axis]),
            Some(shape) => Err(format!("{name} has shape {shape:?}, not {rank} axes")),
        }
    }

    /// How many numbers from 0 follow the prefix in the names without a gap.
    fn count(&self, prefix: &str) -> usize {
        let has = |n: &usize| {
            let prefix = format!("{prefix}.{n}.");
            self.0.keys().any(|name| name.starts_with(&prefix))
        };
        (0..).take_while(has).count()
    }

    fn any(&self, prefix: &str) -> Option<&str> {
        self.0.keys().find(|name| name.starts_with(prefix)).copied()
    }
}
