//! The run: both stages, what they leave on disk, and how good the result is.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use nuwa_data::Picture;
use nuwa_model::checkpoint::{self, Header, Kind, Precision};
use nuwa_model::vqgan::Vqgan;
use serde::{Deserialize, Serialize};

use super::config::OneShotConfig;
use super::{Watch, stage_one, stage_two};
use crate::schedule::{Budget, Clock};
use crate::vqgan::codebook::{CodeUsage, codes_on_host};

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

/// Trains both stages on a picture within `budget` and writes the run: `run.toml` (the effective
/// config), `vqgan`, `renderer`, `report.json`.
///
/// # Errors
/// When the run cannot be written.
pub fn run(
    config: &OneShotConfig,
    picture: &Picture,
    source: &str,
    budget: Duration,
    device: &Device,
    out: &Path,
    mut watch: Watch,
) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("run.toml"), toml::to_string_pretty(config)?)?;
    let header = |kind| Header {
        kind,
        licence: "that of the picture it was trained on".into(),
        source: format!("one-shot training on {source}"),
        notes: None,
    };
    let clock = Clock::start(Budget::Wall(budget.mul_f64(config.stage_one_share)));
    let (vqgan, vqgan_steps) = stage_one::train(config, picture, &clock, device, &mut watch);
    checkpoint::save(
        &vqgan,
        &header(Kind::Vqgan),
        &config.vqgan,
        Precision::Half,
        &out.join("vqgan"),
    )?;
    let (codes, psnr_db) = round_trip(&vqgan, picture, device);
    let mut usage = CodeUsage::new(config.vqgan.n_codes);
    usage.count(&codes);

    // Stage two gets what is left, so that the whole keeps to the budget.
    let left = budget
        .saturating_sub(start.elapsed())
        .max(Duration::from_millis(1));
    let clock = Arc::new(Clock::start(Budget::Wall(left)));
    let (renderer, renderer_updates) =
        stage_two::train(config, picture, &vqgan, &clock, device, &mut watch);
    checkpoint::save(
        &renderer,
        &header(Kind::Renderer),
        &config.renderer,
        Precision::Half,
        &out.join("renderer"),
    )?;
    let outcome = Outcome {
        vqgan_steps,
        renderer_updates,
        seconds: start.elapsed().as_secs_f64(),
        codes_used: usage.n_used(),
        codes: config.vqgan.n_codes,
        perplexity: usage.perplexity(),
        psnr_db,
        stopped: watch.stopped(),
    };
    std::fs::write(
        out.join("report.json"),
        serde_json::to_string_pretty(&outcome)?,
    )?;
    Ok(outcome)
}

/// Sends the largest part of the picture that is whole tokens through the VQGAN; gives its codes
/// and the PSNR in dB.
fn round_trip(vqgan: &Vqgan, picture: &Picture, device: &Device) -> (Vec<i32>, f64) {
    let stride = vqgan.stride();
    let picture = picture.crop(
        0,
        0,
        picture.w() / stride * stride,
        picture.h() / stride * stride,
    );
    let codes = vqgan.encode(picture.to_tensor(device));
    let back = Picture::from_tensor(vqgan.decode(codes.clone())).remove(0);
    (codes_on_host(codes), picture.psnr(&back))
}
