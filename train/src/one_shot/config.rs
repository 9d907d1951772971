//! The numbers of a one-shot training; written to the run as they were used.

use std::path::Path;

use nuwa_data::augment::Upright;
use nuwa_model::patch::{Extent, TokenSize};
use nuwa_model::render::{Decoding, Feed, RendererConfig, Transfer};
use nuwa_model::vqgan::VqganConfig;
use serde::{Deserialize, Serialize};

use crate::run_folder::read_config;

/// Everything a one-shot training depends on, besides the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneShotConfig {
    /// Seed of initial weights, crops and orders.
    pub seed: u64,
    /// Whether the picture has a top that must stay up: "kept" or "free".
    pub upright: Upright,
    /// Share of the budget that stage one gets; 0 keeps the VQGAN it starts from.
    pub stage_one_share: f64,
    /// The VQGAN.
    pub vqgan: VqganConfig,
    /// Stage one.
    pub stage_one: StageOneConfig,
    /// The renderer; `n_codes` is that of the VQGAN.
    pub renderer: RendererConfig,
    /// Stage two.
    pub stage_two: StageTwoConfig,
}

/// The numbers of stage one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageOneConfig {
    /// Side of a crop in pixels.
    pub crop_px: usize,
    /// Crops per step.
    pub batch: usize,
    /// Standard deviation of the noise that the encoder is to see through, in steps of a byte: it
    /// sees a crop with noise, and the crop without shall come back (denoising autoencoders,
    /// Vincent et al., 2008). About twice the grain of the picture keeps the codes for what is in
    /// it; 0 encodes the grain too.
    pub noise: f64,
    /// Peak learning rate.
    pub peak_rate: f64,
    /// Share of the stage that warms up.
    pub warmup: f64,
    /// Weight of the commitment term.
    pub beta: f64,
    /// Weight of the mean squared error beside the absolute one: more of it where few things are
    /// bright and shall keep their color.
    #[serde(default)]
    pub squared_weight: f64,
    /// What rare codes cost, see [`CodeRate`](crate::vqgan::rate::CodeRate); 0 is nothing.
    #[serde(default)]
    pub rate_weight: f64,
    /// Share of the stage after which the adversary plays; 1 is never.
    pub gan_start: f64,
    /// Weight of the adversary, on top of the adaptive one.
    pub gan_weight: f64,
    /// Cap of the adaptive weight.
    pub balance_cap: f64,
    /// Channels of the adversary's first layer.
    pub discriminator_width: usize,
    /// Steps between two revivals of lost codes.
    pub revive_every: usize,
    /// Share of the stage after which lost codes stay lost.
    pub revive_until: f64,
}

/// The numbers of stage two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageTwoConfig {
    /// Side of a crop in patches.
    pub crop_patches: usize,
    /// Pixels between the places where the picture's tokens may begin, which is mirrored and turned
    /// but otherwise as it is; 0 gives crops with all one-shot augmentations.
    #[serde(default)]
    pub cut_px: usize,
    /// Crops per step.
    pub batch: usize,
    /// Encoded pictures that batches are drawn from; each batch replaces one, if there are more.
    pub pool: usize,
    /// Peak learning rate.
    pub peak_rate: f64,
    /// Share of the stage that warms up.
    pub warmup: f64,
    /// Label smoothing ε: 0.15 for one-shot (page §6).
    pub smoothing: f64,
    /// Share of the stage in which every batch has the same order of patches. ours: a small renderer
    /// finds out about the row above in one order, where four at once hide it, and the other orders
    /// then come to the same loss.
    #[serde(default)]
    pub one_order_until: f64,
}

/// Smallest crop of which three strided layers of 4 × 4 leave something to judge.
const LEAST_JUDGED_PX: usize = 32;

impl OneShotConfig {
    /// Gives the default: small enough to learn one picture on two CPU cores within the hour.
    ///
    /// 16 pixels per token, as the papers have it: most things in a picture of a thousand pixels are
    /// then one token, and a small renderer need not join them. Ours: patches of 8 × 8 tokens, a
    /// quarter of the places to tell apart, so that the renderer learns to look at the row above, and
    /// not only at the token before. An extent of 1 then sees 128 pixels around, more than things in
    /// such pictures are large. The squared error keeps the color of what is small and bright. In
    /// stage one, one large crop per step rather than four small ones: normalization then sees in
    /// training about what it sees in the windows of a large picture.
    pub fn new(decoding: Decoding) -> Self {
        let n_codes = 1024;
        Self {
            seed: 0,
            upright: Upright::Kept,
            stage_one_share: 0.5,
            vqgan: VqganConfig {
                ch: 32,
                multipliers: vec![1, 1, 2, 2, 2],
                blocks: 1,
                z: 64,
                n_codes,
                code_dim: 32,
            },
            stage_one: StageOneConfig {
                crop_px: 256,
                batch: 1,
                noise: 2.0,
                peak_rate: 6e-4,
                warmup: 0.02,
                beta: 0.25,
                squared_weight: 4.0,
                rate_weight: 0.0,
                gan_start: 0.72,
                gan_weight: 0.3,
                balance_cap: 1e3,
                discriminator_width: 16,
                revive_every: 40,
                revive_until: 0.5,
            },
            renderer: RendererConfig {
                decoding,
                d_model: 192,
                n_layers: 3,
                n_codes,
                patch: TokenSize { f: 1, h: 8, w: 8 },
                extent: Extent { w: 1, h: 1, f: 0 },
                feed: Feed::Pre,
                d_text: None,
                transfer: Transfer::Context,
            },
            stage_two: StageTwoConfig {
                crop_patches: 4,
                cut_px: 8,
                batch: 12,
                pool: 32,
                peak_rate: 1.5e-3,
                warmup: 0.02,
                smoothing: 0.15,
                one_order_until: 0.0,
            },
        }
    }

