//! Released weights, or files like them, into networks and out again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ::safetensors::{Dtype, SafeTensors};
use burn::module::Module as _;
use burn::tensor::DType;
use burn_store::bridge;

use super::*;
use crate::checkpoint::{self, Header, Storage, collect, fingerprint};
use crate::clip::{ClipText, ClipTextConfig};
use crate::error::Mismatch;
use crate::patch::{Extent, TokenSize};
use crate::render::{Decoding, Feed, Renderer, RendererConfig, Transfer};
use crate::vqgan::{PgVqgan, Vqgan, VqganConfig};

fn tests_folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests"))
}

fn golden(case: &str) -> PathBuf {
    tests_folder()
        .join("golden")
        .join(case)
        .join("weights.safetensors")
}

fn fixture(name: &str) -> PathBuf {
    tests_folder().join("fixtures").join(name)
}

fn device() -> Device {
    Device::flex()
}

type Values = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Reads a file with nothing of this crate.
fn contents(path: &Path) -> Values {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = file
        .tensors()
        .into_iter()
        .filter(|(_, view)| view.dtype() == Dtype::F32);
    let read = |(name, view): (String, ::safetensors::tensor::TensorView)| {
        let values = view.data().chunks_exact(4);
        let values = values
            .map(|word| f32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        (name, (view.shape().to_vec(), values))
    };
    floats.map(read).collect()
}

fn write(path: &Path, tensors: &Values) {
    let bytes = |values: &[f32]| {
        values
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let data: Vec<_> = tensors.values().map(|(_, values)| bytes(values)).collect();
    let views = tensors.iter().zip(&data).map(|((name, (shape, _)), data)| {
        let view = ::safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), data);
        (name, view.unwrap())
    });
    ::safetensors::serialize_to_file(views, None, path).unwrap();
}

fn header(kind: Kind) -> Header {
    Header {
        kind,
        licence: "MIT".into(),
        source: "a test".into(),
        notes: None,
    }
}

/// Takes a network through the own format and out to safetensors, and gives what came out.
fn round_trip<N: Network>(network: &N, config: &N::Config, directory: &Path) -> Values {
    let kept = directory.join("kept");
    checkpoint::save(network, &header(N::KIND), config, Storage::Full, &kept).unwrap();
    let (loaded, config, header) = checkpoint::load::<N>(&kept, &device()).unwrap();
    assert_eq!(fingerprint(&loaded), fingerprint(network));
    let out = directory.join("out.safetensors");
    safetensors::export(&loaded, &config, &header, &out).unwrap();
    contents(&out)
}

#[test]
fn a_vqgan_comes_out_as_it_went_in() {
    let directory = tempfile::tempdir().unwrap();
    for (case, multipliers, z, n_codes, code_dim) in [
        ("vqgan-0", vec![1, 1], 24, 64, 16),
        ("vqgan-1", vec![2, 1], 16, 50, 20),
    ] {
        let imported = taming::vqgan(&golden(case), &device()).unwrap();
        let ch = 32;
        let config = VqganConfig {
            ch,
            multipliers,
            blocks: 1,
            z,
            n_codes,
            code_dim,
        };
        assert_eq!(imported.config, config);
        assert!(imported.skipped.len() > 10);
        let part = |name: &str| name.starts_with("discriminator.");
        assert!(imported.skipped.iter().all(|name| part(name)));
        let mut expected = contents(&golden(case));
        expected.retain(|name, _| !part(name));
        assert_eq!(
            round_trip(&imported.network, &config, directory.path()),
            expected
        );
    }
}

#[test]
fn a_pixel_guided_vqgan_comes_out_as_it_went_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = golden("pg_vqgan-animate");
    let Imported {
        network,
        config,
        skipped,
    } = taming::pg_vqgan(&path, &device()).unwrap();
    assert_eq!(
        (config.blocks, config.multipliers.as_slice()),
        (1, &[1, 1][..])
    );
    assert!(skipped.is_empty());
    assert_eq!(
        round_trip(&network, &config, directory.path()),
        contents(&path)
    );
}

