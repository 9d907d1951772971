//! `nuwa-train pg-vqgan`: a run begun, or gone on with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use nuwa_data::dataset::Entry;
use nuwa_model::checkpoint::{self, Kind};
use nuwa_model::device::{self, DeviceChoice};
use nuwa_model::preset::Size;
use nuwa_model::vqgan::Vqgan;

use super::{Guided, PgVqganRunConfig};
use crate::cli::Misuse;
use crate::log::Screen;
use crate::overlay::lay;
use crate::run_folder::{CONFIG, copy_network, stop_flag, write_config};
use crate::tokenize::{network_folder, vqgan_config};
use crate::vqgan::command::{LpipsArgs, entries};
use crate::vqgan::run::{VqganJob, run as train};
use crate::vqgan::source::clips;

/// Arguments of `pg-vqgan`.
#[derive(Debug, Args)]
pub struct PgVqganArgs {
    /// Folder of the run. With no --data, the run it holds goes on from its newest checkpoint.
    run: PathBuf,
    /// Begin a run on the clips of this dataset: a folder that `prepare` has made, or a folder of
    /// PNGs that move.
    #[arg(long, value_name = "DATA", requires = "vqgan")]
    data: Option<PathBuf>,
    /// The VQGAN whose tokens shall be decoded: its weights, or a run that holds it; copied into the
    /// run.
    #[arg(long, value_name = "DIR", requires = "data")]
    vqgan: Option<PathBuf>,
    /// tiny, base or large.
    #[arg(long, default_value = "tiny", requires = "data")]
    size: Size,
    #[command(flatten)]
    lpips: LpipsArgs,
    /// TOML with what shall differ.
    #[arg(long, value_name = "FILE", requires = "data")]
    config: Option<PathBuf>,
    /// Change a number of the config, such as pixel_guided.batch=2; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "data")]
    set: Vec<String>,
    /// Where to compute: auto, cpu, wgpu[:N] or cuda[:N].
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// No progress.
    #[arg(long)]
    quiet: bool,
}

/// Trains the pixel-guided decoder that the arguments ask for.
///
/// # Errors
/// When the arguments do not fit each other, the VQGAN or the run that is there; when there are no
/// clips; when files cannot be read or written; when a gradient is not finite.
pub fn run(args: PgVqganArgs) -> anyhow::Result<()> {
    let device = args.device.open()?;
    let (config, entries) = match (&args.data, &args.vqgan) {
        (Some(data), Some(vqgan)) => begin(&args, data, vqgan)?,
        _ => {
            let config = PgVqganRunConfig::of_run(&args.run)?;
            let entries = long_enough(&config)?;
            (config, entries)
        }
    };
    let vqgan = args.run.join(Kind::Vqgan.name());
    let (vqgan, architecture, _) = checkpoint::load::<Vqgan>(&vqgan, &device.clone().autodiff())?;
    let job = VqganJob {
        seed: config.seed,
        stage: &config.pixel_guided,
        architecture: &architecture,
        data: &config.data,
        lpips: config.lpips.as_deref(),
        run: &args.run,
        entries,
        frames: config.frames(),
        first: Some(vqgan),
        device: &device,
        stop: stop_flag(),
        screen: Screen::new(args.quiet, &device::description(&device)),
    };
    let outcome = train::<Guided>(job).with_context(|| format!("run {}", args.run.display()))?;
    say!("{}", outcome.summary(&args.run, &config.pixel_guided));
    Ok(())
}

/// Writes a new run's config and the VQGAN it takes from elsewhere.
fn begin(
    args: &PgVqganArgs,
    data: &Path,
    vqgan: &Path,
) -> anyhow::Result<(PgVqganRunConfig, Vec<Entry>)> {
    let data = fs::canonicalize(data).with_context(|| data.display().to_string())?;
    let vqgan = network_folder(vqgan, Kind::Vqgan.name());
    let stride = vqgan_config(&vqgan)?.stride();
    let mut defaults = PgVqganRunConfig::new(args.size, &data);
    defaults.lpips = args.lpips.folder()?;
    let config = lay(&defaults, args.config.as_deref(), &args.set).map_err(Misuse)?;
    if let Some(problem) = config.problem(stride) {
        return Err(Misuse(problem).into());
    }
    if args.run.join(CONFIG).exists() {
        let run = args.run.display();
        anyhow::bail!("{run} holds a run already; without --data it goes on");
    }
    let entries = long_enough(&config)?;
    copy_network(&vqgan, &args.run.join(Kind::Vqgan.name()))?;
    // The config comes last: a folder that has one is a run with all it needs.
    write_config(&args.run, &config)?;
    Ok((config, entries))
}

/// Lists the clips of enough frames for a sample.
fn long_enough(config: &PgVqganRunConfig) -> anyhow::Result<Vec<Entry>> {
    let frames = config.frames();
    let clips = clips(entries(&config.data)?, frames)?;
    let data = config.data.display();
    anyhow::ensure!(
        !clips.is_empty(),
        "{data} holds no clip of {frames} frames, which own_frames={} needs",
        config.own_frames
    );
    Ok(clips)
}
