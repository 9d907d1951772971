//! The token loop's kernels for GPUs against the CPU's, on the device that `NUWA_TEST_BACKEND` names. There
//! is nothing to compare on the CPU itself.

use burn::tensor::{Int, Tensor, TensorData};
use cubecl::server::ServerError;

use super::*;
use crate::device::{DeviceChoice, is_host};
use crate::drawn;
use crate::render::ar::host;
use crate::render::cube::{Drawing, Rule, raw, raw_ids, read};

fn gpu() -> Option<Device> {
    let name = std::env::var("NUWA_TEST_BACKEND").unwrap_or_else(|_| "cpu".into());
    let choice: DeviceChoice = name.parse().expect("NUWA_TEST_BACKEND names a device");
    let device = choice.open().expect("the device is there");
    (!is_host(&device)).then_some(device)
}

/// Gives the scores of every token of two patches, of so many pictures, that are written at once and
/// see the known ones.
fn scores(
    config: &RendererConfig,
    device: &Device,
    precision: Precision,
    pictures: usize,
) -> Vec<Vec<f32>> {
    let renderer = config.init(device).map(&mut Scramble { drawn: 0 });
    let renderer = renderer.computing_in(precision);
    let text = text(config, pictures).map(|text| Tensor::from_data(text.into_data(), device));
    let session = Session::new(&renderer, config, text.map(Prompt::Same), None, pictures);
    let route = circle();
    let grid = start(&route, pictures);
    let mut known: Vec<PatchMemory> = Vec::new();
    for step in &route.steps()[..2] {
        let given = grid.cut(step.index, step.order, PATCH);
        let context = known.iter().take(step.context.len()).collect();
        let cached = session.precache(&[PatchJob::new(step, context, given)]);
        known.extend(cached);
    }
    // Of the second one only the first known patch is seen, so that contexts are unequal.
    let unknown = vec![TokenGrid::UNKNOWN; 6 * pictures];
    let job = |n: usize| PatchJob {
        rows: (1..3 - n).collect(),
        ..PatchJob::new(
            &route.steps()[2 + n],
            known[..2 - n].iter().collect(),
            unknown.clone(),
        )
    };
    let codes = |t: usize| (0..2 * pictures).map(move |row| ((5 * row + 7 * t) % 24) as i32);
    let mut jobs = [job(0), job(1)];
    if let Some(weights) = &session.tokens_there {
        // Written with codes that are given, so that the scores are of the same ones.
        for (row, t) in (0..2 * pictures).flat_map(|row| (0..6).map(move |t| (row, t))) {
            let given = &mut jobs[row / pictures].given;
            given[row % pictures * 6 + t] = codes(t).nth(row).expect("a row");
        }
        let seeds = vec![1; pictures];
        let sampler = Sampler::new(Choice::default(), KeyedUniforms { seeds });
        let wave = session.wave(weights, &jobs, &sampler);
        let step = |_| {
            weights.step(&wave);
            read::<f32>(&wave.logits).expect("scores")
        };
        return (0..6).map(step).collect();
    }
    let weights = session.tokens.as_ref().expect("an autoregressive model");
    let mut desk = session.lay_out(&jobs);
    let places = session.wave_places(&jobs);
    let mut z = session.wave_begin(&jobs);
    let mut all = Vec::new();
    for t in 0..6 {
        z = session.advance(&mut desk, z, t, |_| ());
        all.push(host(weights.head.scores(z).into_data()));
        let codes: Vec<i32> = codes(t).collect();
        z = renderer.tok_emb.forward(session.token_tensor(&codes, 1));
        z = z + places.clone().narrow(1, t, 1);
    }
    all
}

