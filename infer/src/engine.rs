//! Algorithm 2 of \[P\]: paint a token grid along a route, patch after patch.

use std::ops::ControlFlow;

use nuwa_model::patch::{Route, Schedule, Wave};
use nuwa_model::render::sampling::{Sampler, Uniforms};
use nuwa_model::render::{Ncp, PatchJob, RendererConfig, Session, TokenGrid, Transfer};

/// What has been painted so far, after each wave.
#[derive(Debug)]
pub struct Painted<'a> {
    /// Positions of the patches of the wave.
    pub steps: &'a [usize],
    /// Whether the wave was written; otherwise its tokens were there and only fed the pool.
    pub written: bool,
    /// Caches held by the pool.
    pub pool: usize,
    /// The tokens so far.
    pub tokens: &'a TokenGrid,
}

/// Fills the unknown tokens of the grid; tokens that are known stay.
///
/// Each wave: select the contexts, write the patches as one batch, add their caches, remove those
/// that no later wave selects. A wave whose tokens are all there only feeds the pool, and is left
/// out when nothing that is still to be written depends on it. So a painting that was interrupted
/// goes on where it was, with the same tokens to come. `report` sees every wave and may stop the
/// painting.
///
/// Gives the most caches the pool held.
///
/// # Panics
/// When the schedule is not one of the route, or the grid does not match the session or the route.
pub fn paint<U: Uniforms>(
    session: &Session,
    route: &Route,
    schedule: &Schedule,
    sampler: &Sampler<U>,
    tokens: &mut TokenGrid,
    mut report: impl FnMut(Painted) -> ControlFlow<()>,
) -> usize {
    let patch = session.config().patch;
    assert_eq!(
        tokens.batch(),
        session.pictures(),
        "pictures painted at once"
    );
    assert_eq!(
        tokens.size(),
        route.grid().tokens(patch),
        "size of the grid"
    );
    let depths = depths(session.config(), route, tokens);
    let mut pool = Ncp::default();
    let blank = session.blank();
    for wave in schedule.waves() {
        if wave.steps.iter().all(|&position| depths[position] == 0) {
            continue;
        }
        let job = |position: &usize| {
            let step = &route.steps()[*position];
            let given = tokens.cut(step.index, step.order, patch);
            PatchJob::new(step, pool.select_or(step, &blank), given)
        };
        let jobs: Vec<PatchJob> = wave.steps.iter().map(job).collect();
        let written = jobs.iter().any(PatchJob::is_open);
        let caches = match written {
            false => session.precache(&jobs),
            true => {
                let wrote = session.write(&jobs, sampler);
                paste(wave, route, session, tokens, &wrote.tokens);
                wrote.caches
            }
        };
        for (position, cache) in wave.steps.iter().zip(caches) {
            pool.add(*position, cache);
        }
        let painted = Painted {
            steps: &wave.steps,
            written,
            pool: pool.len(),
            tokens,
        };
        if report(painted).is_break() {
            break;
        }
        pool.remove_wave(wave);
    }
    pool.peak()
}

