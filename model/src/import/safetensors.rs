//! Safetensors files, in and out, under public names and in PyTorch's layout.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ::safetensors::{Dtype, SafeTensors, View, serialize_to_file};
use burn::tensor::{BoolStore, DType, Device, TensorData};
use burn_store::burn_pack::{AtomicFile, Bytes, Tensor as PackTensor};

use super::{Imported, Tensors, unknown};
use crate::checkpoint::{Header, Naming, Network, collect, unwritable, values};
use crate::error::Error;
use crate::render::{Renderer, RendererConfig};

/// Key of the architecture, as JSON, in the files this program writes.
pub const ARCHITECTURE_KEY: &str = "architecture";
/// Key of the kind of network in the files this program writes.
pub const KIND_KEY: &str = "kind";

/// Reads a renderer of this architecture under the names of page §7.
///
/// # Errors
/// When the file cannot be read, or a tensor is missing, extra, misshapen or not finite.
pub fn renderer(path: &Path, config: &RendererConfig, device: &Device) -> Result<Renderer, Error> {
    network(path, config, device)
}

/// Reads a network of this architecture under its public names.
///
/// # Errors
/// As [`renderer`].
pub fn network<N: Network>(path: &Path, config: &N::Config, device: &Device) -> Result<N, Error> {
    Tensors::open(path)?.fit(path, config, N::PUBLIC_NAMES, device)
}

/// Reads a network that this program exported, with the architecture the file tells.
///
/// # Errors
/// As [`renderer`]; also when the file tells no architecture, or that of another network.
pub fn exported<N: Network>(path: &Path, device: &Device) -> Result<Imported<N>, Error> {
    let tensors = Tensors::open(path)?;
    let told = architecture::<N>(&tensors, path)?;
    let config = told.ok_or_else(|| {
        unknown(
            path,
            N::KIND,
            "its shapes do not tell the architecture, which must be given".into(),
        )
    })?;
    let network = tensors.fit(path, &config, N::PUBLIC_NAMES, device)?;
    Ok(Imported {
        network,
        config,
        skipped: Vec::new(),
    })
}

/// The architecture a file of ours tells, or nothing.
pub(super) fn architecture<N: Network>(
    tensors: &Tensors,
    path: &Path,
) -> Result<Option<N::Config>, Error> {
    if let Some(kind) = tensors.metadata(KIND_KEY)
        && kind != N::KIND.name()
    {
        return Err(unknown(path, N::KIND, format!("it says it is a {kind}")));
    }
    let parse = |text| {
        let config = serde_json::from_str(text);
        config.map_err(|error| unknown(path, N::KIND, format!("its architecture: {error}")))
    };
    tensors.metadata(ARCHITECTURE_KEY).map(parse).transpose()
}

/// Writes a network under its public names, in 32 bits, with its description as metadata.
///
/// The file appears under its name only when it is complete and on disk.
///
/// # Errors
/// When the file cannot be written, or a weight is not finite.
pub fn export<N: Network>(
    network: &N,
    config: &N::Config,
    header: &Header,
    path: &Path,
) -> Result<(), Error> {
    let mut tensors = Vec::new();
    let mut not_finite = Vec::new();
    for tensor in collect(network, &Naming::pytorch(N::PUBLIC_NAMES)) {
        let name = tensor.name.clone();
        match values(tensor, path)? {
            Some(data) => tensors.push((name, Exported(data))),
            None => not_finite.push(name),
        }
    }
    if !not_finite.is_empty() {
        return Err(Error::NotFinite {
            path: path.to_path_buf(),
            tensors: not_finite,
        });
    }
    let failed = |error: &dyn std::fmt::Display| unwritable(path, error);
    let architecture = serde_json::to_string(config).map_err(|error| failed(&error))?;
    let metadata = [
        ("format", "pt".into()),
        (KIND_KEY, header.kind.name().into()),
        (ARCHITECTURE_KEY, architecture),
        ("licence", header.licence.clone()),
        ("source", header.source.clone()),
    ];
    let metadata = metadata
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect();
    let (scratch, file) = AtomicFile::create(path).map_err(|error| failed(&error))?;
    drop(file);
    serialize_to_file(tensors, Some(metadata), scratch.path()).map_err(|error| failed(&error))?;
    scratch.commit().map_err(|error| failed(&error))
}

/// Values in 32 bits, to be written.
struct Exported(TensorData);

impl View for Exported {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.0.shape().as_slice()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.0.as_bytes())
    }

    fn data_len(&self) -> usize {
        self.0.num_elements() * size_of::<f32>()
    }
}

pub(super) fn open(path: &Path) -> Result<Tensors, Error> {
    let damaged = Error::damaged(path);
    let file = Arc::new(fs::read(path).map_err(Error::io("read", path))?);
    let (header_len, header) =
        SafeTensors::read_metadata(&file).map_err(|error| damaged(&error))?;
    let data_start = size_of::<u64>() + header_len;
    let mut tensors = Vec::new();
    for (name, info) in header.tensors() {
        let Some(dtype) = dtype(info.dtype) else {
            let reason = format!(
                "tensor {name}: numbers of type {:?} are not known",
                info.dtype
            );
            return Err(damaged(&reason));
        };
        let (start, end) = (
            data_start + info.data_offsets.0,
            data_start + info.data_offsets.1,
        );
        let file = Arc::clone(&file);
        // A copy of its own gives the values the alignment that the file need not have.
        let bytes = move || Ok(Bytes::from_bytes_vec(file[start..end].to_vec()));
        let shape = info.shape.clone();
        tensors.push(PackTensor::deferred(
            name,
            dtype,
            shape,
            None,
            end - start,
            bytes,
        ));
    }
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok(Tensors {
        tensors,
        metadata,
        scratch: None,
    })
}

fn dtype(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U64 => DType::U64,
        Dtype::U32 => DType::U32,
        Dtype::U16 => DType::U16,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool(BoolStore::Native),
        _ => return None,
    })
}
