//! A trained run: the VQGAN and the renderer that belong together.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use nuwa_data::Picture;
use nuwa_model::checkpoint;
use nuwa_model::patch::PatchIndex;
use nuwa_model::render::{Renderer, RendererConfig, TokenGrid};
use nuwa_model::vqgan::tiled::{Tiling, Window};
use nuwa_model::vqgan::{Vqgan, VqganConfig};
use thiserror::Error;

use crate::task::{Scale, TokenRect};

/// Networks that cannot paint together, or not with what is here.
#[derive(Debug, Error)]
pub enum RunError {
    /// A network could not be read.
    #[error(transparent)]
    Checkpoint(#[from] nuwa_model::error::Error),
    /// The networks were not trained together.
    #[error("the renderer writes {renderer} codes, the VQGAN has {vqgan}")]
    Codes {
        /// Codes of the renderer.
        renderer: usize,
        /// Codes of the VQGAN.
        vqgan: usize,
    },
    /// A renderer that is told what to paint in words.
    #[error("this renderer needs text, which only models without text can do without")]
    NeedsText,
    /// A renderer of films.
    #[error("this renderer paints {0} frames at once; pictures need one")]
    Frames(usize),
}

/// The networks of a run, ready to paint pictures.
#[derive(Debug)]
pub struct ModelRun {
    /// Pixels to tokens and back.
    pub vqgan: Vqgan,
    /// Its architecture.
    pub vqgan_config: VqganConfig,
    /// What writes the tokens.
    pub renderer: Renderer,
    /// Its architecture.
    pub renderer_config: RendererConfig,
    device: Device,
}

impl ModelRun {
    /// Reads `vqgan` and `renderer` of a run's folder.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit together.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, RunError> {
        let (vqgan, vqgan_config, _) = checkpoint::load::<Vqgan>(&folder.join("vqgan"), device)?;
        let (renderer, renderer_config, _) =
            checkpoint::load::<Renderer>(&folder.join("renderer"), device)?;
        if renderer_config.n_codes != vqgan_config.n_codes {
            let (renderer, vqgan) = (renderer_config.n_codes, vqgan_config.n_codes);
            return Err(RunError::Codes { renderer, vqgan });
        }
        if renderer_config.d_text.is_some() {
            return Err(RunError::NeedsText);
        }
        if renderer_config.patch.f != 1 {
            return Err(RunError::Frames(renderer_config.patch.f));
        }
        Ok(Self { vqgan, vqgan_config, renderer, renderer_config, device: device.clone() })
    }

    /// Gives the numbers that decide about geometry.
    pub fn scale(&self) -> Scale {
        Scale {
            stride: self.vqgan_config.stride(),
            patch: self.renderer_config.patch,
            extent: self.renderer_config.extent,
        }
    }

    /// Gives how pictures are cut for this VQGAN: windows of about 256 pixels.
    pub fn tiling(&self) -> Tiling {
        let window = (256 / self.vqgan_config.stride()).max(16);
        Tiling { window, ..Tiling::default() }
    }

    /// Encodes a picture and sets its tokens in the grid. At the right and bottom border the
    /// picture is continued by its last pixels to whole tokens.
    pub fn encode_into(&self, picture: &Picture, rect: TokenRect, tokens: &mut TokenGrid) {
        let stride = self.vqgan_config.stride();
        let read = |window: &Window| -> Result<Tensor<4>, std::convert::Infallible> {
            let [top, left] = window.start.map(|at| at * stride);
            let [h, w] = window.size.map(|side| side * stride);
            Ok(clamped_crop(picture, left, top, w, h).to_tensor(&self.device))
        };
        let Ok(codes) = self.vqgan.encode_tiled([rect.h, rect.w], &self.tiling(), read);
        let codes: Vec<i32> =
            codes.into_data().convert::<i32>().try_to_vec().expect("converted to i32");
        for (at, code) in codes.into_iter().enumerate() {
            let (h, w) = (rect.top + at / rect.w, rect.left + at % rect.w);
            tokens.set(0, PatchIndex { f: 0, h, w }, code);
        }
    }
}

/// Cuts out a rectangle that may stick out to the right and below.
fn clamped_crop(picture: &Picture, x: usize, y: usize, w: usize, h: usize) -> Picture {
    let mut rgb = Vec::with_capacity(3 * w * h);
    for row in y..y + h {
        for column in x..x + w {
            let pixel = picture.pixel(column.min(picture.w() - 1), row.min(picture.h() - 1));
            rgb.extend_from_slice(&pixel);
        }
    }
    Picture::new(w, h, rgb)
}
