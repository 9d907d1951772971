//! Speed of the tasks that other implementations are compared with, on the same configurations:
//! `train_step`, `ar_decode` (also of 8 and 64 pictures at once), `vqgan_encode`, `vqgan_decode`,
//! `vqgan_train_step`; and of what only we have: `pnar_decode`, `nar_decode`, and `scroll`, a picture
//! from the command line to its file. Timed by divan, the device synced inside the timed region; with
//! `--json` every task in a process of its own, for its memory, and one line each on standard output;
//! with `--device` another device than the CPU, and on CUDA the larger renderers, too, in bf16. On GPUs
//! AR comes with how many kernels a token is, and, where the card is known, with the share of what its
//! memory allows.

mod limit;
mod rows;

use std::ops::ControlFlow;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use burn::train::Learner;
use divan::{Bencher, black_box};
use nuwa_infer::engine;
use nuwa_model::device::{self, DeviceChoice};
use nuwa_model::patch::{Extent, GridSize, Order, Route, Schedule};
use nuwa_model::preset::Size;
use nuwa_model::render::sampling::{Choice, KeyedUniforms, Sampler};
use nuwa_model::render::{Decoding, Precision, Prompt, RendererConfig, Session, TokenGrid};
use nuwa_model::vqgan::VqganConfig;
use nuwa_train::adam::Adam;
use nuwa_train::materialize::materialize;
use nuwa_train::render::{RenderBatch, RenderTask, Text, render_and_optimize};
use nuwa_train::vqgan::Players;
use nuwa_train::vqgan::discriminator::PatchDiscriminatorConfig;
use nuwa_train::vqgan::loss::VqganLossConfig;

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const GRID: GridSize = GridSize { f: 1, h: 4, w: 4 };
const PIXELS: usize = 256;
/// Width and height of the scroll.
const SCROLL_PX: [usize; 2] = [2048, 256];

/// Asks this program for nothing but a scroll, at the path that follows.
const SCROLL: &str = "--scroll";
/// Begins the line that tells how much memory a measuring process held.
const PEAK: &str = "peak bytes: ";
/// Begins the lines that tell what measured, and how many kernels a token was.
const MEASURED_ON: &str = "measured on: ";
const KERNELS: &str = "kernels of a token: ";
/// Words of a text.
const TEXT: usize = 77;
/// Kernels of a token, once one was written.
static OF_A_TOKEN: OnceLock<usize> = OnceLock::new();
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
        say_what_was_measured();
        return;
    }
    let device = after("--device")
        .and_then(|at| arguments.get(at))
        .map_or("cpu", String::as_str);
    rows::print(device);
}

/// Says how much memory this process has held, and what the numbers are of.
#[expect(clippy::print_stdout, reason = "the measurements are the result")]
fn say_what_was_measured() {
    println!("{MEASURED_ON}{}", device::description(&device()));
    if let Some(kernels) = OF_A_TOKEN.get() {
        println!("{KERNELS}{kernels}");
    }
    if let Some(bytes) = device::peak_resident_bytes() {
        println!("{PEAK}{bytes}");
    }
}

fn device() -> Device {
    let name = std::env::var(DEVICE).unwrap_or_else(|_| "cpu".into());
    let choice: DeviceChoice = name.parse().expect("a device");
    choice.open().expect("the device is there")
}

fn sync(device: &Device) {
    device.sync().expect("a device that works");
}

const EXTENT: Extent = Extent { w: 2, h: 2, f: 0 };

/// Gives a renderer as large as the papers': those that they tell in words are told something.
fn renderer(size: Size) -> RendererConfig {
    let d_text = match size {
        Size::Tiny => None,
        Size::Base | Size::Large => Some(512),
    };
    size.renderer(EXTENT, d_text)
}

/// Gives the precision that a size is measured in.
fn precision(size: Size) -> Precision {
    match size {
        Size::Tiny => Precision::F32,
        Size::Base | Size::Large => Precision::Bf16,
    }
}

