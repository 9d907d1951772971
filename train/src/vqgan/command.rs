//! `nuwa-train vqgan`: a run begun, or gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use nuwa_data::DataError;
use nuwa_data::dataset::{Entry, Listing, is_prepared};
use nuwa_data::manifest::Split;
use nuwa_model::checkpoint;
use nuwa_model::device::{self, DeviceChoice};
use nuwa_model::preset::Size;
use nuwa_model::vqgan::{Vqgan, VqganConfig};

use super::config::VqganRunConfig;
use super::perceptual;
use super::run::{VqganJob, run as train};
use crate::cli::Misuse;
use crate::log::Screen;
use crate::overlay::lay;
use crate::run_folder::{CONFIG, stop_flag, write_config};
use crate::tokenize::{network_folder, vqgan_config};

/// Arguments of `vqgan`.
#[derive(Debug, Args)]
pub struct VqganArgs {
    /// Folder of the run. With no --data, the run it holds goes on from its newest checkpoint.
    run: PathBuf,
    /// Begin a run on this dataset: a folder that `prepare` has made, or a folder of pictures.
    #[arg(long, value_name = "DATA")]
    data: Option<PathBuf>,
    /// tiny, base or large.
    #[arg(long, default_value = "tiny", requires = "data")]
    size: Size,
    /// Begin with these weights, such as a released checkpoint that `weights import` has read; the
    /// architecture is theirs.
    #[arg(long, value_name = "DIR", requires = "data")]
    init_from: Option<PathBuf>,
    #[command(flatten)]
    lpips: LpipsArgs,
    /// TOML with what shall differ.
    #[arg(long, value_name = "FILE", requires = "data")]
    config: Option<PathBuf>,
    /// Change a number of the config, such as stage_one.batch=2; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "data")]
    set: Vec<String>,
    /// Where to compute: auto, cpu, wgpu[:N] or cuda[:N].
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// No progress.
    #[arg(long)]
    quiet: bool,
}

/// Where the weights of the perceptual distance are.
#[derive(Debug, Args)]
pub(super) struct LpipsArgs {
    /// Weights of the perceptual distance: a folder with torchvision's vgg16-397923af.pth and LPIPS
    /// 0.1's vgg.pth. Without it the loss has none.
    #[arg(long, value_name = "DIR", requires = "data")]
    lpips: Option<PathBuf>,
    /// Fetch what that folder lacks of them from their publishers (528 MiB).
    #[arg(long, requires = "lpips")]
    download: bool,
}

impl LpipsArgs {
    /// Gives the folder, with both files in it if they are to be fetched.
    pub(super) fn folder(&self) -> anyhow::Result<Option<PathBuf>> {
        let Some(folder) = &self.lpips else {
            return Ok(None);
        };
        if self.download {
            perceptual::download(folder)?;
        }
        if let Some(file) = perceptual::missing(folder) {
            anyhow::bail!("there is no {}; --download fetches it", file.display());
        }
        let found = fs::canonicalize(folder).with_context(|| folder.display().to_string())?;
        Ok(Some(found))
    }
}

/// Trains the VQGAN that the arguments ask for.
///
/// # Errors
/// When the arguments do not fit each other or the run that is there; when files cannot be read or
/// written; when a gradient is not finite.
pub fn run(args: VqganArgs) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let first = args
        .init_from
        .as_deref()
        .map(|from| network_folder(from, "vqgan"));
    let config = match &args.data {
        Some(data) => begin(&args, data, first.as_deref())?,
        None => VqganRunConfig::of_run(&args.run)?,
    };
    let entries = entries(&config.data)?;
    let first = match &first {
        Some(folder) => Some(checkpoint::load::<Vqgan>(folder, &device.clone().autodiff())?.0),
        None => None,
    };
    let job = VqganJob {
        seed: config.seed,
        stage: &config.stage_one,
        architecture: &config.vqgan,
        data: &config.data,
        lpips: config.lpips.as_deref(),
        run: &args.run,
        entries,
        frames: 1,
        first,
        device: &device,
        stop: stop_flag(),
        screen: Screen::new(args.quiet, &device::description(&device)),
    };
    let outcome = train::<Vqgan>(job).with_context(|| format!("run {}", args.run.display()))?;
    say!("{}", outcome.summary(&args.run, &config.stage_one));
    Ok(())
}

/// Lists what there is to train on.
pub(super) fn entries(data: &Path) -> Result<Vec<Entry>, DataError> {
    let split = is_prepared(data).then_some(Split::Train);
    Ok(Listing::read(data, split)?.entries)
}

/// Writes the config of a new run.
fn begin(args: &VqganArgs, data: &Path, first: Option<&Path>) -> anyhow::Result<VqganRunConfig> {
    let data = fs::canonicalize(data).with_context(|| data.display().to_string())?;
    let mut defaults = VqganRunConfig::new(args.size, &data);
    defaults.lpips = args.lpips.folder()?;
    let architecture: Option<VqganConfig> = first.map(vqgan_config).transpose()?;
    if let Some(architecture) = &architecture {
        defaults.vqgan = architecture.clone();
    }
    let config = lay(&defaults, args.config.as_deref(), &args.set).map_err(Misuse)?;
    if architecture.is_some_and(|architecture| architecture != config.vqgan) {
        return Err(Misuse("the architecture is that of --init-from".into()).into());
    }
    if let Some(problem) = config.problem() {
        return Err(Misuse(problem).into());
    }
    if args.run.join(CONFIG).exists() {
        let run = args.run.display();
        anyhow::bail!("{run} holds a run already; without --data it goes on");
    }
    write_config(&args.run, &config)?;
    Ok(config)
}
