//! Tensors into a network, all of them or none.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, DType, Device, Int, Shape, Tensor, TensorData};
use burn_store::burn_pack::{Error as PackError, Tensor as PackTensor};
use burn_store::{
    Applier, BurnToPyTorchAdapter, FloatCastAdapter, IdentityAdapter, KeyRemapper, ModuleAdapter,
    ModuleContext, ModuleSnapshot, PyTorchToBurnAdapter, bridge,
};

use crate::error::{Error, Mismatch};

/// How a file names and lays out the tensors of a network.
#[derive(Clone, Debug)]
pub(crate) enum Naming {
    /// Field paths of the module, Burn's layout.
    Own,
    /// PyTorch's layout (linear weights out × in, norms with weight and bias) under field paths
    /// rewritten by these patterns.
    PyTorch(KeyRemapper),
}

impl Naming {
    /// PyTorch's layout, with each `(pattern, replacement)` applied to the field paths.
    ///
    /// # Panics
    /// When a pattern is not a regular expression; they are constants of this crate.
    pub(crate) fn pytorch(renames: &[(&str, &str)]) -> Self {
        let remapper = KeyRemapper::from_patterns(renames.to_vec());
        Self::PyTorch(remapper.expect("patterns are constants, tried by tests"))
    }

    fn to_file(&self) -> Box<dyn ModuleAdapter> {
        match self {
            Self::Own => Box::new(IdentityAdapter),
            Self::PyTorch(_) => Box::new(BurnToPyTorchAdapter),
        }
    }

    fn to_module(&self, dtype: DType) -> Box<dyn ModuleAdapter> {
        match self {
            Self::Own => Box::new(FloatCastAdapter::to(dtype)),
            Self::PyTorch(_) => Box::new(PyTorchToBurnAdapter.chain(FloatCastAdapter::to(dtype))),
        }
    }

    /// Burn names the variants of an enum in a path, PyTorch has none to name.
    fn skips_variants(&self) -> bool {
        matches!(self, Self::PyTorch(_))
    }

    fn rename(&self, tensors: Vec<PackTensor>) -> Vec<PackTensor> {
        match self {
            Self::Own => tensors,
            Self::PyTorch(remapper) => remapper.remap(tensors).0,
        }
    }
}

/// One parameter of a module, as a file has to hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Path of fields in the module.
    pub(crate) field: String,
    /// Name in the file.
    pub(crate) name: String,
    /// Shape in the file.
    pub(crate) shape: Vec<usize>,
}

/// Lists the parameters of a module as a file has to hold them, without allocating any, and gives
/// the device they are on.
fn survey<M: Module>(module: &M, naming: &Naming) -> (Vec<Slot>, Option<Device>) {
    let mut survey = Survey {
        adapter: naming.to_file(),
        skips_variants: naming.skips_variants(),
        fields: Vec::new(),
        tensors: Vec::new(),
        path: Vec::new(),
        containers: Vec::new(),
        device: None,
    };
    module.visit(&mut survey);
    let named = naming.rename(survey.tensors);
    let slots = survey
        .fields
        .into_iter()
        .zip(named)
        .map(|(field, tensor)| Slot {
            field,
            name: tensor.name,
            shape: tensor.shape.to_vec(),
        });
    (slots.collect(), survey.device)
}

/// Collects names and shapes only, so that lazily initialized parameters stay unallocated.
struct Survey {
    adapter: Box<dyn ModuleAdapter>,
    skips_variants: bool,
    fields: Vec<String>,
    tensors: Vec<PackTensor>,
    path: Vec<String>,
    containers: Vec<String>,
    device: Option<Device>,
}

impl Survey {
    fn skips(&self, container: &str) -> bool {
        self.skips_variants && container.starts_with("Enum:")
    }

    fn add(&mut self, shape: Shape, device: Device) {
        let field = self.path.join(".");
        let named = self.path.iter().zip(&self.containers);
        let named = named.filter(|(_, container)| !self.skips(container));
        let name = named
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>()
            .join(".");
        let outline = bridge::deferred(name, DType::F32, shape, None, || {
            Err(PackError::ValidationError(
                "an outline holds no values".into(),
            ))
        });
        self.fields.push(field);
        self.tensors.push(
            self.adapter
                .adapt(outline, ModuleContext::new(&self.containers)),
        );
        self.device.get_or_insert(device);
    }
}

