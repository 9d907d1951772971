//! A trained run: the VQGAN and the renderer that belong together.

mod error;

use std::convert::Infallible;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use nuwa_data::Picture;
use nuwa_model::checkpoint;
use nuwa_model::clip::{ClipText, ClipTokenizer};
use nuwa_model::render::{Renderer, RendererConfig};
use nuwa_model::vqgan::tiled::Tiling;
use nuwa_model::vqgan::{PgVqgan, Vqgan, VqganConfig};

pub use self::error::RunError;
use crate::request::Model;
use crate::task::{Scale, SizePx};
use crate::token_file::UNKNOWN;

/// The most values in the pixel-guided decoder's features at full resolution: 1 GiB, of which about
/// six are in memory at once. 1448 × 1448 px with the paper's 128 channels.
const MOST_GUIDED_VALUES: usize = 1 << 28;

/// The networks of a run, ready to paint pictures.
#[derive(Debug)]
pub struct ModelRun {
    /// Pixels to tokens and back.
    pub vqgan: Vqgan,
    /// Its architecture.
    pub vqgan_config: VqganConfig,
    /// What decodes a frame after another, if the run has it.
    pub pg_vqgan: Option<PgVqgan>,
    /// What writes the tokens.
    pub renderer: Renderer,
    /// Its architecture.
    pub renderer_config: RendererConfig,
    /// What reads prompts, if the renderer is told in words.
    pub text: Option<TextEncoder>,
    /// Under which terms its weights may be used.
    pub licence: String,
    /// Label smoothing that the renderer was trained with, as far as the run says.
    pub smoothing: f64,
    /// How pictures are cut for the VQGAN.
    pub tiling: Tiling,
    device: Device,
}

/// Reads texts.
#[derive(Debug)]
pub struct TextEncoder {
    tower: ClipText,
    tokenizer: ClipTokenizer,
    device: Device,
}

impl TextEncoder {
    fn load(folder: &Path, d_text: usize, device: &Device) -> Result<Self, RunError> {
        if !folder.exists() {
            return Err(RunError::NeedsText);
        }
        let (tower, config, _) = checkpoint::load::<ClipText>(folder, device)?;
        let (renderer, text) = (d_text, config.hidden_size);
        if renderer != text {
            return Err(RunError::TextWidth { renderer, text });
        }
        Ok(Self {
            tower,
            tokenizer: ClipTokenizer::new(),
            device: device.clone(),
        })
    }

    /// Gives the states of texts, `[b, 77, d_text]`.
    pub fn states(&self, texts: &[&str]) -> Tensor<3> {
        self.tower
            .forward(self.tokenizer.batch(texts, &self.device))
    }
}