/// Gives for each step how many of its layers matter to what is still to be written: all of them
/// for what a patch to be written sees, one less for what that one saw, and so on, because a
/// layer's input depends on the context's layers below. A step that is to be written itself has at
/// least one.
fn depths(config: &RendererConfig, route: &Route, tokens: &TokenGrid) -> Vec<usize> {
    let mut depths = vec![0usize; route.steps().len()];
    for (position, step) in route.steps().iter().enumerate().rev() {
        let codes = tokens.cut(step.index, step.order, config.patch);
        let seen = if codes.contains(&TokenGrid::UNKNOWN) {
            depths[position] = depths[position].max(1);
            config.n_layers
        } else {
            match config.transfer {
                Transfer::Context => depths[position].saturating_sub(1),
                Transfer::Alone => 0,
            }
        };
        for entry in &step.context {
            depths[entry.position] = depths[entry.position].max(seen);
        }
    }
    depths
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
    use nuwa_model::render::{Decoding, Feed, PoolKind};
    use proptest::prelude::*;

    use super::*;

    const PATCH: TokenSize = TokenSize { f: 1, h: 2, w: 2 };

    fn session(decoding: Decoding, feed: Feed, extent: Extent) -> Session {
        session_of(decoding, feed, extent, Transfer::Context)
    }

    fn session_of(decoding: Decoding, feed: Feed, extent: Extent, transfer: Transfer) -> Session {
        let config = RendererConfig {
            decoding,
            d_model: 64,
            n_layers: 2,
            n_codes: 16,
            patch: PATCH,
            extent,
            feed,
            d_text: None,
            transfer,
        };
        let device = Device::flex();
        device.seed(1);
        Session::new(&config.init(&device), &config, None, None, 1)
    }

    fn tokens(session: &Session, route: &Route, schedule: &Schedule, seed: u64) -> Vec<i32> {
        let mut grid = TokenGrid::unknown(1, route.grid().tokens(PATCH));
        for step in route.steps().iter().filter(|step| step.known) {
            let tokens = [step.index.h, step.index.w, 3, 4].map(|code| code as i32);
            grid.paste(0, step.index, step.order, PATCH, &tokens);
        }
        let uniforms = KeyedUniforms { seeds: vec![seed] };
        let sampler = Sampler::new(Choice::default(), uniforms);
        let peak = paint(session, route, schedule, &sampler, &mut grid, |_| {
            ControlFlow::Continue(())
        });
        assert_eq!(peak, schedule.peak_pool());
        grid.codes().to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn any_schedule_and_any_pool_writes_the_tokens_of_the_serial_one(
            seed in any::<u64>(), max_batch in 2usize..9, h in 2usize..5, w in 2usize..6,
            e in 1usize..3, kind in 0usize..3, post in any::<bool>(), circle in any::<bool>(),
            states in any::<bool>(),
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
            let pool = if states { PoolKind::States } else { PoolKind::KeyValues };
            let session = session.with_pool(pool);
            let levels = tokens(&session, &route, &Schedule::levels(&route, max_batch), seed);
            prop_assert_eq!(serial, levels);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn a_painting_goes_on_after_any_wave_as_if_it_had_never_stopped(
            seed in any::<u64>(), max_batch in 1usize..5, h in 1usize..4, w in 2usize..9,
            kind in 0usize..3, alone in any::<bool>(), stop in 0usize..30,
        ) {
            let decoding = [Decoding::Ar, Decoding::Nar, Decoding::Pnar][kind];
            let extent = Extent { w: 1, h: 1, f: 0 };
            let mut session = session(decoding, Feed::Pre, extent);
            if alone {
                session = session_of(decoding, Feed::Pre, extent, Transfer::Alone);
            }
            let route = Route::full(GridSize { f: 1, h, w }, extent, Order::DownRight);
            let route = route.expect("not empty");
            let schedule = Schedule::levels(&route, max_batch);
            let sampler = Sampler::new(Choice::default(), KeyedUniforms { seeds: vec![seed] });
            let run = |tokens: &mut TokenGrid, stop: usize| {
                let mut waves = 0;
                paint(&session, &route, &schedule, &sampler, tokens, |painted| {
                    waves += usize::from(painted.written);
                    if waves == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                waves
            };
            let size = route.grid().tokens(PATCH);
            let mut whole = TokenGrid::unknown(1, size);
            let all = run(&mut whole, usize::MAX);
            let mut parts = TokenGrid::unknown(1, size);
            let first = run(&mut parts, 1 + stop % all);
            let second = run(&mut parts, usize::MAX);
            prop_assert_eq!(first + second, all);
            prop_assert_eq!(parts, whole);
        }
    }

    #[test]
    fn only_what_the_rest_depends_on_is_read_again() {
        let extent = Extent { w: 1, h: 1, f: 0 };
        let session = session(Decoding::Ar, Feed::Pre, extent);
        let route = Route::full(GridSize { f: 1, h: 2, w: 50 }, extent, Order::DownRight)
            .expect("not empty");
        let mut tokens = TokenGrid::new(1, route.grid().tokens(PATCH), vec![5; 400]);
        let last = &route.steps()[99];
        tokens.paste(0, last.index, last.order, PATCH, &[TokenGrid::UNKNOWN; 4]);
        let sampler = Sampler::new(Choice::Greedy, KeyedUniforms { seeds: vec![9] });
        let mut seen = Vec::new();
        paint(
            &session,
            &route,
            &Schedule::serial(&route),
            &sampler,
            &mut tokens,
            |painted| {
                seen.push(painted.steps[0]);
                ControlFlow::Continue(())
            },
        );
        // Two layers reach two columns back.
        assert_eq!(seen, [94, 95, 96, 97, 98, 99]);
    }

    #[test]
    fn a_report_may_stop_the_painting_after_any_wave() {
        let extent = Extent { w: 1, h: 1, f: 0 };
        let session = session(Decoding::Ar, Feed::Pre, extent);
        let route = Route::full(GridSize { f: 1, h: 2, w: 2 }, extent, Order::RightDown)
            .expect("not empty");
        let uniforms = KeyedUniforms { seeds: vec![9] };
        let sampler = Sampler::new(Choice::Greedy, uniforms);
        let mut grid = TokenGrid::unknown(1, route.grid().tokens(PATCH));
        let mut seen = Vec::new();
        paint(
            &session,
            &route,
            &Schedule::serial(&route),
            &sampler,
            &mut grid,
            |painted| {
                seen.push(painted.steps.to_vec());
                if seen.len() == 2 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        );
        assert_eq!(seen, [[0], [1]]);
        let unknown = grid
            .codes()
            .iter()
            .filter(|&&code| code == TokenGrid::UNKNOWN)
            .count();
        assert_eq!(unknown, 8);
    }
}
