//! `nuwa-train render`: a run begun, or gone on with.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use burn::tensor::Device;
use clap::Args;
use nuwa_data::store::TokenStore;
use nuwa_model::checkpoint;
use nuwa_model::device::{self, DeviceChoice};
use nuwa_model::preset::{Preset, Size};
use nuwa_model::vqgan::{PgVqgan, Vqgan};

use super::config::RenderRunConfig;
use super::first::First;
use super::run::{Ending, RenderJob, RenderOutcome};
use super::samples;
use super::team::Meeting;
use crate::cli::Misuse;
use crate::log::Screen;
use crate::run_folder::{CONFIG, copy_network, stop_flag, write_config};
use crate::tokenize::{network_folder, vqgan_config};

/// Arguments of `render`.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// Folder of the run. With no --tokens, the run it holds goes on from its newest checkpoint.
    run: PathBuf,
    /// Begin a run on this token store.
    #[arg(long, value_name = "STORE", requires = "vqgan")]
    tokens: Option<PathBuf>,
    /// A store of held-out records, such as `tokenize --split test` makes: their loss is logged at each
    /// checkpoint and says which one is the best.
    #[arg(long, value_name = "STORE", requires = "tokens")]
    valid: Option<PathBuf>,
    /// The VQGAN that made the tokens: its weights, or a run that holds it; copied into the run.
    #[arg(long, value_name = "DIR", requires = "tokens")]
    vqgan: Option<PathBuf>,
    /// The pixel-guided decoder of that VQGAN, for films: its weights, or a run that holds it; copied
    /// into the run.
    #[arg(long, value_name = "DIR", requires = "tokens")]
    pg_vqgan: Option<PathBuf>,
    /// CLIP's text tower, if the store has its states; copied into the run.
    #[arg(long, value_name = "DIR", requires = "tokens")]
    text: Option<PathBuf>,
    /// Column of the papers' table: uighd, t2ihd, iahd or t2vhd.
    #[arg(long, default_value = "uighd", requires = "tokens")]
    preset: Preset,
    /// tiny, base or large.
    #[arg(long, default_value = "tiny", requires = "tokens")]
    size: Size,
    /// Begin with the weights of this run, such as one on smaller pictures; the architecture is theirs,
    /// except how far it sees (renderer.extent).
    #[arg(long, value_name = "RUN", requires = "tokens")]
    init_from: Option<PathBuf>,
    /// TOML with what shall differ from the preset.
    #[arg(long, value_name = "FILE", requires = "tokens")]
    config: Option<PathBuf>,
    /// Change a number of the config, such as stage_two.batch=2; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "tokens")]
    set: Vec<String>,
    /// Where to compute: auto, cpu, wgpu[:N] or cuda[:N]; several, such as cuda:0,cuda:1, share every
    /// batch.
    #[arg(long, default_value = "auto", value_delimiter = ',')]
    device: Vec<DeviceChoice>,
    /// No progress.
    #[arg(long)]
    quiet: bool,
    /// Burn's terminal screen with curves instead of a progress bar; `q` there stops the training.
    #[arg(long, conflicts_with = "quiet")]
    tui: bool,
}

