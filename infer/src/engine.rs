//! Algorithm 2 of [P]: paint a token grid along a route, patch after patch.

use std::ops::ControlFlow;

use nuwa_model::patch::{Route, Schedule, Wave};
use nuwa_model::render::sampling::{Sampler, Uniforms};
use nuwa_model::render::{Ncp, PatchJob, Session, TokenGrid};

/// What has been painted so far, after each wave.
#[derive(Debug)]
pub struct Painted<'a> {
    /// Positions of the patches just finished.
    pub steps: &'a [usize],
    /// Whether they were given from outside.
    pub known: bool,
    /// Patches finished in all.
    pub done: usize,
    /// Caches held by the pool.
    pub pool: usize,
    /// The tokens so far.
    pub tokens: &'a TokenGrid,
}

/// Fills the unknown tokens of the grid; tokens that are known stay, and patches that the route
/// knows only feed the pool.
///
/// Each wave: select the contexts, write the patches as one batch, add their caches, remove those
/// that no later wave selects. `report` sees every finished wave and may stop the painting.
///
/// Gives the most caches the pool held.
///
/// # Panics
/// When the schedule is not one of the route, the grid does not match the session or the route, or
/// a token of a known patch is unknown.
pub fn paint<U: Uniforms>(
    session: &Session,
    route: &Route,
    schedule: &Schedule,
    sampler: &Sampler<U>,
    tokens: &mut TokenGrid,
    mut report: impl FnMut(Painted) -> ControlFlow<()>,
) -> usize {
    assert_eq!(tokens.batch(), session.batch(), "pictures painted at once");
    assert_eq!(tokens.size(), route.grid().tokens(session.config().patch), "size of the grid");
    let mut pool = Ncp::default();
    let mut done = 0;
    for wave in schedule.waves() {
        let known = route.steps()[wave.steps[0]].known;
        let caches = {
            let job = |position: &usize| {
                let step = &route.steps()[*position];
                let given = tokens.cut(step.index, step.order, session.config().patch);
                PatchJob::new(step, pool.select(step), given)
            };
            let jobs: Vec<PatchJob> = wave.steps.iter().map(job).collect();
            if known {
                session.precache(&jobs)
            } else {
                let (written, caches) = session.write(&jobs, sampler);
                paste(wave, route, session, tokens, &written);
                caches
            }
        };
        for (position, cache) in wave.steps.iter().zip(caches) {
            pool.add(*position, cache);
        }
        pool.remove_wave(wave);
        done += wave.steps.len();
        let painted = Painted { steps: &wave.steps, known, done, pool: pool.len(), tokens };
        if report(painted).is_break() {
            break;
        }
    }
    pool.peak()
}

fn paste(
    wave: &Wave,
    route: &Route,
    session: &Session,
    tokens: &mut TokenGrid,
    written: &[Vec<i32>],
) {
    let config = session.config();
    for (position, written) in wave.steps.iter().zip(written) {
        let step = &route.steps()[*position];
        for (picture, written) in written.chunks(config.tokens_per_patch()).enumerate() {
            tokens.paste(picture, step.index, step.order, config.patch, written);
        }
    }
}
