//! The real program: exit codes and streams, for good requests and bad ones.

mod files;
mod film;
mod plan;
mod text;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use nuwa_data::Picture;
use nuwa_model::checkpoint::{self, Header, Kind, Storage};
use nuwa_model::patch::{Extent, TokenSize};
use nuwa_model::render::{Decoding, Feed, RendererConfig, Transfer};
use nuwa_model::vqgan::VqganConfig;
use tempfile::TempDir;

fn vqgan() -> VqganConfig {
    VqganConfig {
        ch: 32,
        multipliers: vec![1, 1],
        blocks: 1,
        z: 8,
        n_codes: 16,
        code_dim: 8,
    }
}

fn renderer() -> RendererConfig {
    RendererConfig {
        decoding: Decoding::Pnar,
        d_model: 64,
        n_layers: 1,
        n_codes: 16,
        patch: TokenSize { f: 1, h: 4, w: 4 },
        extent: Extent { w: 1, h: 1, f: 0 },
        feed: Feed::Pre,
        d_text: None,
        transfer: Transfer::Context,
    }
}

fn header(kind: Kind) -> Header {
    Header {
        kind,
        licence: "CC0".into(),
        source: "made by a test".into(),
        notes: None,
    }
}

/// A folder with a run of fresh weights and a picture: patches are 8 × 8 px.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Self { folder };
        place.save("run", &vqgan(), &renderer());
        let noise = (0..20 * 18 * 3).map(|i| (i * 37 % 251) as u8).collect();
        Picture::new(20, 18, noise)
            .write(&place.path("in.png"))
            .expect("a picture");
        place
    }

    fn save(&self, name: &str, vqgan: &VqganConfig, renderer: &RendererConfig) {
        let (device, run) = (Device::flex(), self.path(name));
        let full = Storage::Full;
        let (v, r) = (vqgan.init(&device), renderer.init(&device));
        checkpoint::save(&v, &header(Kind::Vqgan), vqgan, full, &run.join("vqgan")).expect("saved");
        let folder = run.join("renderer");
        checkpoint::save(&r, &header(Kind::Renderer), renderer, full, &folder).expect("saved");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the program on words; a word that starts with @ is a path in this folder.
    fn run(&self, words: &str) -> Output {
        self.command(words).output().expect("the program starts")
    }

    /// Runs the program on words and expects that it does what it is told; gives what it says.
    fn done(&self, words: &str) -> String {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn command(&self, words: &str) -> Command {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => word.into(),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuwa-infer"));
        command
            .args(words.split_whitespace().map(word))
            .env("RUST_BACKTRACE", "0");
        command
    }

    /// Checks that a request fails with a code and one line that tells why, and leaves no file.
    fn refused(&self, words: &str, code: i32, why: &str) {
        let before = files(self.folder.path());
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words}: {error}");
        assert!(
            error.contains(why),
            "{words}: {error:?} does not say {why:?}"
        );
        assert!(!error.contains("panicked"), "{words}: {error}");
        let cause = error.trim_end();
        if cause.starts_with("nuwa-infer:") {
            assert_eq!(cause.lines().count(), 1, "{words}: {error}");
        }
        assert_eq!(
            files(self.folder.path()),
            before,
            "{words} left something behind"
        );
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

const PAINT: &str = "paint --device cpu --quiet --model @run --out @out.png";
const OUTPAINT: &str = "outpaint --device cpu --quiet --model @run --image @in.png --out @out.png";

#[test]
fn an_outpainted_picture_has_the_asked_size_and_its_own_pixels() {
    let place = Place::new();
    let known = Picture::read(&place.path("in.png")).expect("a picture");
    for (at, x, y) in [
        ("--at 7,3", 7, 3),
        ("--at 0,0", 0, 0),
        ("", 10, 6),
        ("--at 20,12", 20, 12),
    ] {
        let output = place.run(&format!("{OUTPAINT} --size 40x30 --seed 5 {at}"));
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let path = place.path("out.png");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            path.display().to_string()
        );
        let picture = Picture::read(&path).expect("the result");
        assert_eq!((picture.w(), picture.h()), (40, 30));
        assert!(picture.crop(x, y, 20, 18) == known, "at {x},{y}");
    }
}

#[test]
fn the_same_seed_paints_the_same_picture_whatever_is_batched() {
    let place = Place::new();
    let paint = |more: &str| {
        let output = place.run(&format!("{PAINT} --size 33x17 {more}"));
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Picture::read(&place.path("out.png")).expect("the result")
    };
    let first = paint("--seed 1");
    assert_eq!((first.w(), first.h()), (33, 17));
    assert!(first == paint("--seed 1 --parallel 1"));
    assert!(first != paint("--seed 2"));
}

#[test]
fn other_formats_are_written_by_their_ending() {
    let place = Place::new();
    for ending in ["jpg", "webp", "tiff"] {
        let words = PAINT.replace("@out.png", &format!("@out.{ending}"));
        let output = place.run(&format!("{words} --size 16x16 --seed 1"));
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let picture = Picture::read(&place.path(&format!("out.{ending}"))).expect("the result");
        assert_eq!((picture.w(), picture.h()), (16, 16));
    }
}

#[test]
fn reconstruct_tells_the_distance_and_writes_the_round_trip() {
    let place = Place::new();
    let output = place.run("reconstruct --device cpu --model @run --image @in.png --out @back.png");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("dB PSNR") && text.contains("of 16 codes in use"),
        "{text}"
    );
    let back = Picture::read(&place.path("back.png")).expect("the result");
    assert_eq!((back.w(), back.h()), (20, 18));
}

