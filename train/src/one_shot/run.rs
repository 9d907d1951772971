//! The run: both stages, what they leave on disk, and how good the result is.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor, TensorData};
use nuwa_data::Picture;
use nuwa_model::checkpoint::{self, Header, Kind, Storage};
use nuwa_model::render::Renderer;
use nuwa_model::vqgan::tiled::Tiling;
use nuwa_model::vqgan::{Vqgan, VqganConfig};
use serde::{Deserialize, Serialize};

use super::config::OneShotConfig;
use super::{Watch, stage_one, stage_two};
use crate::materialize::materialize;
use crate::run_folder::write_config;
use crate::schedule::{Budget, Clock};
use crate::vqgan::codebook::{CodeUsage, codes_on_host, encode};
use crate::vqgan::rate::without_costs;

/// What a one-shot training came to; `report.json` in the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Steps of stage one.
    pub vqgan_steps: usize,
    /// Updates of stage two.
    pub renderer_updates: usize,
    /// Wall time in seconds, both stages and saving.
    pub seconds: f64,
    /// Codes that the picture uses.
    pub codes_used: usize,
    /// Codes there are.
    pub codes: usize,
    /// Perplexity of their use.
    pub perplexity: f64,
    /// Peak signal-to-noise ratio of the picture's round trip, in dB.
    pub psnr_db: f64,
    /// Whether it was stopped before its budget was spent.
    pub stopped: bool,
}

/// What a training is about.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// Its numbers.
    pub config: &'a OneShotConfig,
    /// The picture.
    pub picture: &'a Picture,
    /// What the weights say they were trained on.
    pub source: &'a str,
    /// Wall time of the whole.
    pub budget: Duration,
    /// Where to compute.
    pub device: &'a Device,
    /// Folder of the run.
    pub out: &'a Path,
}

/// The networks a training starts from.
#[derive(Debug)]
pub struct Start {
    pub(super) vqgan: Vqgan,
    /// What its codes cost, if they cost something, see [`with_costs`](crate::vqgan::rate::with_costs).
    pub(super) costs: Option<Tensor<1>>,
    pub(super) renderer: Renderer,
    /// Whether the codebook still has to find the data.
    pub(super) fresh: bool,
    /// Whether the renderer has seen no codes yet.
    pub(super) fresh_renderer: bool,
}

impl Start {
    /// Gives random networks of the config's architectures.
    pub fn fresh(config: &OneShotConfig, device: &Device) -> Self {
        device.seed(config.seed);
        let device = device.clone().autodiff();
        Self {
            vqgan: materialize(config.vqgan.init(&device)),
            costs: None,
            renderer: materialize(config.renderer.init(&device)),
            fresh: true,
            fresh_renderer: true,
        }
    }

    /// Reads the networks of an earlier run. A codebook of another size is begun anew, and so is a
    /// renderer of another architecture, so that either can be changed without training the rest
    /// from nothing.
    ///
    /// # Errors
    /// When one cannot be read, or the VQGAN does not have the config's architecture.
    pub fn from_run(
        config: &OneShotConfig,
        folder: &Path,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let device = device.clone().autodiff();
        let (mut vqgan, mut vqgan_config, _) =
            checkpoint::load::<Vqgan>(&folder.join("vqgan"), &device)?;
        let mut costs = None;
        // Of a run, `code_dim` says how many numbers of a code were learned.
        if vqgan_config.code_dim == OneShotConfig::of_run(folder)?.vqgan.code_dim + 1 {
            let (plain, kept) = without_costs(vqgan);
            vqgan = plain;
            vqgan_config.code_dim -= 1;
            costs = Some(kept);
        }
        let n_codes = config.vqgan.n_codes;
        let resized = VqganConfig {
            n_codes,
            ..vqgan_config.clone()
        };
        anyhow::ensure!(
            resized == config.vqgan,
            "the VQGAN of {} has another architecture",
            folder.display()
        );
        let fresh_codebook = resized != vqgan_config;
        if fresh_codebook {
            device.seed(config.seed);
            vqgan.quantize = materialize(config.vqgan.init(&device)).quantize;
            costs = None;
        }
        let (mut renderer, renderer_config, _) =
            checkpoint::load::<Renderer>(&folder.join("renderer"), &device)?;
        let fresh_renderer = renderer_config != config.renderer;
        if fresh_renderer {
            device.seed(config.seed);
            renderer = materialize(config.renderer.init(&device));
        }
        Ok(Self {
            vqgan,
            costs,
            renderer,
            fresh: fresh_codebook,
            fresh_renderer,
        })
    }
}

