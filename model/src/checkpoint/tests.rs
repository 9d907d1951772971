//! Weights on disk: round trips, and every way a file can be wrong.

use std::fs;
use std::path::Path;

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{DType, Device, Distribution, Tensor};

use burn_store::burn_pack::Writer;

use super::*;
use crate::error::{Error, Mismatch};

#[derive(Config, Debug, PartialEq)]
struct ToyConfig {
    width: usize,
    layers: usize,
}

#[derive(Module, Debug)]
struct Toy {
    layers: Vec<Linear>,
    norm: LayerNorm,
    table: Param<Tensor<1>>,
}

impl ToyConfig {
    fn init(&self, device: &Device) -> Toy {
        let random = Distribution::Uniform(-1.0, 1.0);
        let layer = LinearConfig::new(self.width, 2 * self.width);
        Toy {
            layers: (0..self.layers).map(|_| layer.init(device)).collect(),
            norm: LayerNormConfig::new(self.width).init(device),
            table: Param::from_tensor(Tensor::random([self.width], random, device)),
        }
    }
}

fn header() -> Header {
    Header {
        kind: Kind::Renderer,
        licence: "CC0-1.0".into(),
        source: "a test".into(),
        notes: None,
    }
}

fn toy() -> (ToyConfig, Toy, tempfile::TempDir) {
    let config = ToyConfig::new(4, 2);
    let module = config.init(&Device::flex());
    (config, module, tempfile::tempdir().unwrap())
}

fn saved() -> (ToyConfig, Toy, tempfile::TempDir) {
    let (config, module, directory) = toy();
    save(&module, &header(), &config, Storage::Full, directory.path()).unwrap();
    (config, module, directory)
}

/// Rewrites one field of a saved `config.json`.
fn edit(directory: &Path, change: impl FnOnce(&mut Value)) {
    let path = directory.join(CONFIG_FILE);
    let mut value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(&path, value.to_string()).unwrap();
}

#[test]
fn saved_is_loaded() {
    let (config, module, directory) = saved();
    let (read, architecture) = read_header(directory.path()).unwrap();
    assert_eq!(read, header());
    assert_eq!(architecture["width"], 4);
    let read: ToyConfig = read_config(directory.path(), Kind::Renderer).unwrap();
    assert_eq!(read, config);
    let fresh = config.init(&Device::flex());
    assert_ne!(fingerprint(&fresh), fingerprint(&module));
    let loaded = load_into(fresh, directory.path()).unwrap();
    assert_eq!(fingerprint(&loaded), fingerprint(&module));
    assert_eq!(
        loaded.table.id, module.table.id,
        "optimizer state is kept by parameter id"
    );
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(names.len(), 2, "no scratch file stays behind");
}

#[test]
fn half_precision_rounds_and_loads_as_single() {
    let (config, module, directory) = toy();
    save(&module, &header(), &config, Storage::Half, directory.path()).unwrap();
    let loaded = load_into(config.init(&Device::flex()), directory.path()).unwrap();
    assert_eq!(loaded.table.val().dtype(), DType::F32);
    let (a, b) = (
        module.table.val().into_data(),
        loaded.table.val().into_data(),
    );
    // Some may be, but not all numbers of a random table.
    assert_ne!(a, b, "a random f32 is no f16");
    for (a, b) in a.iter::<f32>().zip(b.iter::<f32>()) {
        assert!((a - b).abs() <= a.abs() / 1024.0, "{a} {b}");
    }
}