/// Trains the renderer that the arguments ask for.
///
/// # Errors
/// When the arguments do not fit each other, the store or the run that is there; when files cannot
/// be read or written; when a gradient is not finite.
pub fn run(args: RenderArgs) -> anyhow::Result<()> {
    if args.tui && !io::stdout().is_terminal() {
        return Err(Misuse("--tui needs a terminal".into()).into());
    }
    let devices = open(&args.device)?;
    let (config, store) = match (&args.tokens, &args.vqgan) {
        (Some(tokens), Some(vqgan)) => begin(&args, tokens, vqgan, &devices)?,
        _ => {
            let config = RenderRunConfig::of_run(&args.run)?;
            check_devices(&config, &args.device, &devices)?;
            let store = TokenStore::open(&config.tokens, &fingerprint(&args.run.join("vqgan"))?)?;
            (config, store)
        }
    };
    let (device, others) = devices;
    let paint = match config.stage_two.sample_every {
        0 => None,
        _ => {
            let stride = vqgan_config(&args.run.join("vqgan"))?.stride();
            let what = (&config, store.spec(), stride);
            let program = samples::painter()?;
            Some(samples::by_program(
                program,
                &args.run,
                what,
                &args.device[0],
            ))
        }
    };
    let valid = config.valid.as_deref();
    let valid = valid.map(|valid| held_out(valid, &store, &args.run.join("vqgan")));
    let job = RenderJob {
        config: &config,
        run: &args.run,
        valid: valid.transpose()?,
        store,
        device: &device,
        others,
        stop: stop_flag(),
        screen: Screen::new(args.quiet || args.tui, &device::description(&device)),
        tui: args.tui,
        paint,
    };
    let outcome = super::run::run(job).with_context(|| format!("run {}", args.run.display()))?;
    say!("{}", summary(&outcome, &config, &args.run));
    Ok(())
}

/// The first device, and others that work with it.
type Devices = (Device, (Vec<Device>, Meeting));

/// Opens the first device, and others that work with it.
fn open(choices: &[DeviceChoice]) -> anyhow::Result<Devices> {
    let mut devices = choices.iter().map(DeviceChoice::open);
    let first = devices.next().context("no device is named")??;
    let others = devices.collect::<Result<_, _>>()?;
    let is_cuda = |choice: &DeviceChoice| matches!(choice, DeviceChoice::Cuda(_));
    let meeting = match choices.iter().all(is_cuda) {
        true => Meeting::Collective,
        false => Meeting::AtTheFirst,
    };
    Ok((first, (others, meeting)))
}

/// Sees that there is something to do for each device, that it can be done there, and that no GPU waits
/// for itself.
fn check_devices(
    config: &RenderRunConfig,
    devices: &[DeviceChoice],
    (first, (others, _)): &Devices,
) -> Result<(), Misuse> {
    let (batch, n) = (config.stage_two.batch, devices.len());
    let precision = config.stage_two.precision;
    let mut opened = std::iter::once(first).chain(others);
    if let Some(device) = opened.find(|device| !precision.runs_on(device)) {
        let device = device::description(device);
        let text = format!("stage_two.precision: {device} does not compute in {precision}");
        return Err(Misuse(text));
    }
    if batch < n {
        let text = format!("stage_two.batch: {n} devices cannot share {batch} records");
        return Err(Misuse(text));
    }
    let earlier = |at: usize| &devices[..at];
    let mut all = devices.iter().enumerate();
    let twice =
        all.find(|(at, device)| **device != DeviceChoice::Cpu && earlier(*at).contains(device));
    match twice {
        Some((_, device)) => Err(Misuse(format!("device {device} is named twice"))),
        None => Ok(()),
    }
}

