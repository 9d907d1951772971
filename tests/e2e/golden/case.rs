//! Reading golden cases and comparing with them. The format is described beside the generator.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Bool, DType, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Numbers with a shape. Integers of the cases are small enough to be exact in f64.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f64>,
}

impl Array {
    pub(super) fn new(shape: impl Into<Vec<usize>>, values: Vec<f64>) -> Self {
        let shape = shape.into();
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "values of {shape:?}"
        );
        Self { shape, values }
    }

    /// Makes a list.
    pub(super) fn list<T: TryInto<i64>>(values: impl IntoIterator<Item = T>) -> Self
    where
        T::Error: std::fmt::Debug,
    {
        let exact = |value: T| value.try_into().expect("small") as f64;
        let values: Vec<f64> = values.into_iter().map(exact).collect();
        Self::new([values.len()], values)
    }

    pub(super) fn float<const D: usize>(&self, device: &burn::tensor::Device) -> Tensor<D> {
        let values: Vec<f32> = self.values.iter().map(|&x| x as f32).collect();
        Tensor::from_data(TensorData::new(values, self.dims::<D>()), device)
    }

    pub(super) fn int<const D: usize>(&self, device: &burn::tensor::Device) -> Tensor<D, Int> {
        Tensor::from_data(TensorData::new(self.ints(), self.dims::<D>()), device)
    }

    pub(super) fn ints(&self) -> Vec<i32> {
        self.values.iter().map(|&x| x as i32).collect()
    }

    pub(super) fn dims<const D: usize>(&self) -> [usize; D] {
        self.shape
            .as_slice()
            .try_into()
            .expect("the rank the case states")
    }
}

impl<const D: usize> From<Tensor<D>> for Array {
    fn from(tensor: Tensor<D>) -> Self {
        let shape = tensor.dims();
        let data = tensor.into_data().convert_dtype(DType::F64);
        Self::new(shape, data.try_to_vec().expect("converted to f64"))
    }
}

impl<const D: usize> From<Tensor<D, Int>> for Array {
    fn from(tensor: Tensor<D, Int>) -> Self {
        tensor.float().into()
    }
}

impl<const D: usize> From<Tensor<D, Bool>> for Array {
    fn from(tensor: Tensor<D, Bool>) -> Self {
        tensor.float().into()
    }
}

/// One folder of a golden set.
pub(super) struct Case {
    folder: PathBuf,
    json: Value,
    inputs: BTreeMap<String, Array>,
    outputs: BTreeMap<String, Array>,
}

/// Reads every case below a folder, by name.
pub(super) fn all_in(folder: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable folder").path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders.into_iter().map(Case::read).collect()
}

impl Case {
    fn read(folder: PathBuf) -> Self {
        let path = folder.join("case.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let (inputs, outputs) = (
            arrays(&folder.join("inputs.safetensors")),
            arrays(&folder.join("outputs.safetensors")),
        );
        Self {
            folder,
            json,
            inputs,
            outputs,
        }
    }

    pub(super) fn name(&self) -> String {
        self.folder.display().to_string()
    }

    pub(super) fn kind(&self) -> &str {
        self.json["kind"].as_str().expect("a case has a kind")
    }

    /// Reads a value of `case.json`.
    pub(super) fn get<T: DeserializeOwned>(&self, pointer: &str) -> T {
        self.find(pointer)
            .unwrap_or_else(|| panic!("{}: no {pointer}", self.name()))
    }

    /// Reads a value of `case.json` that need not be there.
    pub(super) fn find<T: DeserializeOwned>(&self, pointer: &str) -> Option<T> {
        let value = self
            .json
            .pointer(pointer)
            .filter(|value| !value.is_null())?;
        let read = serde_json::from_value(value.clone());
        Some(read.unwrap_or_else(|e| panic!("{}: {pointer}: {e}", self.name())))
    }