#[test]
fn misuse_exits_with_2() {
    let place = Place::new();
    place.refused("", 2, "Usage");
    place.refused("sing", 2, "sing");
    for size in ["0x16", "16x0"] {
        place.refused(&format!("{PAINT} --size {size}"), 2, "no pixels");
    }
    for size in ["16", "-4x4", "99999999999999999999999x2"] {
        place.refused(&format!("{PAINT} --size={size}"), 2, "WIDTHxHEIGHT");
    }
    place.refused(
        &format!("{PAINT} --size 9999999999999x9999999999999"),
        2,
        "too large",
    );
    place.refused(
        &format!("{PAINT} --size 16x16 --renderer ar"),
        2,
        "trained for",
    );
    place.refused(
        &format!("{PAINT} --size 16x16 --temperature 0"),
        2,
        "above 0",
    );
    place.refused(&format!("{PAINT} --size 16x16 --top-k 0"), 2, "top-k");
    place.refused(
        &format!("{OUTPAINT} --size 40x30 --at 21,0"),
        2,
        "does not lie inside",
    );
    place.refused(
        &format!("{OUTPAINT} --size 40x30 --at 0,13"),
        2,
        "does not lie inside",
    );
    place.refused(
        &format!("{OUTPAINT} --size 19x30"),
        2,
        "does not lie inside",
    );
    place.refused(&format!("{OUTPAINT} --size 40x30 --at here"), 2, "X,Y");
}

#[test]
fn pictures_that_cannot_be_read_are_named() {
    let place = Place::new();
    let with = |name: &str| format!("{} --size 40x30", OUTPAINT.replace("@in.png", name));
    place.refused(&with("@nothing.png"), 1, "nothing.png");
    let whole = std::fs::read(place.path("in.png")).expect("a picture");
    std::fs::write(place.path("cut.png"), &whole[..whole.len() / 2]).expect("written");
    place.refused(&with("@cut.png"), 1, "cut.png");
    std::fs::write(place.path("empty.png"), b"").expect("written");
    place.refused(&with("@empty.png"), 1, "empty.png");
}

#[test]
fn a_picture_of_one_pixel_is_extended_too() {
    let place = Place::new();
    let dot = Picture::new(1, 1, vec![1, 2, 3]);
    dot.write(&place.path("dot.png")).expect("written");
    let words = OUTPAINT.replace("@in.png", "@dot.png");
    place.done(&format!("{words} --size 40x30 --at 33,2"));
    let picture = Picture::read(&place.path("out.png")).expect("the result");
    assert_eq!(picture.pixel(33, 2), [1, 2, 3]);
}

#[test]
fn holes_are_filled_and_the_rest_stays_bit_for_bit() {
    let place = Place::new();
    let mut mask = Picture::filled(20, 18, [0; 3]);
    mask.paste(&Picture::filled(7, 9, [255; 3]), 6, 5);
    mask.write(&place.path("mask.png")).expect("written");
    place.done(&format!("{OUTPAINT} --mask @mask.png --seed 3"));
    let known = Picture::read(&place.path("in.png")).expect("a picture");
    let picture = Picture::read(&place.path("out.png")).expect("the result");
    assert_eq!((picture.w(), picture.h()), (20, 18));
    let mut changed = 0;
    for (x, y) in (0..18).flat_map(|y| (0..20).map(move |x| (x, y))) {
        let is_hole = (6..13).contains(&x) && (5..14).contains(&y);
        let is_same = picture.pixel(x, y) == known.pixel(x, y);
        assert!(is_hole || is_same, "at {x},{y}");
        changed += usize::from(!is_same);
    }
    assert!(changed > 30, "{changed} of 63 pixels painted");
    Picture::filled(20, 17, [0; 3])
        .write(&place.path("small.png"))
        .expect("written");
    place.refused(&format!("{OUTPAINT} --mask @small.png"), 2, "mask has");
    place.refused(OUTPAINT, 2, "nothing to paint");
}