fn renderer_config() -> RendererConfig {
    RendererConfig {
        decoding: Decoding::Ar,
        d_model: 64,
        n_layers: 2,
        n_codes: 10,
        patch: TokenSize { f: 1, h: 2, w: 3 },
        extent: Extent { w: 1, h: 2, f: 0 },
        feed: Feed::Pre,
        d_text: Some(6),
        transfer: Transfer::Context,
    }
}

#[test]
fn a_renderer_has_the_names_of_the_page() {
    let directory = tempfile::tempdir().unwrap();
    let config = renderer_config();
    let values = round_trip(&config.init(&device()), &config, directory.path());
    let shape = |name: &str| values[name].0.as_slice();
    assert_eq!(shape("layers.1.ff.in.weight"), [512, 64]);
    assert_eq!(shape("layers.0.ff.out.weight"), [64, 256]);
    assert_eq!(shape("layers.0.norm3.weight"), [64]);
    assert_eq!(shape("text_proj.weight"), [64, 6]);
    assert_eq!(shape("layers.0.rpe"), [15, 64]);
    assert_eq!(shape("head.bias"), [10]);
    assert_eq!(values.len(), 9 + 2 * 27 + 2);
    let out = directory.path().join("out.safetensors");
    let again = safetensors::exported::<Renderer>(&out, &device()).unwrap();
    assert_eq!(again.config, config);
    assert_eq!(collect_values(&again.network), values);
}

fn collect_values<N: Network>(network: &N) -> Values {
    let tensors = collect(network, &Naming::pytorch(N::PUBLIC_NAMES)).into_iter();
    let value = |tensor: PackTensor| {
        let (name, shape) = (tensor.name.clone(), tensor.shape.to_vec());
        let data = bridge::into_data(tensor).unwrap();
        (name, (shape, data.try_to_vec::<f32>().unwrap()))
    };
    tensors.map(value).collect()
}

#[test]
fn a_text_tower_loads_with_and_without_prefix_and_beside_an_image_tower() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clip.safetensors");
    let given = contents(&golden("clip_text-0"));
    let prefixed = clip::text(&golden("clip_text-0"), None, &device()).unwrap();
    assert_eq!(prefixed.config.num_attention_heads, 1);
    assert_eq!(prefixed.config.num_hidden_layers, 2);
    assert_eq!(prefixed.config.max_position_embeddings, 77);
    assert_eq!(
        round_trip(&prefixed.network, &prefixed.config, directory.path()),
        given
    );
    let bare = given.iter().map(|(name, value)| {
        (
            name.strip_prefix("text_model.").unwrap().to_string(),
            value.clone(),
        )
    });
    write(&path, &bare.collect());
    let bare = clip::text(&path, None, &device()).unwrap();
    assert_eq!(fingerprint(&bare.network), fingerprint(&prefixed.network));
    let mut whole = given.clone();
    let elsewhere = [
        "logit_scale",
        "text_model.embeddings.position_ids",
        "text_projection.weight",
        "vision_model.post_layernorm.bias",
        "visual_projection.weight",
    ];
    whole.extend(elsewhere.map(|name| (name.to_string(), (vec![1], vec![1.0]))));
    write(&path, &whole);
    let whole = clip::text(&path, None, &device()).unwrap();
    assert_eq!(whole.skipped, elsewhere);
    assert_eq!(fingerprint(&whole.network), fingerprint(&prefixed.network));
}

#[test]
fn a_text_tower_of_odd_width_needs_its_config() {
    let path = golden("clip_text-1");
    let message = clip::text(&path, None, &device()).unwrap_err().to_string();
    assert!(
        message.contains("its width 48 is not a multiple of 64"),
        "{message}"
    );
    let config = ClipTextConfig {
        hidden_size: 48,
        intermediate_size: 100,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        vocab_size: 64,
        max_position_embeddings: 20,
    };
    let directory = tempfile::tempdir().unwrap();
    let imported = clip::text(&path, Some(&config), &device()).unwrap();
    assert_eq!(
        round_trip(&imported.network, &config, directory.path()),
        contents(&path)
    );
}

