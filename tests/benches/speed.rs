//! Speed of the tasks that other implementations are compared with, on the same configurations:
//! `train_step`, `ar_decode` (also of 8 and 64 pictures at once), `vqgan_encode`, `vqgan_decode`,
//! `vqgan_train_step`; and of what only we have: `pnar_decode`, `nar_decode`, and `scroll`, a picture
//! from the command line to its file. Timed by divan, the device synced inside the timed region; with
//! `--json` every task in a process of its own, for its memory, and one line each on standard output;
//! with `--device` another device than the CPU.

use std::ops::ControlFlow;
use std::process::Command;
use std::sync::Arc;

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use burn::train::Learner;
use divan::{Bencher, black_box};
use nuwa_infer::engine;
use nuwa_model::device::{self, DeviceChoice};
use nuwa_model::patch::{Extent, GridSize, Order, Route, Schedule};
use nuwa_model::preset::Size;
use nuwa_model::render::sampling::{Choice, KeyedUniforms, Sampler};
use nuwa_model::render::{Decoding, RendererConfig, Session, TokenGrid};
use nuwa_model::vqgan::VqganConfig;
use nuwa_train::adam::Adam;
use nuwa_train::materialize::materialize;
use nuwa_train::render::{RenderBatch, RenderTask, render_and_optimize};
use nuwa_train::vqgan::Players;
use nuwa_train::vqgan::discriminator::PatchDiscriminatorConfig;
use nuwa_train::vqgan::loss::VqganLossConfig;
use serde_json::{Value, json};

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TRAIN_BATCH: usize = 4;
const GRID: GridSize = GridSize { f: 1, h: 4, w: 4 };
const PIXELS: usize = 256;
/// Width and height of the scroll.
const SCROLL_PX: [usize; 2] = [2048, 256];

/// Asks this program for nothing but a scroll, at the path that follows.
const SCROLL: &str = "--scroll";
/// Begins the line that tells how much memory a measuring process held.
const PEAK: &str = "peak bytes: ";
/// Names the device to the measuring process.
const DEVICE: &str = "NUWA_BENCH_DEVICE";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().position(|a| a == name).map(|at| at + 1);
    if let Some(out) = after(SCROLL).and_then(|at| arguments.get(at)) {
        // As the programs run.
        let code = rayon::scope(|_| paint_scroll(out));
        std::process::exit(i32::from(code));
    }
    if after("--json").is_none() {
        // As the programs run.
        rayon::scope(|_| divan::main());
        say_peak();
        return;
    }
    let device = after("--device")
        .and_then(|at| arguments.get(at))
        .map_or("cpu", String::as_str);
    print(|row| measure(row, device));
}

/// Says how much memory this process has held.
#[expect(clippy::print_stdout, reason = "the measurements are the result")]
fn say_peak() {
    if let Some(bytes) = device::peak_resident_bytes() {
        println!("{PEAK}{bytes}");
    }
}

/// Measures one task in a process of its own; gives what it prints.
fn measure(row: &str, device: &str) -> String {
    let own = std::env::current_exe().expect("a running program has a path");
    let mut command = Command::new(own);
    command.args(["--bench", "--exact", &format!("speed::{row}")]);
    let measured = command.env(DEVICE, device).output();
    let measured = measured.expect("the program starts once more");
    let error = String::from_utf8_lossy(&measured.stderr);
    assert!(measured.status.success(), "{error}");
    String::from_utf8_lossy(&measured.stdout).into_owned()
}

