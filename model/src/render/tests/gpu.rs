//! The token loop's kernels for GPUs against the CPU's, on the device that `NUWA_TEST_BACKEND` names. There
//! is nothing to compare on the CPU itself.

use burn::tensor::{Tensor, TensorData};

use super::*;
use crate::device::{DeviceChoice, is_host};
use crate::drawn;
use crate::render::ar::host;

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
    let jobs = [job(0), job(1)];
    let weights = session.tokens.as_ref().expect("an autoregressive model");
    let mut desk = session.lay_out(&jobs);
    let places = session.wave_places(&jobs);
    let mut z = session.wave_begin(&jobs);
    let mut all = Vec::new();
    for t in 0..6 {
        z = session.advance(&mut desk, z, t, |_| ());
        all.push(host(weights.head.scores(z).into_data()));
        let codes: Vec<i32> = (0..2 * pictures as i32)
            .map(|row| (5 * row + 7 * t as i32) % 24)
            .collect();
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

/// Rows that are too many for the kernels that read weights for each are multiplied as matrices.
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

/// Draws from every row of `[r, v]` on the host and on the device.
fn both(
    sampler: &Sampler<KeyedUniforms>,
    logits: &[f32],
    v: usize,
    device: &Device,
) -> [Vec<i32>; 2] {
    let r = logits.len() / v;
    let uniform = |row: usize| {
        let mut u = [0.0];
        sampler.uniforms.fill(draw(row), &mut u);
        u[0] as f32
    };
    let uniforms = TensorData::new((0..r).map(uniform).collect::<Vec<f32>>(), [r, 1]);
    let there = Tensor::from_data(TensorData::new(logits.to_vec(), [r, v]), device);
    let there = sampler.tokens(there, Tensor::from_data(uniforms, device));
    let rows = logits.chunks(v).enumerate();
    let here = rows.map(|(row, logits)| sampler.token(logits, draw(row)));
    let there = there.into_data().convert::<i32>().try_to_vec();
    [here.collect(), there.expect("ids")]
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
        let logits = Tensor::<2>::from_data([[3.0, 1.0, 2.0, 0.0]], &device);
        let uniforms = Tensor::<2>::from_data([[1.0]], &device);
        let drawn = sampler(top_k, 1.0, 1.0).tokens(logits, uniforms);
        assert_eq!(drawn.into_scalar::<i64>(), expected, "{top_k}");
    }
}