    pub(super) fn input(&self, name: &str) -> &Array {
        self.inputs
            .get(name)
            .unwrap_or_else(|| panic!("{}: no input {name}", self.name()))
    }

    pub(super) fn find_input(&self, name: &str) -> Option<&Array> {
        self.inputs.get(name)
    }

    /// Gives the names of the expected outputs.
    pub(super) fn output_names(&self) -> impl Iterator<Item = &str> {
        self.outputs.keys().map(String::as_str)
    }

    /// Gives the path of the weights, which cases of one model share; `pointer` names its entry in
    /// `case.json`.
    pub(super) fn weights_path(&self, pointer: &str) -> PathBuf {
        self.folder.join(self.get::<String>(pointer))
    }

    /// Gives a line for each output that is missing, unexpected or too far off.
    pub(super) fn compare(&self, found: &BTreeMap<String, Array>) -> Vec<String> {
        let mut failures = Vec::new();
        for (name, expected) in &self.outputs {
            let problem = match found.get(name) {
                None => Some("was not computed".to_owned()),
                Some(found) => self.difference(name, expected, found),
            };
            failures.extend(problem.map(|problem| format!("{} {name}: {problem}", self.name())));
        }
        for name in found
            .keys()
            .filter(|name| !self.outputs.contains_key(*name))
        {
            failures.push(format!(
                "{} {name}: computed, but the case does not know it",
                self.name()
            ));
        }
        failures
    }

    fn difference(&self, name: &str, expected: &Array, found: &Array) -> Option<String> {
        if expected.shape != found.shape {
            return Some(format!(
                "shape {:?}, expected {:?}",
                found.shape, expected.shape
            ));
        }
        let rule = &self.json["outputs"][name];
        let limit = rule["max_abs_error"]
            .as_f64()
            .expect("every output states its tolerance");
        let ignored: Vec<usize> =
            serde_json::from_value(rule["ignore_rows"].clone()).unwrap_or_default();
        let width = expected.values.len() / expected.shape.first().copied().unwrap_or(1).max(1);
        let mut errors: Vec<f64> = expected
            .values
            .iter()
            .zip(&found.values)
            .enumerate()
            .filter(|(at, _)| !ignored.contains(&(at / width.max(1))))
            // Rounding to f32 is part of the stored value.
            .map(|(_, (a, b))| if a == b { 0.0 } else { (a - b).abs() })
            .collect();
        // Not a number compares with nothing, so it must not look like a small error.
        errors
            .iter_mut()
            .filter(|e| e.is_nan())
            .for_each(|e| *e = f64::INFINITY);
        errors.sort_by(f64::total_cmp);
        errors.truncate(errors.len() - rule["outliers"].as_u64().unwrap_or(0) as usize);
        let worst = errors.last().copied().unwrap_or(0.0);
        if worst > limit {
            return Some(format!("off by {worst:.3e}, allowed {limit:.3e}"));
        }
        let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        let mean_limit = rule["mean_abs_error"].as_f64().unwrap_or(f64::INFINITY);
        (mean > mean_limit)
            .then(|| format!("off by {mean:.3e} on average, allowed {mean_limit:.3e}"))
    }
}

/// Reads a safetensors file; a missing file holds nothing.
pub(super) fn arrays(path: &Path) -> BTreeMap<String, Array> {
    let Ok(bytes) = std::fs::read(path) else {
        return BTreeMap::new();
    };
    let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let read = |(name, view): (String, safetensors::tensor::TensorView)| {
        let values = match view.dtype() {
            Dtype::F32 => words(view.data(), |b| f64::from(f32::from_le_bytes(b))),
            Dtype::I64 => words(view.data(), |b| i64::from_le_bytes(b) as f64),
            other => panic!("{path:?} {name}: {other:?}"),
        };
        (name, Array::new(view.shape(), values))
    };
    file.tensors().into_iter().map(read).collect()
}

fn words<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes
        .chunks_exact(N)
        .map(|chunk| read(chunk.try_into().expect("N bytes")))
        .collect()
}