impl ModuleVisitor for Survey {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push(name.to_string());
        self.containers.push(container_type.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.add(param.lazy_shape(), param.lazy_device());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add(param.lazy_shape(), param.lazy_device());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.add(param.lazy_shape(), param.lazy_device());
    }
}

/// Gives the tensors of a module as a file holds them, read from the device when written.
pub(crate) fn collect<M: Module>(module: &M, naming: &Naming) -> Vec<PackTensor> {
    naming.rename(module.collect(None, Some(naming.to_file()), naming.skips_variants()))
}

/// Gives the module with every parameter taken from `tensors`, in the float type of its device.
///
/// # Errors
/// [`Error::Tensors`] names every tensor that is missing, too much, misshapen or not floating
/// point; [`Error::NotFinite`] every one with a NaN or infinite value; [`Error::Damaged`] the
/// first that cannot be read. The module is gone then, never half loaded.
pub(crate) fn fit<M: Module>(
    module: M,
    tensors: Vec<PackTensor>,
    naming: &Naming,
    path: &Path,
) -> Result<M, Error> {
    let (slots, device) = survey(&module, naming);
    let mismatches = compare(&slots, &tensors);
    if !mismatches.is_empty() {
        return Err(Error::Tensors {
            path: path.to_path_buf(),
            mismatches,
        });
    }
    let fields: BTreeMap<_, _> = slots
        .into_iter()
        .map(|slot| (slot.name, slot.field))
        .collect();
    let mut loaded = Vec::with_capacity(tensors.len());
    let mut not_finite = Vec::new();
    for tensor in tensors {
        let field = fields
            .get(&tensor.name)
            .expect("compare found each name")
            .clone();
        let (name, id) = (tensor.name.clone(), tensor.param_id);
        match values(tensor, path)? {
            Some(data) => loaded.push(bridge::from_data(data, field, id)),
            None => not_finite.push(name),
        }
    }
    if !not_finite.is_empty() {
        return Err(Error::NotFinite {
            path: path.to_path_buf(),
            tensors: not_finite,
        });
    }
    let dtype = device.map_or(DType::F32, |device| device.settings().float_dtype.into());
    let mut applier = Applier::new(loaded, None, Some(naming.to_module(dtype)), false);
    let module = module.map(&mut applier);
    let result = applier.into_result();
    match result.errors.first() {
        Some(error) => Err(Error::damaged(path)(error)),
        None => Ok(module),
    }
}

fn compare(slots: &[Slot], tensors: &[PackTensor]) -> Vec<Mismatch> {
    let found: BTreeMap<_, _> = tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect();
    let expected: BTreeMap<_, _> = slots
        .iter()
        .map(|slot| (slot.name.as_str(), slot))
        .collect();
    let mut mismatches = Vec::new();
    for (&name, slot) in &expected {
        match found.get(name) {
            None => mismatches.push(Mismatch::Missing {
                name: name.into(),
                expected: slot.shape.clone(),
            }),
            Some(tensor) if tensor.shape.as_slice() != slot.shape => {
                mismatches.push(Mismatch::Shape {
                    name: name.into(),
                    expected: slot.shape.clone(),
                    found: tensor.shape.to_vec(),
                });
            }
            Some(tensor) if !tensor.dtype.is_float() => mismatches.push(Mismatch::Type {
                name: name.into(),
                found: format!("{:?}", tensor.dtype),
            }),
            Some(_) => {}
        }
    }
    let extra = found
        .iter()
        .filter(|(name, _)| !expected.contains_key(*name));
    mismatches.extend(extra.map(|(&name, tensor)| Mismatch::Extra {
        name: name.into(),
        found: tensor.shape.to_vec(),
    }));
    mismatches
}

/// Reads the values of a tensor, or `None` when one of them is not finite in f32.
pub(crate) fn values(tensor: PackTensor, path: &Path) -> Result<Option<TensorData>, Error> {
    let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
    let damaged = |reason: &dyn std::fmt::Display| {
        Error::damaged(path)(&format_args!("tensor {name}: {reason}"))
    };
    let data = bridge::into_data(tensor).map_err(|error| damaged(&error))?;
    let values = data
        .try_into_vec_as::<f32>()
        .map_err(|error| damaged(&error))?;
    let finite = values.iter().all(|value| value.is_finite());
    Ok(finite.then(|| TensorData::new(values, shape)))
}