/// Gives states of texts for so many pictures, where the renderer is told something.
fn text(config: &RendererConfig, batch: usize, device: &Device) -> Option<Tensor<3>> {
    let normal = Distribution::Normal(0.0, 1.0);
    let states = |d_text| Tensor::random([batch, TEXT, d_text], normal, device);
    config.d_text.map(states)
}

fn route() -> Route {
    Route::full(GRID, EXTENT, Order::DownRight).expect("not empty")
}

fn random_codes(n: usize, n_codes: usize) -> Vec<i32> {
    (0..n).map(|i| (i * 7919 % n_codes) as i32).collect()
}

/// Trains so many pictures at once, patch after patch.
fn train(bencher: Bencher, size: Size, batch: usize) {
    let (config, device) = (renderer(size), device());
    let tokens = GRID.tokens(config.patch);
    let codes = random_codes(batch * tokens.count(), config.n_codes);
    let tokens = TokenGrid::new(batch, tokens, codes);
    let mut pictures = RenderBatch::new(tokens, Arc::new(route()));
    pictures.text = text(&config, batch, &device).map(Text::States);
    let renderer = materialize(config.init(&device.clone().autodiff()));
    let renderer = renderer.computing_in(precision(size));
    let task = RenderTask::new(renderer, config, 0.0);
    let mut learner = Learner::new(task, Adam::default().init(), 1e-4);
    bencher.bench_local(|| {
        render_and_optimize(&mut learner, &pictures, |_, _| true).expect("finite");
        sync(&device);
    });
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn train_step(bencher: Bencher) {
    train(bencher, Size::Tiny, rows::TRAIN_BATCH);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn train_step_base(bencher: Bencher) {
    train(bencher, Size::Base, rows::LARGE_BATCH);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn train_step_large(bencher: Bencher) {
    train(bencher, Size::Large, rows::LARGE_BATCH);
}

/// Paints so many pictures at once, patch after patch.
fn decode(bencher: Bencher, size: Size, decoding: Decoding, batch: usize) {
    let device = device();
    let config = RendererConfig {
        decoding,
        ..renderer(size)
    };
    let renderer = materialize(config.init(&device)).computing_in(precision(size));
    let prompt = text(&config, batch, &device).map(Prompt::Same);
    let session = Session::new(&renderer, &config, prompt, None, batch);
    if let Some(kernels) = session.kernels_of_a_token() {
        OF_A_TOKEN.get_or_init(|| kernels);
    }
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
    decode(bencher, Size::Tiny, Decoding::Ar, 1);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ar_decode_8(bencher: Bencher) {
    decode(bencher, Size::Tiny, Decoding::Ar, 8);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ar_decode_64(bencher: Bencher) {
    decode(bencher, Size::Tiny, Decoding::Ar, 64);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ar_decode_base(bencher: Bencher) {
    decode(bencher, Size::Base, Decoding::Ar, 1);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ar_decode_large(bencher: Bencher) {
    decode(bencher, Size::Large, Decoding::Ar, 1);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ar_decode_base_8(bencher: Bencher) {
    decode(bencher, Size::Base, Decoding::Ar, 8);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ar_decode_base_64(bencher: Bencher) {
    decode(bencher, Size::Base, Decoding::Ar, 64);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn pnar_decode_base(bencher: Bencher) {
    decode(bencher, Size::Base, Decoding::Pnar, 1);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn nar_decode_base(bencher: Bencher) {
    decode(bencher, Size::Base, Decoding::Nar, 1);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ar_decode_large_8(bencher: Bencher) {
    decode(bencher, Size::Large, Decoding::Ar, 8);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn ar_decode_large_64(bencher: Bencher) {
    decode(bencher, Size::Large, Decoding::Ar, 64);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn pnar_decode_large(bencher: Bencher) {
    decode(bencher, Size::Large, Decoding::Pnar, 1);
}

#[divan::bench(sample_count = 3, sample_size = 1)]
fn nar_decode_large(bencher: Bencher) {
    decode(bencher, Size::Large, Decoding::Nar, 1);
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn pnar_decode(bencher: Bencher) {
    decode(bencher, Size::Tiny, Decoding::Pnar, 1);
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn nar_decode(bencher: Bencher) {
    decode(bencher, Size::Tiny, Decoding::Nar, 1);
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