/// Prints a line of JSON for each task that `measure` has measured.
#[expect(clippy::print_stdout, reason = "the measurements are the result")]
fn print(measure: impl Fn(&str) -> String) {
    let tokens = (GRID.count() * tiny().tokens_per_patch()) as f64;
    let render = |batch| json!({"config": "tiny", "batch": batch, "grid": "4x4", "item": "tokens"});
    let vqgan = json!({"config": "small", "batch": 1, "pixels": PIXELS, "item": "pictures"});
    let ours = |mut settings: Value| {
        settings["peer"] = false.into();
        settings
    };
    let scroll = json!({"config": "hubble", "item": "pixels"});
    // One run of train_step trains every patch of the grid; the peer reports one patch.
    let (patches, batch) = (GRID.count() as f64, TRAIN_BATCH as f64);
    let tasks = [
        (
            "train_step",
            "train_step",
            render(TRAIN_BATCH),
            patches,
            tokens * batch / patches,
        ),
        ("ar_decode", "ar_decode", render(1), 1.0, tokens),
        ("ar_decode_8", "ar_decode", render(8), 1.0, 8.0 * tokens),
        ("ar_decode_64", "ar_decode", render(64), 1.0, 64.0 * tokens),
        ("pnar_decode", "pnar_decode", ours(render(1)), 1.0, tokens),
        ("nar_decode", "nar_decode", ours(render(1)), 1.0, tokens),
        ("vqgan_encode", "vqgan_encode", vqgan.clone(), 1.0, 1.0),
        ("vqgan_decode", "vqgan_decode", vqgan.clone(), 1.0, 1.0),
        ("vqgan_train_step", "vqgan_train_step", vqgan, 1.0, 1.0),
        (
            "scroll",
            "scroll",
            ours(scroll),
            1.0,
            (SCROLL_PX[0] * SCROLL_PX[1]) as f64,
        ),
    ];
    for (row, task, mut line, runs, items) in tasks {
        let table = measure(row);
        let seconds = median(&table, row) / runs;
        let peak = table.lines().find_map(|line| line.strip_prefix(PEAK));
        // A scroll is painted by a process further down.
        let peak = peak.filter(|_| row != "scroll");
        if let Some(peak) = peak.and_then(|bytes| bytes.parse::<u64>().ok()) {
            line["peak_mib"] = (peak >> 20).into();
        }
        line["task"] = task.into();
        line["seconds"] = seconds.into();
        line["items_per_s"] = Value::from(items / seconds);
        println!("{line}");
    }
}

/// Reads the median of a task, in seconds: the third column.
fn median(table: &str, name: &str) -> f64 {
    let is_of = |line: &&str| line.split_whitespace().nth(1) == Some(name);
    let row = table.lines().find(is_of).expect("every task is measured");
    let cell = row
        .split('│')
        .nth(2)
        .expect("divan prints the median third")
        .trim();
    let (number, unit) = cell.split_once(' ').expect("a number and its unit");
    let number: f64 = number.parse().expect("a number");
    let scale = match unit.trim() {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        unit => panic!("unit {unit}"),
    };
    number * scale
}

fn device() -> Device {
    let name = std::env::var(DEVICE).unwrap_or_else(|_| "cpu".into());
    let choice: DeviceChoice = name.parse().expect("a device");
    choice.open().expect("the device is there")
}

fn sync(device: &Device) {
    device.sync().expect("a device that works");
}

fn tiny() -> RendererConfig {
    Size::Tiny.renderer(Extent { w: 2, h: 2, f: 0 }, None)
}

fn route() -> Route {
    Route::full(GRID, tiny().extent, Order::DownRight).expect("not empty")
}

