//! What a training of stage one leaves on disk: checkpoints, pictures, weights.

use std::fs;

use anyhow::Context;
use burn::module::Module;
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use nuwa_data::Picture;
use nuwa_model::checkpoint::{self, Header, Kind, Precision};

use super::training::Training;
use crate::checkpoints::Checkpoint;

const VQGAN: &str = "vqgan.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const ADVERSARY: &str = "adversary.bpk";
const ADVERSARY_OPTIMIZER: &str = "adversary-optimizer.bpk";
const AVERAGE: &str = "average.bpk";
const USAGE: &str = "usage.json";

impl Training<'_> {
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
                .save(folder.join(VQGAN))?;
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
            Ok(fs::write(
                folder.join(USAGE),
                serde_json::to_vec(&players.usage)?,
            )?)
        })?;
        self.saved = self.updates;
        Ok(())
    }

    /// Puts the training where a checkpoint left it.
    pub(super) fn restore(&mut self, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let folder = &checkpoint.folder;
        let module = |name| ModuleRecord::load(folder.join(name));
        let optimizer = |name| OptimizerRecord::load(folder.join(name));
        let mut read = || -> anyhow::Result<()> {
            let players = &mut self.players;
            players.vqgan = players.vqgan.clone().load_record(module(VQGAN)?);
            players.adam = players.adam.clone().load_record(optimizer(OPTIMIZER)?);
            players.adversary = players.adversary.clone().load_record(module(ADVERSARY)?);
            let adam = players.adversary_adam.clone();
            players.adversary_adam = adam.load_record(optimizer(ADVERSARY_OPTIMIZER)?);
            if let Some(average) = self.average.take() {
                self.average = Some(average.load_record(module(AVERAGE)?));
            }
            players.usage = serde_json::from_slice(&fs::read(folder.join(USAGE))?)?;
            Ok(())
        };
        read().with_context(|| folder.display().to_string())
    }

    /// Writes pictures above what comes back of them; gives the PSNR in dB.
    pub(super) fn grid(&self) -> anyhow::Result<f64> {
        let vqgan = self.average.clone().unwrap_or_else(|| self.players.valid());
        let device = self.device.clone().without_autodiff();
        let px = self.shown[0].w();
        let mut grid = Picture::filled(px * self.shown.len(), 2 * px, [0; 3]);
        let mut sum = 0.0;
        for (column, picture) in self.shown.iter().enumerate() {
            let back = vqgan.decode(vqgan.encode(picture.to_tensor(&device)));
            let back = Picture::from_tensor(back).remove(0);
            sum += picture.psnr(&back);
            grid.paste(picture, px * column, 0);
            grid.paste(&back, px * column, px);
        }
        let folder = self.job.run.join("grids");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        grid.write(&folder.join(format!("{:09}.png", self.updates)))?;
        Ok(sum / self.shown.len() as f64)
    }

    /// Writes what tokenizes and decodes.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        let vqgan = self.average.clone().unwrap_or_else(|| self.players.valid());
        let header = Header {
            kind: Kind::Vqgan,
            licence: "that of the pictures it was trained on".into(),
            source: format!("trained on {}", self.job.config.data.display()),
            notes: None,
        };
        let folder = self.job.run.join("vqgan");
        checkpoint::save(
            &vqgan,
            &header,
            &self.job.config.vqgan,
            Precision::Half,
            &folder,
        )?;
        Ok(())
    }
}