/// What the generator of the fixtures wrote.
fn fixture_values(network: &Vqgan) -> Values {
    let names = collect_values(network)
        .into_iter()
        .map(|(name, (shape, _))| (name, shape));
    let values = names.enumerate().map(|(n, (name, shape))| {
        let element = |k: usize| ((37 * (7 * n + k)) % 2048) as f32 / 1024.0 - 1.0;
        let values = (0..shape.iter().product()).map(element).collect();
        (name, (shape, values))
    });
    values.collect()
}

#[test]
fn checkpoints_written_by_torch_are_read() {
    let plain = taming::vqgan(&fixture("vqgan.pth"), &device()).unwrap();
    let (ch, multipliers) = (32, vec![1, 2]);
    let config = VqganConfig {
        ch,
        multipliers,
        blocks: 1,
        z: 24,
        n_codes: 20,
        code_dim: 16,
    };
    assert_eq!(plain.config, config);
    assert!(plain.skipped.is_empty());
    assert_eq!(
        collect_values(&plain.network),
        fixture_values(&plain.network)
    );
    assert_eq!(
        plain.network.quantize.embedding.weight.val().dtype(),
        DType::F32
    );
    let wrapped = taming::vqgan(&fixture("vqgan-lightning.ckpt"), &device()).unwrap();
    assert_eq!(
        wrapped.config,
        VqganConfig {
            multipliers: vec![1, 1],
            ..config
        }
    );
    assert_eq!(
        wrapped.skipped,
        [
            "loss.discriminator.main.0.weight",
            "loss.discriminator.main.3.num_batches_tracked",
            "loss.perceptual_loss.lin0.model.1.weight",
        ]
    );
    assert_eq!(
        collect_values(&wrapped.network),
        fixture_values(&wrapped.network)
    );
}

#[test]
fn every_misfit_of_a_foreign_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vqgan.safetensors");
    let mut tensors = contents(&golden("vqgan-0"));
    tensors.remove("encoder.mid.attn_1.k.bias");
    tensors.insert("encoder.mid.extra".into(), (vec![2], vec![0.0; 2]));
    tensors.insert("decoder.conv_out.bias".into(), (vec![4], vec![0.0; 4]));
    write(&path, &tensors);
    let error = taming::vqgan(&path, &device()).unwrap_err();
    let Error::Tensors { mismatches, .. } = error else {
        panic!("{error}")
    };
    let expected = [
        Mismatch::Shape {
            name: "decoder.conv_out.bias".into(),
            expected: vec![3],
            found: vec![4],
        },
        Mismatch::Missing {
            name: "encoder.mid.attn_1.k.bias".into(),
            expected: vec![32],
        },
        Mismatch::Extra {
            name: "encoder.mid.extra".into(),
            found: vec![2],
        },
    ];
    assert_eq!(mismatches, expected);
}

#[test]
fn numbers_that_are_none_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vqgan.safetensors");
    let mut tensors = contents(&golden("vqgan-0"));
    tensors.get_mut("decoder.conv_in.bias").unwrap().1[5] = f32::NAN;
    tensors.get_mut("decoder.norm_out.weight").unwrap().1[0] = f32::NEG_INFINITY;
    write(&path, &tensors);
    let error = taming::vqgan(&path, &device()).unwrap_err();
    let Error::NotFinite { mut tensors, .. } = error else {
        panic!("{error}")
    };
    tensors.sort();
    assert_eq!(tensors, ["decoder.conv_in.bias", "decoder.norm_out.weight"]);
}

#[test]
fn relatives_of_the_vqgan_are_refused_by_name() {
    fn check(change: impl FnOnce(&mut Values), cause: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vqgan.safetensors");
        let mut tensors = contents(&golden("vqgan-0"));
        change(&mut tensors);
        write(&path, &tensors);
        let message = taming::vqgan(&path, &device()).unwrap_err().to_string();
        assert!(
            message.contains(cause) && message.contains("not a vqgan"),
            "{message}"
        );
    }
    let one = || (vec![1], vec![0.0]);
    check(
        |t| drop(t.insert("quantize.embed.weight".into(), one())),
        "Gumbel",
    );
    check(
        |t| drop(t.insert("quantize.embedding.cluster_size".into(), one())),
        "moving averages",
    );
    check(
        |t| drop(t.insert("model_ema.decay".into(), one())),
        "moving averages",
    );
    check(
        |t| drop(t.remove("encoder.conv_in.weight")),
        "it has no encoder.conv_in.weight",
    );
    check(
        |t| drop(t.insert("encoder.conv_in.weight".into(), one())),
        "has shape [1]",
    );
    check(
        |t| t.retain(|name, _| !name.starts_with("encoder.down.")),
        "multipliers is []",
    );
}

