//! The command line of `nuwa-infer`: arguments, checks, progress, exit codes. Nothing below sees
//! clap.

/// Prints a line of a result. A reader that has gone, such as `head`, is no mistake, and no reason to stop.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout().lock(), $($text)*);
    }};
}

mod args;
mod captions;
mod events;
mod files;
mod fill;
mod film;
mod means;
mod measure;
mod outputs;
mod paint;
mod plan;
mod preview;
mod progress;
mod quality;

use std::ffi::OsString;
use std::io::Write;

use anyhow::Context;
use clap::FromArgMatches;
use nuwa_model::device;
use nuwa_model::render::{Decoding, Precision};

use self::args::{Cli, Command, Common};
use crate::model_run::ModelRun;
use crate::painting::PaintingError;
use crate::task::TaskError;

/// A request that cannot be right, whatever the machine: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misuse(String);

/// Runs the program on its arguments, the program's name first. Gives the exit code: 0 done, 1
/// failed, 2 misused. Causes go to standard error, one line each.
#[expect(clippy::print_stderr, reason = "this is the door of the program")]
pub fn run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> u8 {
    events::begin();
    let matches = Cli::shape().try_get_matches_from(args);
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors. If standard error is closed, so be it.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    let done = match cli.command {
        Command::Paint(args) => paint::paint(&args),
        Command::Outpaint(args) => paint::outpaint(&args),
        Command::Animate(args) => film::animate(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Decode(args) => files::decode(&args),
        Command::Edit(args) => files::edit(&args),
        Command::Info(args) => files::info(&args),
        Command::Reconstruct(args) => measure::reconstruct(&args),
        Command::Completions(args) => completions(args.shell),
        Command::CopyDistance(args) => measure::copy_distance(&args),
        Command::Captions(args) => captions::captions(&args),
    };
    device::settle();
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("nuwa-infer: {error:#}");
            if is_misuse(&error) { 2 } else { 1 }
        }
    }
}

/// Prints what a shell needs to complete the arguments.
fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::shape(), "nuwa-infer", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}

/// Tells whether no machine could have done what was asked for.
fn is_misuse(error: &anyhow::Error) -> bool {
    let of_painting = error.downcast_ref::<PaintingError>();
    error.is::<Misuse>()
        || error.is::<TaskError>()
        || of_painting.is_some_and(|error| matches!(error, PaintingError::Task(_)))
}

fn load(common: &Common) -> anyhow::Result<ModelRun> {
    let device = common.device.open()?;
    ModelRun::load(&common.model, &device)
        .with_context(|| format!("run {}", common.model.display()))
}

/// Loads a run whose renderer shall paint in a precision, and be of a kind if one is given.
fn load_to_paint(
    common: &Common,
    precision: Precision,
    renderer: Option<Decoding>,
) -> anyhow::Result<ModelRun> {
    let device = common.device.open()?;
    if !precision.runs_on(&device) {
        let device = device::description(&device);
        return Err(Misuse(format!(
            "--precision: {device} does not compute in {precision}"
        ))
        .into());
    }
    let run = load(common)?;
    let trained = run.renderer_config.decoding;
    if renderer.is_some_and(|asked| asked != trained) {
        let text = format!("the model was trained for {trained:?}, not for --renderer as asked");
        return Err(Misuse(text).into());
    }
    Ok(run)
}