#[test]
fn every_misfit_is_named_with_both_shapes() {
    let (_, _, directory) = saved();
    let error = load_into(ToyConfig::new(3, 1).init(&Device::flex()), directory.path());
    let Err(Error::Tensors { path, mismatches }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(path, directory.path().join(WEIGHTS_FILE));
    assert_eq!(mismatches.len(), 7, "{mismatches:?}");
    assert!(mismatches.contains(&Mismatch::Shape {
        name: "layers.0.weight".into(),
        expected: vec![3, 6],
        found: vec![4, 8],
    }));
    let extra = Mismatch::Extra {
        name: "layers.1.weight".into(),
        found: vec![4, 8],
    };
    assert!(mismatches.contains(&extra));
    let error = load_into(ToyConfig::new(4, 3).init(&Device::flex()), directory.path());
    let message = error.unwrap_err().to_string();
    assert_eq!(message.lines().count(), 3, "{message}");
    assert!(
        message.contains("missing layers.2.bias: expected [8], found nothing"),
        "{message}"
    );
}

#[test]
fn numbers_that_are_none_are_refused_in_both_directions() {
    let (config, mut module, directory) = saved();
    let before = fs::read(directory.path().join(WEIGHTS_FILE)).unwrap();
    for (value, precision) in [
        (f32::NAN, Storage::Full),
        (f32::INFINITY, Storage::Full),
        (1e6, Storage::Half),
    ] {
        module.table = Param::from_tensor(Tensor::full([4], value, &Device::flex()));
        let error = save(&module, &header(), &config, precision, directory.path());
        let Err(Error::NotFinite { tensors, .. }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(tensors, ["table"]);
    }
    assert_eq!(
        fs::read(directory.path().join(WEIGHTS_FILE)).unwrap(),
        before
    );
    let not_a_number = || Param::from_tensor(Tensor::full([4], f32::NAN, &Device::flex()));
    (module.norm.beta, module.norm.gamma) = (Some(not_a_number()), not_a_number());
    let path = directory.path().join(WEIGHTS_FILE);
    Writer::new(collect(&module, &Naming::Own))
        .write_to_file(&path)
        .unwrap();
    let error = load_into(module, directory.path());
    let Err(Error::NotFinite { tensors, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(tensors, ["norm.beta", "norm.gamma"]);
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let (config, _, directory) = saved();
    let path = directory.path().join(WEIGHTS_FILE);
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(37).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        let error = load_into(config.init(&Device::flex()), directory.path()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{length}: {error}");
        assert!(error.to_string().contains(WEIGHTS_FILE), "{error}");
    }
}

#[test]
fn a_damaged_header_is_an_error_or_a_misfit() {
    let (config, _, directory) = saved();
    let path = directory.path().join(WEIGHTS_FILE);
    let whole = fs::read(&path).unwrap();
    for place in 0..512 {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x55;
        fs::write(&path, &bytes).unwrap();
        // Bytes of values, padding and parameter ids may change and still be weights.
        if let Err(error) = load_into(config.init(&Device::flex()), directory.path()) {
            let kinds = matches!(
                error,
                Error::Damaged { .. } | Error::Tensors { .. } | Error::NotFinite { .. }
            );
            assert!(kinds, "{place}: {error}");
        }
    }
}

#[test]
fn a_config_says_which_field_is_wrong() {
    fn check(change: impl FnOnce(&mut Value), cause: &str) {
        let (_, _, directory) = saved();
        edit(directory.path(), change);
        let read = read_config::<ToyConfig>(directory.path(), Kind::Renderer);
        let message = read.unwrap_err().to_string();
        assert!(
            message.contains(cause) && message.contains(CONFIG_FILE),
            "{message}"
        );
    }
    check(
        |config| config["format"] = 2.into(),
        "has format 2, this program reads format 1",
    );
    check(|config| config["format"] = Value::Null, "has format null");
    check(
        |config| config["kind"] = "vqgan".into(),
        "holds a vqgan, not a renderer",
    );
    check(
        |config| config["kind"] = "poem".into(),
        "unknown variant `poem`",
    );
    check(
        |config| config["colour"] = 1.into(),
        "unknown field `colour`",
    );
    check(
        |config| config["architecture"]["depth"] = 1.into(),
        "unknown field architecture.depth",
    );
    check(
        |config| config["architecture"]["width"] = "w".into(),
        "architecture: invalid type",
    );
    check(
        |config| drop(config.as_object_mut().unwrap().remove("licence")),
        "`licence`",
    );
}

#[test]
fn weights_of_another_save_are_refused() {
    let (config, _, directory) = saved();
    edit(directory.path(), |config| {
        config["architecture"]["width"] = 8.into()
    });
    let error = load_into(config.init(&Device::flex()), directory.path()).unwrap_err();
    assert!(
        error.to_string().contains("another architecture"),
        "{error}"
    );
}

#[test]
fn places_that_cannot_be_used_are_named() {
    let (config, module, directory) = toy();
    let error = load_into(config.init(&Device::flex()), directory.path()).unwrap_err();
    assert!(matches!(error, Error::Io { action: "read", .. }), "{error}");
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = save(&module, &header(), &config, Storage::Full, &file).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Io {
                action: "create",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_fingerprint_sees_names_shapes_and_values() {
    #[derive(Module, Debug)]
    struct Named {
        a: Param<Tensor<2>>,
    }
    #[derive(Module, Debug)]
    struct Renamed {
        b: Param<Tensor<2>>,
    }
    let tensor = |rows: usize, value: f32| {
        Param::from_tensor(Tensor::full([rows, 6 / rows], value, &Device::flex()))
    };
    let prints = [
        fingerprint(&Named { a: tensor(2, 1.0) }),
        fingerprint(&Named { a: tensor(3, 1.0) }),
        fingerprint(&Named { a: tensor(2, 1.5) }),
        fingerprint(&Renamed { b: tensor(2, 1.0) }),
    ];
    assert_eq!(prints[0], fingerprint(&Named { a: tensor(2, 1.0) }));
    assert_eq!(prints[0].len(), 32);
    for (n, print) in prints.iter().enumerate() {
        assert!(!prints[..n].contains(print), "{n}");
    }
}
