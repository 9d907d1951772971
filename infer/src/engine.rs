//! Algorithm 2 of \[P\]: paint a token grid along a route, patch after patch.

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
    assert_eq!(
        tokens.size(),
        route.grid().tokens(session.config().patch),
        "size of the grid"
    );
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
        let painted = Painted {
            steps: &wave.steps,
            known,
            done,
            pool: pool.len(),
            tokens,
        };
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

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use nuwa_model::patch::{Extent, GridSize, Order, PatchRect, TokenSize};
    use nuwa_model::render::sampling::{Choice, KeyedUniforms};
    use nuwa_model::render::{Decoding, Feed, RendererConfig, Transfer};
    use proptest::prelude::*;

    use super::*;

    const PATCH: TokenSize = TokenSize { f: 1, h: 2, w: 2 };

    fn session(decoding: Decoding, feed: Feed, extent: Extent) -> Session {
        let config = RendererConfig {
            decoding,
            d_model: 64,
            n_layers: 2,
            n_codes: 16,
            patch: PATCH,
            extent,
            feed,
            d_text: None,
            transfer: Transfer::Context,
        };
        let device = Device::flex();
        device.seed(1);
        Session::new(&config.init(&device), &config, None, 1)
    }

    fn tokens(session: &Session, route: &Route, schedule: &Schedule, seed: u64) -> Vec<i32> {
        let mut grid = TokenGrid::unknown(1, route.grid().tokens(PATCH));
        for step in route.steps().iter().filter(|step| step.known) {
            let tokens = [step.index.h, step.index.w, 3, 4].map(|code| code as i32);
            grid.paste(0, step.index, step.order, PATCH, &tokens);
        }
        let uniforms = KeyedUniforms { seeds: vec![seed] };
        let sampler = Sampler {
            choice: Choice::default(),
            uniforms,
        };
        let peak = paint(session, route, schedule, &sampler, &mut grid, |_| {
            ControlFlow::Continue(())
        });
        assert_eq!(peak, schedule.peak_pool());
        grid.codes().to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn any_schedule_of_the_levels_writes_the_tokens_of_the_serial_one(
            seed in any::<u64>(), max_batch in 2usize..9, h in 2usize..5, w in 2usize..6,
            e in 1usize..3, kind in 0usize..3, post in any::<bool>(), circle in any::<bool>(),
        ) {
            let decoding = [Decoding::Ar, Decoding::Nar, Decoding::Pnar][kind];
            let feed = if post { Feed::Post } else { Feed::Pre };
            let extent = Extent { w: e, h: e, f: 0 };
            let session = session(decoding, feed, extent);
            let grid = GridSize { f: 1, h, w };
            let route = if circle {
                let known = PatchRect { top: h / 2, left: w / 2, height: 1, width: 1 };
                Route::outpainting(grid, extent, known, Order::DownRight).expect("inside")
            } else {
                Route::full(grid, extent, Order::ALL[seed as usize % 4]).expect("not empty")
            };
            let serial = tokens(&session, &route, &Schedule::serial(&route), seed);
            let levels = tokens(&session, &route, &Schedule::levels(&route, max_batch), seed);
            prop_assert_eq!(serial, levels);
        }
    }

    #[test]
    fn a_report_may_stop_the_painting_after_any_wave() {
        let extent = Extent { w: 1, h: 1, f: 0 };
        let session = session(Decoding::Ar, Feed::Pre, extent);
        let route = Route::full(GridSize { f: 1, h: 2, w: 2 }, extent, Order::RightDown)
            .expect("not empty");
        let uniforms = KeyedUniforms { seeds: vec![9] };
        let sampler = Sampler {
            choice: Choice::Greedy,
            uniforms,
        };
        let mut grid = TokenGrid::unknown(1, route.grid().tokens(PATCH));
        let mut seen = Vec::new();
        paint(
            &session,
            &route,
            &Schedule::serial(&route),
            &sampler,
            &mut grid,
            |painted| {
                seen.push((painted.steps.to_vec(), painted.done));
                if painted.done == 2 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        assert_eq!(seen, [(vec![0], 1), (vec![1], 2)]);
        let unknown = grid
            .codes()
            .iter()
            .filter(|&&code| code == TokenGrid::UNKNOWN)
            .count();
        assert_eq!(unknown, 8);
    }
}
