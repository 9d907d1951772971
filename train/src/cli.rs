//! The command line of `nuwa-train`: arguments, checks, exit codes. Nothing below sees clap.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use nuwa_data::Picture;
use nuwa_model::device::{self, DeviceChoice};
use nuwa_model::render::Decoding;

use crate::config::{self, ConfigArgs};
use crate::curve::{self, CurveArgs};
use crate::log::{Log, Screen};
use crate::one_shot::{self, Job, OneShotConfig, Outcome, Progress, Start, Watch};
use crate::overlay::overlay;
use crate::prepare::{self, PrepareArgs};
use crate::render::{self, RenderArgs};
use crate::run_folder::{CONFIG, stop_flag};
use crate::tokenize::{self, TokenizeArgs};
use crate::vqgan::pixel_guided::{self, PgVqganArgs};
use crate::vqgan::{self, VqganArgs};
use crate::weights::{self, WeightsArgs};

/// Train the networks of NUWA-Infinity.
#[derive(Debug, Parser)]
#[command(name = "nuwa-train", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Learn one picture: a small VQGAN and a small renderer.
    OneShot(OneShotArgs),
    /// Make a dataset: a list with captions of files that are all there.
    #[command(subcommand)]
    Prepare(PrepareArgs),
    /// Train the VQGAN on a dataset, or go on with a run.
    Vqgan(VqganArgs),
    /// Train the pixel-guided decoder of a VQGAN on clips, or go on with a run.
    PgVqgan(PgVqganArgs),
    /// Encode a dataset once and for all: tokens, and texts of captions.
    Tokenize(TokenizeArgs),
    /// Train the renderer on a token store, or go on with a run.
    Render(RenderArgs),
    /// Import, export and inspect weights.
    #[command(subcommand)]
    Weights(WeightsArgs),
    /// Print a preset's config, and what training it takes on a device.
    Config(ConfigArgs),
    /// Draw the loss of trainings over their updates, from their logs.
    Curve(CurveArgs),
}

#[derive(Debug, Args)]
struct OneShotArgs {
    /// The picture: PNG, JPEG, WebP or TIFF.
    picture: PathBuf,
    /// Folder of the run; it must not hold one yet.
    #[arg(long)]
    out: PathBuf,
    /// Wall time of the whole training, such as 90s, 20m or 1h30m.
    #[arg(long, default_value = "20m", value_parser = humantime::parse_duration)]
    budget: Duration,
    /// Go on from the networks and the config of this run instead of from nothing. When --set gives
    /// the renderer another architecture, only the VQGAN is taken over.
    #[arg(long, value_name = "RUN", conflicts_with = "renderer")]
    from: Option<PathBuf>,
    /// Where to compute: auto, cpu, wgpu[:N] or cuda[:N].
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// How the renderer decodes: ar, nar or pnar.
    #[arg(long, default_value = "ar")]
    renderer: Decoding,
    /// Seed of initial weights, crops and orders.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Change a number of the config, such as stage_two.batch=2; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Replace the run that the folder holds.
    #[arg(long)]
    force: bool,
    /// No progress bars.
    #[arg(long)]
    quiet: bool,
}

/// A request that cannot be right, whatever the machine: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// Runs the program on its arguments, the program's name first. Gives the exit code: 0 done, 1
/// failed, 2 misused. Causes go to standard error, one line each.
#[expect(clippy::print_stderr, reason = "this is the door of the program")]
pub fn run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors. If standard error is closed, so be it.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let done = match cli.command {
        Command::OneShot(args) => one_shot(args),
        Command::Prepare(args) => prepare::run(args),
        Command::Vqgan(args) => vqgan::command(args),
        Command::PgVqgan(args) => pixel_guided::command(args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Render(args) => render::command(args),
        Command::Weights(args) => weights::run(args),
        Command::Config(args) => config::run(&args),
        Command::Curve(args) => curve::run(&args),
    };
    device::settle();
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("nuwa-train: {error:#}");
            if error.is::<Misuse>() { 2 } else { 1 }
        }
    }
}