/// Trains both stages on a picture within the budget and writes the run: `run.toml` (the effective
/// config), `vqgan`, `renderer`, `report.json`. Weights are written every few minutes, so that the
/// run can be looked at, and little is lost with the machine.
///
/// # Errors
/// When the run cannot be written.
pub fn run(job: &Job, start: Start, mut watch: Watch) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let config = job.config;
    write_config(job.out, config)?;
    let header = |kind| Header {
        kind,
        licence: "that of the picture it was trained on".into(),
        source: format!("one-shot training on {}", job.source),
        notes: None,
    };
    let keep_vqgan = |vqgan: &Vqgan| {
        let (header, folder) = (header(Kind::Vqgan), job.out.join("vqgan"));
        let [_, code_dim] = vqgan.quantize.embedding.weight.dims();
        let config = VqganConfig {
            code_dim,
            ..config.vqgan.clone()
        };
        checkpoint::save(vqgan, &header, &config, Storage::Half, &folder)
    };
    let keep_renderer = |renderer: &Renderer| {
        let (header, folder) = (header(Kind::Renderer), job.out.join("renderer"));
        checkpoint::save(renderer, &header, &config.renderer, Storage::Half, &folder)
    };
    let clock = Clock::start(Budget::Wall(job.budget.mul_f64(config.stage_one_share)));
    let (vqgan, vqgan_steps) = stage_one::train(job, &start, &clock, &mut watch, keep_vqgan)?;
    keep_vqgan(&vqgan)?;
    let (codes, psnr_db) = round_trip(&vqgan, job.picture, job.device);
    let mut usage = CodeUsage::new(config.vqgan.n_codes);
    usage.count(&codes);

    let mut renderer = start.renderer;
    if start.fresh_renderer {
        let codes = vqgan.quantize.embedding.weight.val();
        renderer = renderer.knowing(codes.narrow(1, 0, config.vqgan.code_dim));
    }
    // Stage two gets what is left, so that the whole keeps to the budget.
    let left = job.budget.saturating_sub(began.elapsed());
    let clock = Clock::start(Budget::Wall(left.max(Duration::from_millis(1))));
    let (renderer, renderer_updates) = stage_two::train(
        job,
        &vqgan,
        renderer,
        &Arc::new(clock),
        &mut watch,
        keep_renderer,
    )?;
    keep_renderer(&renderer)?;
    let outcome = Outcome {
        vqgan_steps,
        renderer_updates,
        seconds: began.elapsed().as_secs_f64(),
        codes_used: usage.n_used(),
        codes: config.vqgan.n_codes,
        perplexity: usage.perplexity(),
        psnr_db,
        stopped: watch.stopped(),
    };
    std::fs::write(
        job.out.join("report.json"),
        serde_json::to_string_pretty(&outcome)?,
    )?;
    Ok(outcome)
}

/// Tells every few minutes that it is time to write the weights.
pub(super) struct KeepTimer(Instant);

impl KeepTimer {
    const EVERY: Duration = Duration::from_secs(180);

    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn is_due(&mut self) -> bool {
        let due = self.0.elapsed() >= Self::EVERY;
        if due {
            self.0 = Instant::now();
        }
        due
    }
}

/// Sends the largest part of the picture that is whole tokens through the VQGAN, in windows as
/// pictures are painted; gives its codes and the PSNR in dB.
fn round_trip(vqgan: &Vqgan, picture: &Picture, device: &Device) -> (Vec<i32>, f64) {
    let stride = vqgan.stride();
    let [h, w] = [picture.h(), picture.w()].map(|side| side / stride);
    let codes = encode(vqgan, picture, [h, w], device);
    let tiling = Tiling::of_stride(stride);
    let back = vqgan.decode_tiled(codes.clone(), &tiling);
    let shape = [1, 3, h * stride, w * stride];
    let back = Tensor::from_data(TensorData::new(back.values, shape), device);
    let back = Picture::from_tensor(back).remove(0);
    let known = picture.crop(0, 0, w * stride, h * stride);
    (codes_on_host(codes), known.psnr(&back))
}