fn random_codes(n: usize, n_codes: usize) -> Vec<i32> {
    (0..n).map(|i| (i * 7919 % n_codes) as i32).collect()
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn train_step(bencher: Bencher) {
    let (config, device) = (tiny(), device());
    let size = GRID.tokens(config.patch);
    let codes = random_codes(TRAIN_BATCH * size.count(), config.n_codes);
    let tokens = TokenGrid::new(TRAIN_BATCH, size, codes);
    let batch = RenderBatch::new(tokens, Arc::new(route()));
    let renderer = materialize(config.init(&device.clone().autodiff()));
    let task = RenderTask::new(renderer, config, 0.0);
    let mut learner = Learner::new(task, Adam::default().init(), 1e-4);
    bencher.bench_local(|| {
        render_and_optimize(&mut learner, &batch, |_, _| true).expect("finite");
        sync(&device);
    });
}

/// Paints so many pictures at once, patch after patch.
fn decode(bencher: Bencher, decoding: Decoding, batch: usize) {
    let (config, device) = (RendererConfig { decoding, ..tiny() }, device());
    let renderer = materialize(config.init(&device));
    let session = Session::new(&renderer, &config, None, None, batch);
    let route = route();
    let schedule = Schedule::serial(&route);
    let seeds = (0..batch as u64).collect();
    let sampler = Sampler::new(Choice::default(), KeyedUniforms { seeds });
    bencher.bench_local(|| {
        let mut tokens = TokenGrid::unknown(batch, GRID.tokens(config.patch));
        engine::paint(&session, &route, &schedule, &sampler, &mut tokens, |_| {
            ControlFlow::Continue(())
        });
        sync(&device);
        tokens
    });
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn ar_decode(bencher: Bencher) {
    decode(bencher, Decoding::Ar, 1);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ar_decode_8(bencher: Bencher) {
    decode(bencher, Decoding::Ar, 8);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ar_decode_64(bencher: Bencher) {
    decode(bencher, Decoding::Ar, 64);
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn pnar_decode(bencher: Bencher) {
    decode(bencher, Decoding::Pnar, 1);
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn nar_decode(bencher: Bencher) {
    decode(bencher, Decoding::Nar, 1);
}

/// The whole program, from its start to the picture's file: its output would disturb the table, so
/// it is a process of its own.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn scroll(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("scroll.png");
    let own = std::env::current_exe().expect("a running program has a path");
    bencher.bench_local(|| {
        let mut command = Command::new(&own);
        let painted = command.arg(SCROLL).arg(&out).output();
        assert!(painted.expect("the program starts").status.success());
    });
}

/// Paints a scroll with the shipped weights.
fn paint_scroll(out: &str) -> u8 {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../infer/assets/hubble");
    let size = format!("{}x{}", SCROLL_PX[0], SCROLL_PX[1]);
    let device = std::env::var(DEVICE).unwrap_or_else(|_| "cpu".into());
    let words = ["nuwa-infer", "paint", "--model", model, "--size", &size];
    let rest = ["--seed", "0", "--device", &device, "--quiet", "--out", out];
    nuwa_infer::run(words.into_iter().chain(rest))
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn vqgan_encode(bencher: Bencher) {
    let device = device();
    let vqgan = materialize(VqganConfig::small().init(&device));
    let range = Distribution::Uniform(-1.0, 1.0);
    let pixels = Tensor::<4>::random([1, 3, PIXELS, PIXELS], range, &device);
    bencher.bench_local(|| {
        black_box(vqgan.encode(pixels.clone()));
        sync(&device);
    });
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn vqgan_decode(bencher: Bencher) {
    let (config, device) = (VqganConfig::small(), device());
    let vqgan = materialize(config.init(&device));
    let side = PIXELS / config.stride();
    let codes = TensorData::new(random_codes(side * side, config.n_codes), [1, side, side]);
    let codes = Tensor::from_data(codes, &device);
    bencher.bench_local(|| {
        black_box(vqgan.decode(codes.clone()));
        sync(&device);
    });
}

/// Both players of the adversarial game make a step.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn vqgan_train_step(bencher: Bencher) {
    let (config, device) = (VqganConfig::small(), device());
    let training = device.clone().autodiff();
    let vqgan = materialize(config.init(&training));
    let (adversary, loss) = (
        PatchDiscriminatorConfig::default(),
        VqganLossConfig::default(),
    );
    let mut players = Players::new(vqgan, adversary, loss, config.n_codes, &training);
    let range = Distribution::Uniform(-1.0, 1.0);
    let pixels = Tensor::<4>::random([1, 3, PIXELS, PIXELS], range, &training);
    bencher.bench_local(|| {
        players.step(pixels.clone(), 4.5e-6, true).expect("finite");
        sync(&device);
    });
}
