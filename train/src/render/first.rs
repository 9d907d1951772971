//! The weights that a training begins with: drawn, or those of another run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use burn::tensor::Device;
use nuwa_model::checkpoint;
use nuwa_model::clip::{ClipText, ClipTextConfig};
use nuwa_model::device::DeviceChoice;
use nuwa_model::render::{Renderer, RendererConfig};
use nuwa_model::vqgan::Vqgan;

use super::config::RenderRunConfig;
use super::run::{RENDERER, TEXT};
use crate::materialize::materialize;

/// Weights that a run begins with.
#[derive(Debug)]
pub(super) struct First {
    run: PathBuf,
    pub(super) renderer: RendererConfig,
    tower: Option<ClipTextConfig>,
}

impl First {
    /// Looks at the weights of a run.
    pub(super) fn find(run: &Path) -> anyhow::Result<Self> {
        let run = fs::canonicalize(run).with_context(|| run.display().to_string())?;
        let device = DeviceChoice::Cpu.open()?;
        let (_, renderer, _) = checkpoint::load::<Renderer>(&run.join(RENDERER), &device)?;
        let text = run.join(TEXT);
        let tower = match text.exists() {
            true => Some(checkpoint::load::<ClipText>(&text, &device)?.1),
            false => None,
        };
        Ok(Self {
            run,
            renderer,
            tower,
        })
    }

    pub(super) fn put_into(&self, config: &mut RenderRunConfig) {
        config.init_from = Some(self.run.clone());
        // A renderer of pictures that goes on with films looks back as far as the preset does.
        let f = self.renderer.extent.f.max(config.renderer.extent.f);
        config.renderer = self.renderer.clone();
        config.renderer.extent.f = f;
        // Without a tower that learns, the store has its states, or there are no captions.
        if config.tower.is_some() {
            config.tower.clone_from(&self.tower);
        }
    }

    /// Tells whether a config goes on with them; it may look farther or less far.
    pub(super) fn is_that_of(&self, config: &RenderRunConfig) -> bool {
        let mut renderer = self.renderer.clone();
        renderer.extent = config.renderer.extent;
        config.renderer == renderer && (config.tower.is_none() || config.tower == self.tower)
    }
}

/// Draws the first weights; token embeddings may begin as the codes of a VQGAN.
pub(super) fn fresh(
    config: &RenderRunConfig,
    vqgan: &Path,
    device: &Device,
) -> anyhow::Result<(Renderer, Option<ClipText>)> {
    let mut renderer = materialize(config.renderer.init(device));
    if config.stage_two.know_codes {
        let (vqgan, _, _) = checkpoint::load::<Vqgan>(vqgan, &device.clone().without_autodiff())?;
        renderer = renderer.knowing(vqgan.quantize.embedding.weight.val());
    }
    let tower = config.tower.as_ref();
    Ok((renderer, tower.map(|tower| materialize(tower.init(device)))))
}

/// Takes the first weights from another run.
pub(super) fn begun(
    config: &RenderRunConfig,
    first: &Path,
    device: &Device,
) -> anyhow::Result<(Renderer, Option<ClipText>)> {
    let (renderer, theirs, _) = checkpoint::load::<Renderer>(&first.join(RENDERER), device)?;
    let renderer = renderer.reaching(theirs.extent, config.renderer.extent);
    let tower = match &config.tower {
        Some(_) => Some(checkpoint::load(&first.join(TEXT), device)?.0),
        None => None,
    };
    Ok((renderer, tower))
}
