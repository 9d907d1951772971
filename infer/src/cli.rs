//! The command line of `nuwa-infer`: arguments, checks, progress, exit codes. Nothing below sees
//! clap.

mod args;

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use nuwa_data::Picture;
use nuwa_data::image::check_output;
use nuwa_model::device;
use nuwa_model::patch::Schedule;
use nuwa_model::render::sampling::{Choice, KeyedUniforms, Sampler};
use nuwa_model::render::{Decoding, Session, TokenGrid};

use self::args::{
    Brush, Cli, Command, Common, CopyDistanceArgs, OutpaintArgs, PaintArgs, ReconstructArgs,
};
use crate::canvas::{self, Known};
use crate::copy_distance::nearest_patches;
use crate::engine;
use crate::model_run::ModelRun;
use crate::task::{Layout, PointPx, SizePx, TaskError, TokenRect};

/// A request that cannot be right, whatever the machine: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misuse(String);

impl From<TaskError> for Misuse {
    fn from(error: TaskError) -> Self {
        Self(error.to_string())
    }
}

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
        Command::Paint(args) => paint(&args),
        Command::Outpaint(args) => outpaint(&args),
        Command::Reconstruct(args) => reconstruct(&args),
        Command::CopyDistance(args) => copy_distance(&args),
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("nuwa-infer: {error:#}");
            if error.is::<Misuse>() { 2 } else { 1 }
        }
    }
}

fn paint(args: &PaintArgs) -> anyhow::Result<()> {
    let Brush { size, out, .. } = &args.brush;
    size.check().map_err(Misuse::from)?;
    check_output(out, size.w, size.h)?;
    let run = load(&args.common, args.brush.renderer)?;
    let layout = Layout::paint(*size, &run.scale()).map_err(Misuse::from)?;
    fill(&run, &layout, None, &args.brush, &args.common)
}

fn outpaint(args: &OutpaintArgs) -> anyhow::Result<()> {
    let Brush { size, out, .. } = &args.brush;
    size.check().map_err(Misuse::from)?;
    check_output(out, size.w, size.h)?;
    let picture = Picture::read(&args.image)?;
    let own = SizePx {
        w: picture.w(),
        h: picture.h(),
    };
    let middle = |side: usize, own: usize| side.saturating_sub(own) / 2;
    let at = args.at.unwrap_or(PointPx {
        x: middle(size.w, own.w),
        y: middle(size.h, own.h),
    });
    let run = load(&args.common, args.brush.renderer)?;
    let layout = Layout::outpaint(*size, own, at, &run.scale()).map_err(Misuse::from)?;
    let known = Some(Known {
        picture: &picture,
        at,
    });
    fill(&run, &layout, known, &args.brush, &args.common)
}