impl ModelRun {
    /// Reads `vqgan` and `renderer` of a run's folder, and `pg-vqgan` if there is one.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit together.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, RunError> {
        let (vqgan, vqgan_config, _) = checkpoint::load::<Vqgan>(&folder.join("vqgan"), device)?;
        let (renderer, renderer_config, header) =
            checkpoint::load::<Renderer>(&folder.join("renderer"), device)?;
        if renderer_config.n_codes != vqgan_config.n_codes {
            let (renderer, vqgan) = (renderer_config.n_codes, vqgan_config.n_codes);
            return Err(RunError::Codes { renderer, vqgan });
        }
        if vqgan_config.n_codes >= usize::from(UNKNOWN) {
            return Err(RunError::TooManyCodes(vqgan_config.n_codes));
        }
        let text = match renderer_config.d_text {
            None => None,
            Some(d_text) => Some(TextEncoder::load(&folder.join("text"), d_text, device)?),
        };
        if renderer_config.patch.f != 1 {
            return Err(RunError::Frames(renderer_config.patch.f));
        }
        let pg_vqgan = load_guided(&folder.join("pg-vqgan"), &vqgan, &vqgan_config, device)?;
        Ok(Self {
            smoothing: smoothing_of(folder)?,
            tiling: Tiling::of_stride(vqgan_config.stride()),
            vqgan,
            vqgan_config,
            pg_vqgan,
            renderer,
            renderer_config,
            text,
            licence: header.licence,
            device: device.clone(),
        })
    }

    /// Gives the numbers that decide about geometry.
    pub fn scale(&self) -> Scale {
        Scale {
            stride: self.vqgan_config.stride(),
            patch: self.renderer_config.patch,
            extent: self.renderer_config.extent,
        }
    }

    /// Checks that films of such frames can be decoded.
    ///
    /// # Errors
    /// When there is a pixel-guided decoder and its features of one frame would not fit in memory.
    pub fn check_frame(&self, size: SizePx) -> Result<(), RunError> {
        let most = MOST_GUIDED_VALUES / self.vqgan_config.ch;
        if self.pg_vqgan.is_some() && size.w.saturating_mul(size.h) > most {
            return Err(RunError::LargeFrame { size, most });
        }
        Ok(())
    }

    /// Gives the device of the networks.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Gives the size of one patch's cache in the pool, in bytes: keys and values of all layers in
    /// single precision.
    pub fn cache_bytes(&self) -> usize {
        let RendererConfig {
            d_model, n_layers, ..
        } = self.renderer_config;
        2 * n_layers * self.renderer_config.tokens_per_patch() * d_model * size_of::<f32>()
    }

    /// Gives what a token file keeps of the networks.
    pub fn model(&self) -> Model {
        Model {
            vqgan: checkpoint::fingerprint(&self.vqgan),
            renderer: checkpoint::fingerprint(&self.renderer),
            text: self
                .text
                .as_ref()
                .map(|text| checkpoint::fingerprint(&text.tower)),
            licence: self.licence.clone(),
            stride: self.vqgan_config.stride(),
            n_codes: self.vqgan_config.n_codes,
            patch: self.renderer_config.patch,
            extent: self.renderer_config.extent,
        }
    }

    /// Gives the tokens of a picture, `[h · w]` for a size `[h, w]` in tokens. The picture is
    /// continued by reflection: to whole tokens, and beyond (see [`Vqgan::encode_continued`]).
    pub fn encode(&self, picture: &Picture, size: [usize; 2]) -> Vec<i32> {
        let read = |[y, x]: [isize; 2], [h, w]: [usize; 2]| -> Result<Tensor<4>, Infallible> {
            Ok(picture.continued(x, y, w, h).to_tensor(&self.device))
        };
        let Ok(codes) = self.vqgan.encode_continued(size, &self.tiling, read);
        codes
            .into_data()
            .convert::<i32>()
            .try_to_vec()
            .expect("converted to i32")
    }
}

/// Reads the label smoothing of the training from the run's effective config, `run.toml`; 0 where
/// there is none, or it does not say.
fn smoothing_of(folder: &Path) -> Result<f64, RunError> {
    let path = folder.join("run.toml");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(0.0);
    };
    let unreadable = |what: String| RunError::Config {
        path: path.clone(),
        what,
    };
    let config: toml::Table =
        toml::from_str(&text).map_err(|error| unreadable(error.message().to_owned()))?;
    let smoothing = config
        .get("stage_two")
        .and_then(|stage| stage.get("smoothing"))
        .and_then(toml::Value::as_float)
        .unwrap_or(0.0);
    match (0.0..1.0).contains(&smoothing) {
        true => Ok(smoothing),
        false => Err(unreadable(format!("label smoothing of {smoothing}"))),
    }
}

/// Reads a pixel-guided decoder. Its tokens must mean what the VQGAN's do.
fn load_guided(
    folder: &Path,
    vqgan: &Vqgan,
    config: &VqganConfig,
    device: &Device,
) -> Result<Option<PgVqgan>, RunError> {
    if !folder.exists() {
        return Ok(None);
    }
    let (guided, own, _) = checkpoint::load::<PgVqgan>(folder, device)?;
    let fits = guided.check_fits(&own, vqgan, config);
    fits.map_err(RunError::Guided)?;
    Ok(Some(guided))
}

/// Tokens by which paintings are continued on every side before they are decoded, as pictures are
/// before they are encoded: beyond the border convolutions see zeros, which shows as a tinted frame.
pub(crate) const RIM: usize = Tiling::MARGIN;