    /// Reads the config that a run was trained with.
    ///
    /// # Errors
    /// When the run has none, or it is not understood.
    pub fn of_run(folder: &Path) -> anyhow::Result<Self> {
        read_config(folder)
    }

    /// Names the first thing that cannot work, or nothing.
    pub fn problem(&self) -> Option<String> {
        if let Err(error) = self.vqgan.check() {
            return Some(error.to_string());
        }
        let stride = self.vqgan.stride();
        let checks = [
            (
                self.renderer.n_codes != self.vqgan.n_codes,
                "renderer.n_codes must be vqgan.n_codes",
            ),
            (
                self.renderer.patch.f != 1,
                "renderer.patch.f must be 1: one picture has one frame",
            ),
            (
                self.renderer.patch.h != self.renderer.patch.w,
                "renderer.patch must be square",
            ),
            (
                self.renderer.d_text.is_some(),
                "renderer.d_text: one picture has no captions",
            ),
            (
                self.stage_one.crop_px == 0 || !self.stage_one.crop_px.is_multiple_of(stride),
                "stage_one.crop_px must be a multiple of the VQGAN's stride",
            ),
            (
                self.stage_one.gan_start < 1.0 && self.stage_one.crop_px < LEAST_JUDGED_PX,
                "stage_one.crop_px must be at least 32 for the adversary to see anything",
            ),
            (
                self.stage_one.batch == 0 || self.stage_two.batch == 0,
                "batch must be at least 1",
            ),
            (
                !(0.0..=64.0).contains(&self.stage_one.noise),
                "stage_one.noise must lie between 0 and 64",
            ),
            (
                self.stage_one.rate_weight < 0.0,
                "stage_one.rate_weight must not be negative",
            ),
            (
                self.stage_two.pool == 0,
                "stage_two.pool must be at least 1",
            ),
            (
                self.stage_one.revive_every == 0,
                "stage_one.revive_every must be at least 1",
            ),
            (
                self.stage_two.crop_patches == 0,
                "stage_two.crop_patches must be at least 1",
            ),
            (
                !(0.0..=0.95).contains(&self.stage_one_share),
                "stage_one_share must lie between 0 and 0.95",
            ),
            (
                !(0.0..=1.0).contains(&self.stage_two.one_order_until),
                "stage_two.one_order_until must lie between 0 and 1",
            ),
            (
                !(0.0..1.0).contains(&self.stage_two.smoothing),
                "stage_two.smoothing must be at least 0 and below 1",
            ),
        ];
        let broken = checks
            .into_iter()
            .find_map(|(broken, text)| broken.then_some(text));
        self.renderer.problem().or(broken).map(str::to_owned)
    }

    /// Gives the side of a stage-two crop in pixels.
    pub fn render_crop_px(&self) -> usize {
        self.stage_two.crop_patches * self.renderer.patch.h * self.vqgan.stride()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_fit_into_eight_megabytes() {
        for decoding in [Decoding::Ar, Decoding::Nar, Decoding::Pnar] {
            let config = OneShotConfig::new(decoding);
            assert_eq!(config.problem(), None);
            let bytes = 2 * (config.vqgan.n_params() + config.renderer.n_params());
            assert!(bytes < 8 << 20, "{bytes} bytes in half precision");
        }
    }

    #[test]
    fn what_cannot_work_is_named() {
        let mut config = OneShotConfig::new(Decoding::Ar);
        config.renderer.n_codes = 7;
        assert!(
            config
                .problem()
                .is_some_and(|text| text.contains("n_codes"))
        );
        let mut config = OneShotConfig::new(Decoding::Ar);
        config.stage_one.crop_px = 100;
        assert!(
            config
                .problem()
                .is_some_and(|text| text.contains("crop_px"))
        );
    }
}
