//! Painting what is open, watched.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use nuwa_model::device;
use nuwa_model::render::PoolKind;

use super::args::{Common, Means};
use super::events;
use super::preview::Preview;
use super::progress::Watch;
use crate::canvas::Development;
use crate::model_run::ModelRun;
use crate::painting::{self, Painting};
use crate::plan::Plan;
use crate::token_file::Damage;

/// Paints what is open, and develops it meanwhile.
#[expect(clippy::print_stderr, reason = "this is the log")]
pub(super) fn fill(
    run: &ModelRun,
    paintings: &mut [Painting],
    developments: &mut [Option<Development>],
    files: &[&Path],
    (plan, means): (&Plan, &Means),
    common: &Common,
) -> anyhow::Result<()> {
    for painting in paintings.iter() {
        events::say_start(painting, common)?;
    }
    if !common.is_quiet() {
        let device = device::description(&common.device.open()?);
        for painting in paintings.iter() {
            eprintln!("{}", about(painting, plan, &device));
        }
    }
    let shows = means.preview && !common.json;
    let preview = shows.then(|| Preview::new(run)).flatten();
    let mut watch = Watch::start(paintings, common, preview);
    let way = plan.way();
    let mut failed = None;
    let refusal = painting::fill(run, paintings, &way, |progress| {
        let started = Instant::now();
        let pictures = progress
            .tokens
            .codes()
            .chunks(progress.tokens.size().count());
        let mut wanted = developments.iter_mut().zip(pictures);
        let developed = wanted.try_for_each(|(development, codes)| match development {
            Some(development) => development.advance(codes),
            None => Ok(()),
        });
        if let Err(error) = developed {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        watch.set_aside(started.elapsed());
        watch.see(&progress)
    })?;
    let (written, seconds) = watch.finish();
    if let Some(error) = failed {
        return Err(error.into());
    }
    let open: usize = paintings.iter().map(Painting::n_open).sum();
    if open > 0 {
        let left = format!("stopped with {open} patches to go");
        match files.first() {
            Some(file) => anyhow::bail!("{left}; the same command goes on with {}", file.display()),
            None => anyhow::bail!("{left}; nothing is kept without --out FILE.nuwa"),
        }
    }
    if !common.is_quiet() && written > 0 {
        let rate = written as f64 / seconds;
        eprintln!("{written} tokens in {seconds:.1} s ({rate:.0} tokens/s)");
        if let Some(refusal) = refusal {
            let refusal = refusal.lines().next().unwrap_or_default();
            eprintln!("every kernel was launched, because the device replays none: {refusal}");
        }
    }
    Ok(())
}

/// Says what is going to be painted, and what was found of it.
fn about(painting: &Painting, plan: &Plan, device: &str) -> String {
    let request = &painting.header.request;
    let (size, seed, route) = (request.size, request.seed, request.route);
    let size = match request.frames {
        1 => size.to_string(),
        frames => format!("{frames} frames of {size}"),
    };
    let mut text = format!(
        "{size} on {device}, seed {seed}, route {route}, up to {} patches at once",
        plan.parallel
    );
    if plan.pool == PoolKind::States {
        text += ", pool of states";
    }
    if painting.n_found > 0 || painting.damage.is_some() {
        let damage = match painting.damage {
            None => "",
            Some(Damage::Cut) => "; the patch in flight was lost",
            Some(Damage::Changed) => "; the next is damaged, it and what follows are painted again",
        };
        text += &format!("\n{} patches were painted before{damage}", painting.n_found);
    }
    text
}
