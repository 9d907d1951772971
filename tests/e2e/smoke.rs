//! The smallest run through everything a backend has to do: train a renderer, encode, paint,
//! decode. Few and small shapes, because a GPU backend tunes its kernels for each of them.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::Learner;
use nuwa_infer::engine;
use nuwa_model::device::settle;
use nuwa_model::patch::{Extent, GridSize, Order, Route, Schedule, TokenSize};
use nuwa_model::render::sampling::{Choice, KeyedUniforms, Sampler};
use nuwa_model::render::{
    Decoding, Feed, Ncp, PatchCache, Precision, RenderInput, Renderer, RendererConfig, Session,
    TokenGrid, Transfer,
};
use nuwa_model::vqgan::VqganConfig;
use nuwa_train::adam::Adam;
use nuwa_train::materialize::materialize;
use nuwa_train::render::{RenderBatch, RenderTask, render_and_optimize};
use nuwa_train::schedule::{Budget, Clock, WarmupLinear};

use crate::{backend, drawing_alone, test_device};

const PATCH: TokenSize = TokenSize { f: 1, h: 2, w: 2 };
const CODES: [i32; 8] = [3, 1, 4, 1, 5, 6, 2, 6];

fn config(decoding: Decoding) -> RendererConfig {
    RendererConfig {
        decoding,
        d_model: 64,
        n_layers: 1,
        n_codes: 8,
        patch: PATCH,
        extent: Extent { w: 1, h: 0, f: 0 },
        feed: Feed::Pre,
        d_text: None,
        transfer: Transfer::Context,
    }
}

/// Draws initial weights that are the same in every run: a few unlucky ones learn too slowly.
fn drawn<M: Module>(device: &Device, seed: u64, init: impl FnOnce() -> M) -> M {
    let _alone = drawing_alone();
    device.seed(seed);
    materialize(init())
}

/// A renderer learns two patches by heart and then paints them, greedily, on the same device.
fn learn_and_paint(decoding: Decoding, precision: Precision, passes: usize) {
    let device = test_device();
    if !precision.runs_on(&device) {
        return assert_refused(precision);
    }
    let config = config(decoding);
    let grid = GridSize { f: 1, h: 1, w: 2 };
    let route = Route::full(grid, config.extent, Order::DownRight).expect("not empty");
    let tokens = TokenGrid::new(1, grid.tokens(PATCH), CODES.to_vec());
    let batch = RenderBatch::new(tokens, Arc::new(route.clone()));
    let clock = Arc::new(Clock::start(Budget::Steps(2 * passes)));
    let training = device.clone().autodiff();
    let renderer = drawn(&training, 5, || config.init(&training));
    let renderer = renderer.computing_in(precision);
    let task = RenderTask::new(renderer, config.clone(), 0.0);
    let adam = Adam::default().init();
    let mut learner = Learner::new(task, adam, WarmupLinear::new(clock, 5e-3, 0.05));
    let mut last = f32::NAN;
    for _ in 0..passes {
        render_and_optimize(&mut learner, &batch, |patch, _| {
            last = patch.loss.into_scalar::<f32>();
            true
        })
        .expect("finite");
    }
    assert!(
        last < 0.2,
        "{decoding:?} in {precision}: loss {last} after {passes} passes"
    );
    let session = Session::new(&learner.model().renderer, &config, None, None, 1);
    let sampler = Sampler::new(Choice::Greedy, KeyedUniforms { seeds: vec![0] });
    let mut tokens = TokenGrid::unknown(1, grid.tokens(PATCH));
    let schedule = Schedule::serial(&route);
    engine::paint(&session, &route, &schedule, &sampler, &mut tokens, |_| {
        ControlFlow::Continue(())
    });
    assert_eq!(tokens.codes(), CODES);
    if decoding == Decoding::Ar {
        assert_waves_agree(&session, &learner.model().renderer.valid());
    }
    drop((session, learner));
    settle();
}