#[test]
fn results_that_cannot_be_written_are_refused_before_painting() {
    let place = Place::new();
    let to = |name: &str| format!("{} --size 16x16", PAINT.replace("@out.png", name));
    place.refused(&to("@missing/out.png"), 1, "missing");
    place.refused(&to("@in.png/out.png"), 1, "out.png");
    place.refused(&to("@out.bmp"), 1, "out.bmp");
    place.refused(&to("@out"), 1, "out");
    // 30 TB of pixels: countable, but larger than any disk here.
    place.refused(&format!("{PAINT} --size 3162277x3162277"), 1, "out.png");
    let two = PAINT.replace("@out.png", "@a.nuwa --out @b.nuwa");
    place.refused(&format!("{two} --size 16x16"), 2, "one token file");
    place.refused(&to("@missing/out.nuwa"), 1, "missing");
    let jpeg = PAINT.replace("@out.png", "@out.jpg");
    place.refused(&format!("{jpeg} --size 65536x8"), 1, "65,535");
}

/// Sets one weight to a value that no training leaves behind.
struct Poison(f32);

impl ModuleMapper for Poison {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weight| weight.mul_scalar(self.0))
    }
}

#[test]
fn runs_that_cannot_be_used_are_named() {
    let place = Place::new();
    let with = |name: &str| format!("{} --size 16x16", PAINT.replace("@run", name));
    place.refused(&with("@nowhere"), 1, "nowhere");

    let other = RendererConfig {
        n_codes: 24,
        ..renderer()
    };
    place.save("codes", &vqgan(), &other);
    place.refused(&with("@codes"), 1, "24 codes");

    place.save("swapped", &vqgan(), &renderer());
    let wide = RendererConfig {
        d_model: 128,
        ..renderer()
    };
    place.save("wide", &vqgan(), &wide);
    let config = |run: &str| place.path(run).join("renderer/config.json");
    std::fs::copy(config("wide"), config("swapped")).expect("copied");
    place.refused(&with("@swapped"), 1, "architecture");

    place.save("kind", &vqgan(), &renderer());
    let from = place.path("kind").join("vqgan/config.json");
    std::fs::copy(from, config("kind")).expect("copied");
    place.refused(&with("@kind"), 1, "vqgan");

    place.save("cut", &vqgan(), &renderer());
    let folder = place.path("cut").join("renderer");
    let weights = files(&folder)
        .into_iter()
        .find(|path| path.extension() == Some("bpk".as_ref()));
    let weights = weights.expect("weights");
    let bytes = std::fs::read(&weights).expect("weights");
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&weights, &bytes[..length]).expect("written");
        place.refused(&with("@cut"), 1, "renderer");
    }
}

#[test]
fn weights_that_are_not_numbers_are_refused_when_read() {
    let place = Place::new();
    // A float is NaN when all bits of its exponent are set; the weights lie plainly in the file.
    let folder = place.path("run").join("renderer");
    let weights = files(&folder)
        .into_iter()
        .find(|path| path.extension() == Some("bpk".as_ref()));
    let weights = weights.expect("weights");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let n = bytes.len();
    bytes[n - 64..].copy_from_slice(&f32::NAN.to_le_bytes().repeat(16));
    std::fs::write(&weights, &bytes).expect("written");
    place.refused(&format!("{PAINT} --size 16x16"), 1, "renderer");
    // And they cannot be saved in the first place.
    let broken = renderer()
        .init(&Device::flex())
        .map(&mut Poison(f32::INFINITY));
    let folder = place.path("broken");
    let saved = checkpoint::save(
        &broken,
        &header(Kind::Renderer),
        &renderer(),
        Storage::Full,
        &folder,
    );
    assert!(saved.is_err_and(|error| error.to_string().contains("tok_emb")));
}

#[test]
fn help_is_no_error() {
    let place = Place::new();
    for words in ["--help", "paint --help", "--version"] {
        let output = place.run(words);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{words}"
        );
    }
}