#[test]
fn smoke_every_layer_gives_the_scores_of_the_cpu() {
    let Some(device) = gpu() else { return };
    for config in kinds()
        .into_iter()
        .filter(|config| config.decoding == Decoding::Ar)
    {
        let here = scores(&config, &Device::flex(), Precision::F32, 2);
        for (precision, allowed) in [(Precision::F32, 1e-4), (Precision::Bf16, 0.03)] {
            if !precision.runs_on(&device) {
                continue;
            }
            let there = scores(&config, &device, precision, 2);
            let apart = distance(&here, &there);
            let spread = here
                .iter()
                .flatten()
                .fold(0.0_f32, |most, x| most.max(x.abs()));
            assert!(spread > 2.0, "{spread}");
            let kind = (config.feed, config.d_text, config.n_layers);
            assert!(apart < allowed * spread, "{kind:?}: {apart} of {spread}");
        }
    }
}

/// Rows that are too many for one cube are several.
#[test]
fn smoke_many_rows_have_the_scores_of_the_cpu() {
    let Some(device) = gpu() else { return };
    let config = config(Decoding::Ar, Feed::Pre, None);
    let [here, there] =
        [Device::flex(), device].map(|device| scores(&config, &device, Precision::F32, 5));
    assert!(distance(&here, &there) < 1e-3);
}