#[expect(clippy::print_stdout, reason = "the measurement is the result")]
fn reconstruct(args: &ReconstructArgs) -> anyhow::Result<()> {
    let picture = Picture::read(&args.image)?;
    if let Some(out) = &args.out {
        check_output(out, picture.w(), picture.h())?;
    }
    let run = load(&args.common, None)?;
    let size = SizePx {
        w: picture.w(),
        h: picture.h(),
    };
    let layout = Layout::paint(size, &run.scale())?;
    let grid = layout.route.grid().tokens(run.renderer_config.patch);
    let mut tokens = TokenGrid::unknown(1, grid);
    let rect = TokenRect {
        top: 0,
        left: 0,
        h: grid.h,
        w: grid.w,
    };
    run.encode_into(&picture, rect, &mut tokens);
    let back = canvas::picture(&run, &tokens, &layout, None);
    let mut codes = tokens.codes().to_vec();
    codes.sort_unstable();
    codes.dedup();
    let (psnr, used, all) = (picture.psnr(&back), codes.len(), run.vqgan_config.n_codes);
    println!(
        "{}: {psnr:.2} dB PSNR, {used} of {all} codes in use",
        args.image.display()
    );
    if let Some(out) = &args.out {
        back.write(out)?;
        println!("{}", out.display());
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the measurement is the result")]
fn copy_distance(args: &CopyDistanceArgs) -> anyhow::Result<()> {
    let (painting, source) = (Picture::read(&args.image)?, Picture::read(&args.source)?);
    let mut found = nearest_patches(&painting, &source, args.patch as usize);
    found.sort_by(|a, b| a.rms.total_cmp(&b.rms));
    let (Some(least), Some(most)) = (found.first(), found.last()) else {
        let side = args.patch;
        anyhow::bail!("a picture is smaller than one patch of {side} × {side} px");
    };
    let median = found[found.len() / 2].rms;
    println!(
        "{} patches of {} px: nearest in {}, RMS in steps of 255: median {median:.1}, least {:.1} \
         (at {},{} from {},{}), most {:.1}",
        found.len(),
        args.patch,
        args.source.display(),
        least.rms,
        least.x,
        least.y,
        least.source_x,
        least.source_y,
        most.rms
    );
    Ok(())
}

fn load(common: &Common, renderer: Option<Decoding>) -> anyhow::Result<ModelRun> {
    let device = common.device.open()?;
    let run = ModelRun::load(&common.model, &device)
        .with_context(|| format!("run {}", common.model.display()))?;
    let trained = run.renderer_config.decoding;
    if renderer.is_some_and(|asked| asked != trained) {
        let text = format!("the model was trained for {trained:?}, not for --renderer as asked");
        return Err(Misuse(text).into());
    }
    Ok(run)
}

/// Paints what is unknown and writes the picture.
#[expect(clippy::print_stdout, reason = "the path is the result")]
#[expect(clippy::print_stderr, reason = "this is the log")]
fn fill(
    run: &ModelRun,
    layout: &Layout,
    known: Option<Known>,
    brush: &Brush,
    common: &Common,
) -> anyhow::Result<()> {
    let seed = brush.seed.unwrap_or_else(rand::random);
    if !common.quiet {
        let device = device::description(&common.device.open()?);
        eprintln!("{} on {device}, seed {seed}", layout.size);
    }
    let grid = layout.route.grid().tokens(run.renderer_config.patch);
    let mut tokens = TokenGrid::unknown(1, grid);
    if let (Some(known), Some(rect)) = (known, layout.known) {
        run.encode_into(known.picture, rect, &mut tokens);
    }
    let session = Session::new(&run.renderer, &run.renderer_config, None, 1);
    let choice = Choice::Drawn {
        top_k: brush.top_k as usize,
        temperature: brush.temperature,
    };
    let sampler = Sampler {
        choice,
        uniforms: KeyedUniforms { seeds: vec![seed] },
    };
    let schedule = Schedule::levels(&layout.route, brush.parallel as usize);
    let bar = bar(layout.route.steps().len(), common.quiet);
    let (start, per_patch) = (Instant::now(), run.renderer_config.tokens_per_patch());
    let (mut written, mut done) = (0, 0);
    engine::paint(
        &session,
        &layout.route,
        &schedule,
        &sampler,
        &mut tokens,
        |painted| {
            done += painted.steps.len();
            if painted.written {
                written += painted.steps.len() * per_patch;
            }
            bar.set_position(done as u64);
            let rate = written as f64 / start.elapsed().as_secs_f64();
            bar.set_message(format!("{rate:.0} tokens/s"));
            ControlFlow::Continue(())
        },
    );
    bar.finish_and_clear();
    let (painted, start) = (start.elapsed().as_secs_f64(), Instant::now());
    canvas::write(run, &tokens, layout, known, &brush.out)?;
    if !common.quiet {
        eprintln!(
            "{written} tokens in {painted:.1} s ({:.0} tokens/s), decoded and written in {:.1} s",
            written as f64 / painted,
            start.elapsed().as_secs_f64()
        );
    }
    println!("{}", brush.out.display());
    Ok(())
}

fn bar(n_patches: usize, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(n_patches as u64);
    let template = "[{bar:40}] patch {pos} of {len}, {msg}, {eta} left";
    bar.set_style(ProgressStyle::with_template(template).expect("a fixed template"));
    bar
}