fn one_shot(args: OneShotArgs) -> anyhow::Result<()> {
    let defaults = OneShotConfig {
        seed: args.seed,
        ..match &args.from {
            Some(run) => OneShotConfig::of_run(run)?,
            None => OneShotConfig::new(args.renderer),
        }
    };
    let mut config = overlay(&defaults, &args.set).map_err(Misuse)?;
    if let Some(problem) = config.problem() {
        return Err(Misuse(problem).into());
    }
    if args.budget.is_zero() {
        return Err(Misuse("--budget must be longer than nothing".into()).into());
    }
    if config.stage_one_share == 0.0 && args.from.is_none() {
        let text = "stage_one_share=0 needs a VQGAN to start from: --from RUN";
        return Err(Misuse(text.into()).into());
    }
    let picture = Picture::read(&args.picture)?;
    fit_crops(&mut config, &picture).map_err(anyhow::Error::msg)?;
    if let Some(problem) = config.problem() {
        anyhow::bail!("{}: {problem}", args.picture.display());
    }
    claim(&args.out, args.force)?;
    let device = args.device.open()?;
    let start = match &args.from {
        Some(run) => Start::from_run(&config, run, &device)?,
        None => Start::fresh(&config, &device),
    };
    let stop = stop_flag();
    let mut screen = Screen::new(args.quiet, &device::description(&device));
    let name = args
        .picture
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut log = Log::open(&args.out, 0)?;
    let (mut unwritten, mut first) = (None, 0);
    let mut report = |progress: Progress| {
        show(&mut screen, &progress);
        // Updates of both stages in one row.
        if progress.stage == 1 {
            first = progress.steps;
        }
        let before = if progress.stage == 1 { 0 } else { first };
        let values = [
            ("stage", progress.stage as f64),
            ("loss", progress.loss),
            ("rate", progress.rate),
        ];
        let written = log.write((before + progress.steps) as u64, &values);
        unwritten = unwritten.take().or(written.err());
    };
    let watch = Watch {
        report: &mut report,
        stop: &stop,
    };
    let job = Job {
        config: &config,
        picture: &picture,
        source: &name,
        budget: args.budget,
        device: &device,
        out: &args.out,
    };
    let outcome =
        one_shot::run(&job, start, watch).with_context(|| format!("run {}", args.out.display()))?;
    screen.close();
    say!("{}", summary(&outcome, &args.out));
    if let Some(error) = unwritten {
        return Err(error.context("the weights are whole, the log is not"));
    }
    Ok(())
}

/// Takes smaller crops when the picture is small.
fn fit_crops(config: &mut OneShotConfig, picture: &Picture) -> Result<(), String> {
    let patch_px = config.render_crop_px() / config.stage_two.crop_patches;
    let side = picture.w().min(picture.h());
    if side < patch_px {
        return Err(format!(
            "the picture is {} × {} px; one-shot training needs at least {patch_px} × {patch_px}",
            picture.w(),
            picture.h()
        ));
    }
    let stride = config.vqgan.stride();
    config.stage_one.crop_px = config.stage_one.crop_px.min(side / stride * stride);
    config.stage_two.crop_patches = config.stage_two.crop_patches.min(side / patch_px);
    Ok(())
}

/// Makes sure the folder can take the run, before any work is done.
fn claim(out: &Path, force: bool) -> anyhow::Result<()> {
    if out.join(CONFIG).exists() && !force {
        anyhow::bail!("{} holds a run already; --force replaces it", out.display());
    }
    std::fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let probe = out.join(".probe");
    std::fs::write(&probe, b"").with_context(|| format!("write to {}", out.display()))?;
    std::fs::remove_file(&probe).with_context(|| format!("write to {}", out.display()))?;
    Ok(())
}

fn show(screen: &mut Screen, progress: &Progress) {
    let Progress {
        stage,
        steps,
        spent,
        elapsed,
        loss,
        rate,
        note,
    } = progress;
    let left = elapsed.as_secs_f64() * (1.0 / spent.max(1e-6) - 1.0).max(0.0);
    let left = humantime::format_duration(Duration::from_secs(left as u64));
    let line =
        format!("stage {stage} of 2, step {steps}, loss {loss:.4}, rate {rate:.1e}, {left} left");
    let line = match note.is_empty() {
        true => line,
        false => format!("{line}, {note}"),
    };
    screen.show(*spent, line);
}

fn summary(outcome: &Outcome, out: &Path) -> String {
    let Outcome {
        vqgan_steps,
        renderer_updates,
        codes_used,
        codes,
        perplexity,
        psnr_db,
        ..
    } = outcome;
    let ending = if outcome.stopped {
        "stopped early"
    } else {
        "done"
    };
    format!(
        "{}: {ending} after {:.0} s; stage one {vqgan_steps} steps, round trip {psnr_db:.1} dB, \
         {codes_used} of {codes} codes in use (perplexity {perplexity:.0}); stage two \
         {renderer_updates} updates",
        out.display(),
        outcome.seconds,
    )
}