fn distance(here: &[Vec<f32>], there: &[Vec<f32>]) -> f32 {
    let all = here.iter().flatten().zip(there.iter().flatten());
    all.fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

fn draw(token: usize) -> Draw {
    Draw {
        picture: 0,
        index: crate::patch::PatchIndex { f: 0, h: 1, w: 2 },
        token,
        turn: 0,
    }
}

/// Draws from every row of `[r, v]` on the device, with numbers `[r, 1]`.
fn drawn_there(
    sampler: &Sampler<KeyedUniforms>,
    logits: &[f32],
    v: usize,
    uniforms: Vec<f32>,
    device: &Device,
) -> Vec<i32> {
    let r = logits.len() / v;
    let floats = |data: Vec<f32>, shape: [usize; 2]| {
        raw(Tensor::<2>::from_data(TensorData::new(data, shape), device))
    };
    let ids = |id: i32| {
        let data = TensorData::new(vec![id; r], [r, 1]);
        raw_ids(Tensor::<2, Int>::from_data(data, device))
    };
    let drawing = Drawing {
        uniforms: floats(uniforms, [r, 1]),
        given: ids(TokenGrid::UNKNOWN),
        chosen: ids(-7),
        tokens: ids(0),
        codes: floats((0..v).map(|code| code as f32).collect(), [v, 1]),
        places: floats(vec![0.5; r], [r, 1]),
    };
    let (logits, states) = (
        floats(logits.to_vec(), [r, v]),
        floats(vec![0.0; r], [r, 1]),
    );
    drawing.launch(&logits, Rule::new(sampler, None), &states);
    let chosen = read::<i32>(&drawing.chosen).expect("drawn");
    // What was drawn becomes the next state, and was one token more.
    let next: Vec<f32> = chosen.iter().map(|&code| code as f32 + 0.5).collect();
    assert_eq!(read::<f32>(&states).expect("written"), next);
    assert_eq!(read::<i32>(&drawing.tokens).expect("counted"), vec![1; r]);
    chosen
}

/// Draws from every row of `[r, v]` on the host and on the device.
fn both(
    sampler: &Sampler<KeyedUniforms>,
    logits: &[f32],
    v: usize,
    device: &Device,
) -> [Vec<i32>; 2] {
    let uniform = |row: usize| {
        let mut u = [0.0];
        sampler.uniforms.fill(draw(row), &mut u);
        u[0] as f32
    };
    let uniforms = (0..logits.len() / v).map(uniform).collect();
    let there = drawn_there(sampler, logits, v, uniforms, device);
    let rows = logits.chunks(v).enumerate();
    let here = rows.map(|(row, logits)| sampler.token(logits, draw(row)));
    [here.collect(), there]
}

fn sampler(top_k: usize, top_p: f64, temperature: f64) -> Sampler<KeyedUniforms> {
    let choice = Choice::Drawn {
        top_k,
        top_p,
        temperature,
    };
    Sampler::new(choice, KeyedUniforms { seeds: vec![7] })
}

#[test]
fn smoke_the_device_draws_what_the_host_draws() {
    let Some(device) = gpu() else { return };
    let rules = [
        (1, 1.0, 1.0),
        (5, 1.0, 1.0),
        (200, 1.0, 0.8),
        (5000, 0.9, 1.3),
        (40, 0.5, 1.0),
    ];
    for (number, (top_k, top_p, temperature)) in rules.into_iter().enumerate() {
        for smoothing in [0.0, 0.15] {
            let mut sampler = sampler(top_k, top_p, temperature);
            sampler.smoothing = smoothing;
            let logits = host(drawn::normal([60, 300], number as f64, 3.0).into_data());
            let [here, there] = both(&sampler, &logits, 300, &device);
            let apart = here.iter().zip(&there).filter(|(a, b)| a != b).count();
            // The sums of a device are rounded in another order than those of the host.
            let rule = (top_k, top_p, temperature, smoothing);
            assert!(apart <= 1, "{apart} of 60: {rule:?}");
        }
    }
    let row = [1.0, f32::NEG_INFINITY, 2.0, 2.0, 2.0, 1.0, -300.0];
    let [here, there] = both(&sampler(768, 1.0, 1.0), &row.repeat(3000), 7, &device);
    let apart = here.iter().zip(&there).filter(|(a, b)| a != b).count();
    assert!(apart <= 1, "{apart} of 3000");
    let count = |code: i32| there.iter().filter(|&&found| found == code).count();
    assert_eq!(count(1) + count(6), 0, "impossible ones");
    for code in [2, 3, 4] {
        // e² of 3 e² + 2 e each, within four standard deviations.
        assert!(count(code).abs_diff(803) < 98, "{code}: {}", count(code));
    }
    // A number that is rounded to one draws the last that is left.
    for (top_k, expected) in [(1, 0), (2, 2), (3, 1), (9, 3)] {
        let logits = [3.0, 1.0, 2.0, 0.0];
        let drawn = drawn_there(&sampler(top_k, 1.0, 1.0), &logits, 4, vec![1.0], &device);
        assert_eq!(drawn, [expected], "{top_k}");
    }
}

/// A token as a replay of a recorded one: what a whole painting writes is what the CPU writes, with guidance
/// and without, and what is given stays.
#[test]
fn smoke_tokens_are_replays_and_those_of_the_cpu() {
    let Some(device) = gpu() else { return };
    for (feed, d_text) in [(Feed::Pre, Some(8)), (Feed::Post, None)] {
        // As many codes as are not read side by side.
        let config = RendererConfig {
            n_codes: 27,
            ..config(Decoding::Ar, feed, d_text)
        };
        let paint = |device: &Device, replays: bool| {
            let renderer = config.init(device).map(&mut Scramble { drawn: 0 });
            let texts =
                text(&config, 3).map(|text| Tensor::<3>::from_data(text.into_data(), device));
            let part = |from, n| texts.clone().map(|text| text.narrow(0, from, n));
            let guidance = part(2, 1).map(|negative| Guidance {
                negative,
                scale: 1.7,
            });
            let prompt = part(0, 2).map(Prompt::Same);
            let session = Session::new(&renderer, &config, prompt, guidance, 2);
            let refusal = "not asked for";
            if let (Some(weights), false) = (&session.tokens_there, replays) {
                weights.refuse(ServerError::graph_state(refusal));
            }
            let route = circle();
            let mut grid = start(&route, 2);
            grid.set(1, crate::patch::PatchIndex { f: 0, h: 0, w: 1 }, 9);
            paint(&session, &route, &[3, 4], &mut grid);
            (grid.codes().to_vec(), session.refusal())
        };
        let (here, _) = paint(&Device::flex(), false);
        let (launched, refusal) = paint(&device, false);
        assert!(refusal.is_some());
        let (replayed, refusal) = paint(&device, true);
        assert_eq!(refusal, None);
        for there in [launched, replayed] {
            let first = here.iter().zip(&there).position(|(a, b)| a != b);
            assert_eq!(first, None, "the first token that differs");
        }
    }
}
