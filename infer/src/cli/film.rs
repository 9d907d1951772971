//! Films: the task that begins with a picture, and what is said and refused before any is painted.

use super::args::AnimateArgs;
use super::outputs::{GivenFile, Outputs};
use super::paint::{Asked, perform, request};
use crate::model_run::ModelRun;
use crate::task::{PointPx, SizePx, TaskKind};

/// Makes a film that a picture begins.
pub(super) fn animate(args: &AnimateArgs) -> anyhow::Result<()> {
    perform(asked_to_animate(args)?, &args.brush, &args.common)
}

pub(super) fn asked_to_animate(args: &AnimateArgs) -> anyhow::Result<Asked> {
    let picture = GivenFile::read(&args.image)?;
    let (size, frames) = (SizePx::of(&picture.picture), args.frames as usize);
    let outputs = Outputs::check(&args.brush.out, size, frames)?;
    let mut request = request(TaskKind::Animate, size, &args.brush);
    request.frames = frames;
    request.at = Some(PointPx { x: 0, y: 0 });
    request.picture = Some(picture.hash.clone());
    request.picture_size = Some(size);
    Ok(Asked {
        request,
        picture: Some(picture),
        mask: None,
        outputs,
    })
}

/// Refuses films that the run cannot decode; says when it can only decode each frame on its own.
#[expect(clippy::print_stderr, reason = "this is the log")]
pub(super) fn check(
    run: &ModelRun,
    outputs: &Outputs,
    size: SizePx,
    frames: usize,
    quiet: bool,
) -> anyhow::Result<()> {
    if frames == 1 || outputs.pixels.is_empty() {
        return Ok(());
    }
    run.check_frame(size)?;
    if run.pg_vqgan.is_none() && !quiet {
        eprintln!("the run has no pg-vqgan: each frame is decoded on its own, and may flicker");
    }
    Ok(())
}
