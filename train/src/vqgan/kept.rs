//! What a training of a VQGAN leaves on disk: checkpoints, pictures, weights.

use std::fs;

use anyhow::Context;
use burn::module::Module;
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use nuwa_data::Picture;
use nuwa_model::checkpoint::{self, Header, Storage};

use super::painter::Painter;
use super::training::Training;
use crate::checkpoints::Checkpoint;
use crate::run_folder::trained_on;

const OPTIMIZER: &str = "optimizer.bpk";
const ADVERSARY: &str = "adversary.bpk";
const ADVERSARY_OPTIMIZER: &str = "adversary-optimizer.bpk";
const AVERAGE: &str = "average.bpk";
const USAGE: &str = "usage.json";
const RATE: &str = "rate.json";

impl<P: Painter> Training<'_, P> {
    /// Writes all there is to know.
    pub(super) fn checkpoint(&mut self) -> anyhow::Result<()> {
        let (sum, n) = std::mem::take(&mut self.since_checkpoint);
        let loss = (n > 0).then(|| sum / n as f64);
        let (players, average) = (&self.players, &self.average);
        self.checkpoints.save(self.updates, loss, |folder| {
            players
                .vqgan
                .clone()
                .into_record()
                .save(folder.join(Self::weights()))?;
            players.adam.to_record().save(folder.join(OPTIMIZER))?;
            players
                .adversary
                .clone()
                .into_record()
                .save(folder.join(ADVERSARY))?;
            let optimizer = players.adversary_adam.to_record();
            optimizer.save(folder.join(ADVERSARY_OPTIMIZER))?;
            if let Some(average) = average {
                average.clone().into_record().save(folder.join(AVERAGE))?;
            }
            if let Some(rate) = &players.rate {
                fs::write(folder.join(RATE), serde_json::to_vec(rate)?)?;
            }
            let usage = serde_json::to_vec(&players.usage)?;
            Ok(fs::write(folder.join(USAGE), usage)?)
        })?;
        self.saved = self.updates;
        Ok(())
    }

    /// Puts the training where a checkpoint left it.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let folder = &checkpoint.folder;
        let module = |name: &str| ModuleRecord::load(folder.join(name));
        let optimizer = |name| OptimizerRecord::load(folder.join(name));
        let mut read = || -> anyhow::Result<()> {
            let players = &mut self.players;
            players.vqgan = players.vqgan.clone().load_record(module(&Self::weights())?);
            players.adam = players.adam.clone().load_record(optimizer(OPTIMIZER)?);
            players.adversary = players.adversary.clone().load_record(module(ADVERSARY)?);
            let adam = players.adversary_adam.clone();
            players.adversary_adam = adam.load_record(optimizer(ADVERSARY_OPTIMIZER)?);
            if let Some(average) = self.average.take() {
                self.average = Some(average.load_record(module(AVERAGE)?));
            }
            if players.rate.is_some() {
                players.rate = Some(serde_json::from_slice(&fs::read(folder.join(RATE))?)?);
            }
            players.usage = serde_json::from_slice(&fs::read(folder.join(USAGE))?)?;
            Ok(())
        };
        read().with_context(|| folder.display().to_string())
    }

    /// Writes the frames of samples above what comes back of the last; gives its PSNR in dB.
    pub(super) fn grid(&self) -> anyhow::Result<f64> {
        let painter = self.average.clone().unwrap_or_else(|| self.players.valid());
        let device = self.device.clone().without_autodiff();
        let px = self.job.stage.crop_px;
        let mut grid = Picture::filled(px * self.shown.len(), px * (self.job.frames + 1), [0; 3]);
        let (rate, mut sum) = (self.players.rate.as_ref(), 0.0);
        for (column, frames) in self.shown.iter().enumerate() {
            let clips = self.job.clips(Picture::stack(frames, &device));
            let back = Picture::from_tensor(painter.paint(clips, rate));
            sum += frames[self.job.frames - 1].psnr(&back[0]);
            for (row, picture) in frames.iter().chain(&back).enumerate() {
                grid.paste(picture, px * column, px * row);
            }
        }
        let folder = self.job.run.join("grids");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        grid.write(&folder.join(format!("{:09}.png", self.updates)))?;
        Ok(sum / self.shown.len() as f64)
    }

    /// Writes the weights that are used afterwards.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        let painter = self.average.clone().unwrap_or_else(|| self.players.valid());
        let header = Header {
            kind: P::KIND,
            licence: "that of the pictures it was trained on".into(),
            source: trained_on(self.job.data),
            notes: None,
        };
        let folder = self.job.run.join(P::KIND.name());
        let rate = self.players.rate.as_ref();
        let (network, architecture) = painter.finished(self.job.architecture, rate);
        checkpoint::save(&network, &header, &architecture, Storage::Half, &folder)?;
        Ok(())
    }

    /// Name of the weights in a checkpoint.
    fn weights() -> String {
        format!("{}.bpk", P::KIND)
    }
}