/// Two rows of patches, which do not see each other, get the tokens as waves that they get patch after
/// patch. Kernels for a batch round otherwise: the first token that differs is told, and both choices
/// must have had the same score but for that.
#[expect(clippy::print_stderr, reason = "a difference that is allowed is told")]
fn assert_waves_agree(session: &Session, renderer: &Renderer) {
    let config = session.config();
    let grid = GridSize { f: 1, h: 2, w: 2 };
    let route = Route::full(grid, config.extent, Order::DownRight).expect("not empty");
    let sampler = Sampler::new(Choice::Greedy, KeyedUniforms { seeds: vec![0] });
    let paint = |schedule: &Schedule| {
        let mut tokens = TokenGrid::unknown(1, grid.tokens(PATCH));
        engine::paint(session, &route, schedule, &sampler, &mut tokens, |_| {
            ControlFlow::Continue(())
        });
        tokens
    };
    let levels = Schedule::levels(&route, 2);
    assert_eq!(levels.waves().len(), 2);
    let (serial, waves) = (paint(&Schedule::serial(&route)), paint(&levels));
    let mut pool: Ncp<PatchCache> = Ncp::default();
    for (position, step) in route.steps().iter().enumerate() {
        let [here, there] = [&serial, &waves].map(|grid| grid.cut(step.index, step.order, PATCH));
        let own = config.extent.own_row();
        let input = RenderInput::new(step, own, PATCH, pool.select(step), None);
        let data = TensorData::new(here.clone(), [1, here.len()]);
        let output = renderer.render_ar(Tensor::from_data(data, session.device()), &input);
        if let Some(at) = (0..here.len()).find(|&at| here[at] != there[at]) {
            let (a, b) = (here[at], there[at]);
            eprintln!("{:?}, token {at}: {a} alone, {b} in a wave", step.index);
            let score = |code: i32| {
                let of_code = output.logits.clone().narrow(2, code as usize, 1);
                of_code.narrow(1, at, 1).into_scalar::<f32>()
            };
            let apart = score(a) - score(b);
            assert!(apart.abs() < 1e-3, "scores are {apart} apart");
            return;
        }
        pool.add(position, output.cache);
        pool.remove(step);
    }
}

/// Programs refuse what the device cannot compute in, before they write anything.
fn assert_refused(precision: Precision) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out.nuwa").display().to_string();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../infer/assets/hubble");
    let (backend, precision) = (backend(), precision.to_string());
    let words = ["nuwa-infer", "paint", "--model", model, "--size", "64x64"];
    let rest = ["--device", &backend, "--out", &out];
    let words = words.into_iter().chain(rest);
    assert_eq!(nuwa_infer::run(words.chain(["--precision", &precision])), 2);
    assert!(!std::path::Path::new(&out).exists());
}

#[test]
fn smoke_ar_learns_two_patches_and_paints_them() {
    learn_and_paint(Decoding::Ar, Precision::F32, 100);
}

/// What was learned in bf16 is painted in bf16.
#[test]
fn smoke_ar_learns_two_patches_in_bf16_and_paints_them() {
    learn_and_paint(Decoding::Ar, Precision::Bf16, 100);
}

#[test]
fn smoke_nar_learns_two_patches_and_paints_them() {
    learn_and_paint(Decoding::Nar, Precision::F32, 200);
}

/// The VQGAN gives the same picture as on the CPU, to the rounding of other kernels.
#[test]
fn smoke_vqgan_decodes_as_on_the_cpu() {
    let config = VqganConfig {
        ch: 32,
        multipliers: vec![1, 1],
        blocks: 1,
        z: 8,
        n_codes: 16,
        code_dim: 8,
    };
    let cpu = Device::flex();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let header = nuwa_model::checkpoint::Header {
        kind: nuwa_model::checkpoint::Kind::Vqgan,
        licence: "CC0".into(),
        source: "made by a test".into(),
        notes: None,
    };
    let there = drawn(&cpu, 3, || config.init(&cpu));
    let full = nuwa_model::checkpoint::Storage::Full;
    nuwa_model::checkpoint::save(&there, &header, &config, full, folder.path()).expect("saved");
    let load = |device: &burn::tensor::Device| {
        let loaded =
            nuwa_model::checkpoint::load::<nuwa_model::vqgan::Vqgan>(folder.path(), device);
        loaded.expect("just saved").0
    };
    let decode = |device: &burn::tensor::Device| -> Vec<f32> {
        let codes = Tensor::from_data(
            [[[1, 5, 9, 2], [0, 15, 7, 3], [4, 4, 8, 8], [6, 1, 1, 2]]],
            device,
        );
        let picture: Tensor<4> = load(device).decode(codes);
        picture
            .into_data()
            .convert::<f32>()
            .try_to_vec()
            .expect("f32")
    };
    let (here, there) = (decode(&test_device()), decode(&cpu));
    let worst = here
        .iter()
        .zip(&there)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst < 1e-3, "off by {worst}");
    assert!(
        there.iter().any(|x| x.abs() > 0.05),
        "a decode that says something"
    );
    settle();
}
