//! Speed of the tasks that other implementations are compared with, on the same configurations:
//! `train_step`, `ar_decode`, `vqgan_encode`, `vqgan_decode`. Timed by divan, the device synced
//! inside the timed region; with `--json` one line per task on standard output, and with
//! `--device` another device than the CPU.

use std::ops::ControlFlow;
use std::process::Command;
use std::sync::Arc;

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use burn::train::Learner;
use divan::{Bencher, black_box};
use nuwa_infer::engine;
use nuwa_model::device::DeviceChoice;
use nuwa_model::patch::{Extent, GridSize, Order, Route, Schedule};
use nuwa_model::preset::Size;
use nuwa_model::render::sampling::{Choice, KeyedUniforms, Sampler};
use nuwa_model::render::{RendererConfig, Session, TokenGrid};
use nuwa_model::vqgan::VqganConfig;
use nuwa_train::adam::Adam;
use nuwa_train::materialize::materialize;
use nuwa_train::render::{RenderBatch, RenderTask, render_and_optimize};
use serde_json::{Value, json};

const TRAIN_BATCH: usize = 4;
const DECODE_BATCH: usize = 1;
const GRID: GridSize = GridSize { f: 1, h: 4, w: 4 };
const PIXELS: usize = 256;

/// Names the device to the measuring process.
const DEVICE: &str = "NUWA_BENCH_DEVICE";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| arguments.iter().position(|a| a == name).map(|at| at + 1);
    if after("--json").is_none() {
        // As the programs run.
        rayon::scope(|_| divan::main());
        return;
    }
    let device = after("--device")
        .and_then(|at| arguments.get(at))
        .map_or("cpu", String::as_str);
    let own = std::env::current_exe().expect("a running program has a path");
    let measured = Command::new(own)
        .arg("--bench")
        .env(DEVICE, device)
        .output();
    let measured = measured.expect("the program starts once more");
    assert!(
        measured.status.success(),
        "{}",
        String::from_utf8_lossy(&measured.stderr)
    );
    print(&String::from_utf8_lossy(&measured.stdout));
}

/// Prints the medians of divan's table as lines of JSON.
#[expect(clippy::print_stdout, reason = "the measurements are the result")]
fn print(table: &str) {
    let tokens = (GRID.count() * tiny().tokens_per_patch()) as f64;
    let patch = (TRAIN_BATCH * tiny().tokens_per_patch()) as f64;
    let render = |batch| json!({"config": "tiny", "batch": batch, "grid": "4x4", "item": "tokens"});
    let vqgan = json!({"config": "small", "batch": 1, "pixels": PIXELS, "item": "pictures"});
    let tasks = [
        // One run trains every patch of the grid; the peer reports one patch.
        (
            "train_step",
            render(TRAIN_BATCH),
            GRID.count() as f64,
            patch,
        ),
        (
            "ar_decode",
            render(DECODE_BATCH),
            1.0,
            tokens * DECODE_BATCH as f64,
        ),
        ("vqgan_encode", vqgan.clone(), 1.0, 1.0),
        ("vqgan_decode", vqgan, 1.0, 1.0),
    ];
    for (name, mut line, runs, items) in tasks {
        let seconds = median(table, name) / runs;
        line["task"] = name.into();
        line["seconds"] = seconds.into();
        line["items_per_s"] = Value::from(items / seconds);
        println!("{line}");
    }
}

/// Reads the median of a task, in seconds: the third column.
fn median(table: &str, name: &str) -> f64 {
    let row = table
        .lines()
        .find(|line| line.contains(name))
        .expect("every task is measured");
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
    let batch = RenderBatch {
        tokens: TokenGrid::new(TRAIN_BATCH, size, codes),
        route: Arc::new(route()),
        text: None,
        masks: None,
    };
    let renderer = materialize(config.init(&device.clone().autodiff()));
    let task = RenderTask::new(renderer, config, 0.0);
    let mut learner = Learner::new(task, Adam::default().init(), 1e-4);
    bencher.bench_local(|| {
        render_and_optimize(&mut learner, &batch, |_, _| true);
        sync(&device);
    });
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn ar_decode(bencher: Bencher) {
    let (config, device) = (tiny(), device());
    let renderer = materialize(config.init(&device));
    let session = Session::new(&renderer, &config, None, None, DECODE_BATCH);
    let route = route();
    let schedule = Schedule::serial(&route);
    let uniforms = KeyedUniforms {
        seeds: vec![1; DECODE_BATCH],
    };
    let sampler = Sampler::new(Choice::default(), uniforms);
    bencher.bench_local(|| {
        let mut tokens = TokenGrid::unknown(DECODE_BATCH, GRID.tokens(config.patch));
        engine::paint(&session, &route, &schedule, &sampler, &mut tokens, |_| {
            ControlFlow::Continue(())
        });
        sync(&device);
        tokens
    });
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