#[test]
fn files_cut_or_changed_anywhere_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    for (source, steps) in [
        (fixture("vqgan-lightning.ckpt"), 60),
        (fixture("vqgan.pth"), 60),
        (golden("vqgan-0"), 12),
    ] {
        let path = directory.path().join(source.file_name().unwrap());
        let whole = fs::read(&source).unwrap();
        for step in 0..steps {
            let length = step * step * whole.len() / (steps * steps);
            fs::write(&path, &whole[..length]).unwrap();
            let error = taming::vqgan(&path, &device()).unwrap_err();
            let named = matches!(error, Error::Damaged { .. } | Error::Architecture { .. });
            assert!(named, "{length} of {}: {error}", source.display());
        }
        // Where a change lands among values, the file still is a network.
        for step in 0..steps {
            let mut bytes = whole.clone();
            let place = step * 131 % bytes.len();
            bytes[place] ^= 0x2b;
            fs::write(&path, &bytes).unwrap();
            drop(taming::vqgan(&path, &device()));
        }
    }
    let folder = taming::vqgan(directory.path(), &device()).unwrap_err();
    assert!(matches!(folder, Error::Io { .. }), "{folder}");
}

#[test]
fn an_exported_file_is_taken_for_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clip.safetensors");
    let imported = clip::text(&golden("clip_text-0"), None, &device()).unwrap();
    let (network, config) = (&imported.network, &imported.config);
    safetensors::export(network, config, &header(Kind::ClipText), &path).unwrap();
    let message = safetensors::exported::<Renderer>(&path, &device())
        .unwrap_err()
        .to_string();
    assert!(message.contains("it says it is a clip-text"), "{message}");
    let description = describe(&path).unwrap();
    assert_eq!(description.kind, Some(Kind::ClipText));
    assert_eq!(description.architecture.unwrap()["vocab_size"], 300);
    assert_eq!(description.licence.as_deref(), Some("MIT"));
    assert_eq!(description.tensors.len(), 2 + 2 * 16 + 2);
    let bare = describe(&golden("pg_vqgan-animate")).unwrap();
    assert_eq!(bare.kind, Some(Kind::PgVqgan));
    assert_eq!(bare.architecture.unwrap()["blocks"], 1);
    let unsaid = safetensors::exported::<ClipText>(&golden("clip_text-0"), &device());
    let message = unsaid.unwrap_err().to_string();
    assert!(message.contains("must be given"), "{message}");
    let unusual = taming::pg_vqgan(&golden("vqgan-0"), &device()).map(|_: Imported<PgVqgan>| ());
    assert!(
        unusual
            .unwrap_err()
            .to_string()
            .contains("it has no guide.conv_in.weight")
    );
}

#[test]
fn an_export_that_fails_leaves_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out.safetensors");
    fs::write(&path, "precious").unwrap();
    let config = renderer_config();
    let mut renderer = config.init(&device());
    renderer = renderer.map(&mut Spoil);
    let error = safetensors::export(&renderer, &config, &header(Kind::Renderer), &path);
    assert!(matches!(error, Err(Error::NotFinite { .. })), "{error:?}");
    let nowhere = directory.path().join("no").join("out.safetensors");
    let renderer = config.init(&device());
    let error = safetensors::export(&renderer, &config, &header(Kind::Renderer), &nowhere);
    assert!(matches!(error, Err(Error::Unwritable { .. })), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

/// Makes every number of a module NaN.
struct Spoil;

impl burn::module::ModuleMapper for Spoil {
    fn map_float<const D: usize>(
        &mut self,
        param: burn::module::Param<burn::tensor::Tensor<D>>,
    ) -> burn::module::Param<burn::tensor::Tensor<D>> {
        param.map(|tensor| tensor * f32::NAN)
    }
}