/// Writes a new run's config and what it takes from elsewhere.
fn begin(
    args: &RenderArgs,
    tokens: &Path,
    vqgan: &Path,
    devices: &Devices,
) -> anyhow::Result<(RenderRunConfig, TokenStore)> {
    let vqgan = network_folder(vqgan, "vqgan");
    let store = TokenStore::open(tokens, &fingerprint(&vqgan)?)?;
    let guided = args.pg_vqgan.as_deref();
    let guided = guided.map(|guided| fitting(guided, &vqgan)).transpose()?;
    let valid = args.valid.as_deref();
    if let Some(valid) = valid {
        held_out(valid, &store, &vqgan)?;
    }
    let valid = valid.map(fs::canonicalize).transpose()?;
    let tokens = fs::canonicalize(tokens).with_context(|| tokens.display().to_string())?;
    let (spec, n) = (store.spec(), store.n_records());
    anyhow::ensure!(n > 0, "{}: the store is empty", tokens.display());
    let first = args.init_from.as_deref().map(First::find).transpose()?;
    let adjust = |defaults: &mut RenderRunConfig| {
        defaults.valid.clone_from(&valid);
        if let Some(first) = &first {
            first.put_into(defaults);
        }
    };
    let (preset, told) = (
        (args.preset, args.size),
        (args.config.as_deref(), &*args.set),
    );
    let effective = RenderRunConfig::effective(preset, &tokens, (spec, n), adjust, told);
    let mut config = effective.map_err(Misuse)?;
    config.renderer.n_codes = vqgan_config(&vqgan)?.n_codes;
    if first.is_some_and(|first| !first.is_that_of(&config)) {
        return Err(Misuse("the architecture is that of --init-from".into()).into());
    }
    if let Some(problem) = config.problem(spec) {
        return Err(Misuse(problem).into());
    }
    if config.stage_two.patience > 0 && config.valid.is_none() {
        let text = "stage_two.patience: there are no held-out records (--valid)";
        return Err(Misuse(text.into()).into());
    }
    check_devices(&config, &args.device, devices)?;
    if config.stage_two.sample_every > 0 {
        samples::painter()?;
    }
    if args.run.join(CONFIG).exists() {
        anyhow::bail!(
            "{} holds a run already; without --tokens it goes on",
            args.run.display()
        );
    }
    copy_network(&vqgan, &args.run.join("vqgan"))?;
    if let Some(guided) = &guided {
        copy_network(guided, &args.run.join("pg-vqgan"))?;
    }
    if let Some(text) = &args.text {
        copy_network(&network_folder(text, "text"), &args.run.join("text"))?;
    }
    // The config comes last: a folder that has one is a run with all it needs.
    write_config(&args.run, &config)?;
    Ok((config, store))
}

/// Opens held-out records; they must be like those of the store.
fn held_out(valid: &Path, store: &TokenStore, vqgan: &Path) -> anyhow::Result<TokenStore> {
    let found = TokenStore::open(valid, &fingerprint(vqgan)?)?;
    let alike =
        (&found.spec().tokens, &found.spec().text) == (&store.spec().tokens, &store.spec().text);
    let valid = valid.display();
    anyhow::ensure!(
        alike,
        "{valid}: held-out records differ from the others in size or texts"
    );
    anyhow::ensure!(found.n_records() > 0, "{valid}: the store is empty");
    Ok(found)
}

fn fingerprint(vqgan: &Path) -> anyhow::Result<String> {
    let (vqgan, _, _) = checkpoint::load::<Vqgan>(vqgan, &DeviceChoice::Cpu.open()?)?;
    Ok(checkpoint::fingerprint(&vqgan))
}

/// Finds a pixel-guided decoder, and checks that it decodes the VQGAN's tokens.
fn fitting(guided: &Path, vqgan: &Path) -> anyhow::Result<PathBuf> {
    let (folder, device) = (
        network_folder(guided, "pg-vqgan"),
        DeviceChoice::Cpu.open()?,
    );
    let (guided, config, _) = checkpoint::load::<PgVqgan>(&folder, &device)?;
    let (vqgan, vqgan_config, _) = checkpoint::load::<Vqgan>(vqgan, &device)?;
    let fits = guided.check_fits(&config, &vqgan, &vqgan_config);
    fits.with_context(|| format!("{} is not for this VQGAN", folder.display()))?;
    Ok(folder)
}

fn summary(outcome: &RenderOutcome, config: &RenderRunConfig, run: &Path) -> String {
    let RenderOutcome {
        updates,
        loss,
        seconds,
        waited,
        ending,
    } = outcome;
    let ending = match ending {
        Ending::Done => "done".into(),
        Ending::Stopped => "stopped; the same command without --tokens goes on".into(),
        Ending::NoBetter { best } => {
            format!("held-out loss no longer falls; best weights, of update {best}, are kept; done")
        }
    };
    let loss = loss.map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    format!(
        "{}: {ending} after {updates} of {} updates{loss}, {seconds:.0} s ({:.1} % waiting for data)",
        run.display(),
        config.stage_two.updates,
        100.0 * waited
    )
}
