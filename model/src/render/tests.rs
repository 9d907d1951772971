//! Equivalences inside the renderer: what must agree, whichever way it is computed.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::sampling::{Choice, Draw, KeyedUniforms, Sampler, Uncover, Uniforms, Unmasking};
use super::*;
use crate::patch::{Extent, GridSize, Order, PatchRect, Route, TokenSize};

mod caches;
#[cfg(all(feature = "flex", any(feature = "wgpu", feature = "cuda")))]
mod gpu;
mod half;

const PATCH: TokenSize = TokenSize { f: 1, h: 2, w: 3 };
const EXTENT: Extent = Extent { w: 1, h: 2, f: 0 };

fn config(decoding: Decoding, feed: Feed, d_text: Option<usize>) -> RendererConfig {
    RendererConfig {
        decoding,
        d_model: 128,
        n_layers: 2,
        n_codes: 24,
        patch: PATCH,
        extent: EXTENT,
        feed,
        d_text,
        transfer: Transfer::Context,
    }
}

/// Replaces every weight by one drawn around its usual size, so that no part is silent.
struct Scramble {
    drawn: usize,
}

impl ModuleMapper for Scramble {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.drawn += 1;
        let draw = Draw {
            picture: 0,
            index: crate::patch::PatchIndex { f: 0, h: 0, w: 0 },
            token: self.drawn,
            turn: 0,
        };
        param.map(|old| {
            let shape = old.dims();
            let mut u = vec![0.0; shape.iter().product()];
            KeyedUniforms { seeds: vec![11] }.fill(draw, &mut u);
            let scale = if D == 2 {
                2.0 / (shape[0] as f64).sqrt()
            } else {
                0.4
            };
            let center = if D == 1 && old.clone().mean().into_scalar::<f32>() == 1.0 {
                1.0
            } else {
                0.0
            };
            let values: Vec<f32> = u
                .iter()
                .map(|u| (center + scale * (u - 0.5) * 2.0) as f32)
                .collect();
            Tensor::from_data(TensorData::new(values, shape), &old.device())
        })
    }
}

fn renderer(config: &RendererConfig) -> Renderer {
    config.init(&Device::flex()).map(&mut Scramble { drawn: 0 })
}

fn circle() -> Route {
    let known = PatchRect {
        top: 1,
        left: 1,
        height: 1,
        width: 2,
    };
    Route::outpainting(
        GridSize { f: 1, h: 3, w: 4 },
        EXTENT,
        known,
        Order::RightDown,
    )
    .expect("inside")
}

/// A grid of which the known patches of the route are filled.
fn start(route: &Route, batch: usize) -> TokenGrid {
    let mut grid = TokenGrid::unknown(batch, route.grid().tokens(PATCH));
    for step in route.steps().iter().filter(|step| step.known) {
        for picture in 0..batch {
            let tokens: Vec<i32> = (0..6).map(|t| (t * 5 + step.index.w as i32) % 24).collect();
            grid.paste(picture, step.index, step.order, PATCH, &tokens);
        }
    }
    grid
}

fn paint(
    session: &Session,
    route: &Route,
    seeds: &[u64],
    grid: &mut TokenGrid,
) -> Vec<PatchMemory> {
    let seeds = seeds.to_vec();
    let sampler = Sampler::new(Choice::default(), KeyedUniforms { seeds });
    paint_by(&sampler, session, route, grid)
}

fn paint_by(
    sampler: &Sampler<KeyedUniforms>,
    session: &Session,
    route: &Route,
    grid: &mut TokenGrid,
) -> Vec<PatchMemory> {
    let mut pool: Ncp<PatchMemory> = Ncp::default();
    let mut all = Vec::new();
    for (position, step) in route.steps().iter().enumerate() {
        let given = grid.cut(step.index, step.order, PATCH);
        let jobs = [PatchJob::new(step, pool.select(step), given)];
        let cache = if step.known {
            session.precache(&jobs).remove(0)
        } else {
            let mut written = session.write(&jobs, sampler);
            let tokens = written.tokens.remove(0);
            for (picture, tokens) in tokens.chunks(6).enumerate() {
                grid.paste(picture, step.index, step.order, PATCH, tokens);
            }
            written.caches.remove(0)
        };
        all.push(cache.clone());
        pool.add(position, cache);
        pool.remove(step);
    }
    assert!(pool.is_empty());
    all
}

fn text(config: &RendererConfig, batch: usize) -> Option<Tensor<3>> {
    let d = config.d_text?;
    let values = (0..batch * 4 * d)
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    Some(Tensor::from_data(
        TensorData::new(values, [batch, 4, d]),
        &Device::flex(),
    ))
}

/// Every kind of renderer that differs in how caches are made or seen.
fn kinds() -> Vec<RendererConfig> {
    let mut all = vec![
        config(Decoding::Ar, Feed::Pre, None),
        config(Decoding::Ar, Feed::Post, Some(8)),
        config(Decoding::Nar, Feed::Pre, Some(8)),
        config(Decoding::Pnar, Feed::Post, None),
    ];
    let alone = |base: RendererConfig| RendererConfig {
        transfer: Transfer::Alone,
        ..base
    };
    all.push(alone(config(Decoding::Ar, Feed::Pre, None)));
    all.push(alone(config(Decoding::Nar, Feed::Pre, None)));
    // One head, whose table no shape tells from one for all heads, and a layer that sees what the
    // one before it looked at.
    all.push(RendererConfig {
        d_model: 64,
        n_layers: 3,
        ..config(Decoding::Ar, Feed::Post, None)
    });
    all
}

/// Where tokens are drawn on the device, they are those that the host draws, the given ones among them.
#[test]
fn a_device_that_is_not_waited_for_writes_the_same_tokens() {
    for decoding in [Decoding::Nar, Decoding::Pnar] {
        for (d_text, smoothing) in [(None, 0.0), (Some(8), 0.1)] {
            let config = config(decoding, Feed::Pre, d_text);
            let renderer = renderer(&config);
            let texts = text(&config, 3);
            let part = |from, n| texts.clone().map(|text| text.narrow(0, from, n));
            let guidance = part(2, 1).map(|negative| Guidance {
                negative,
                scale: 1.7,
            });
            let prompt = part(0, 2).map(Prompt::Same);
            let mut session = Session::new(&renderer, &config, prompt, guidance, 2);
            assert!(session.draws_here);
            for (choice, first) in [
                (Choice::default(), Uncover::Surest),
                (Choice::default(), Uncover::Spread),
                (Choice::Greedy, Uncover::Surest),
            ] {
                let seeds = vec![5, 6];
                let mut sampler = Sampler::new(choice, KeyedUniforms { seeds });
                sampler.unmasking = Unmasking { rounds: 4, first };
                sampler.smoothing = smoothing;
                let mut tokens = |draws_here| {
                    session.draws_here = draws_here;
                    let route = circle();
                    let mut grid = start(&route, 2);
                    grid.set(1, crate::patch::PatchIndex { f: 0, h: 0, w: 1 }, 9);
                    paint_by(&sampler, &session, &route, &mut grid);
                    grid
                };
                let (here, there) = (tokens(true), tokens(false));
                assert_eq!(here.codes(), there.codes(), "{decoding:?} {choice:?}");
                let given = crate::patch::PatchIndex { f: 0, h: 0, w: 1 };
                assert_eq!(there.get(1, given), 9);
            }
        }
    }
}

/// Renders every patch of a route, teacher-forced, from a pool of hidden states.
fn render(
    renderer: &Renderer,
    config: &RendererConfig,
    route: &Route,
    grid: &TokenGrid,
) -> Vec<RenderOutput> {
    let mut pool: Ncp<PatchCache> = Ncp::default();
    let mut outputs = Vec::new();
    for (position, step) in route.steps().iter().enumerate() {
        let tokens = grid.cut(step.index, step.order, PATCH);
        let tokens: Tensor<2, Int> =
            Tensor::from_data(TensorData::new(tokens, [1, 6]), &Device::flex());
        let own = EXTENT.own_row();
        let input = RenderInput::new(step, own, PATCH, pool.select(step), text(config, 1));
        let output = match config.decoding {
            Decoding::Ar => renderer.render_ar(tokens, &input),
            _ => {
                let masked = tokens.clone().greater_equal_elem(0);
                renderer.render_masked(tokens, masked, &input)
            }
        };
        pool.add(position, output.cache.clone());
        pool.remove(step);
        outputs.push(output);
    }
    outputs
}

/// Each picture of a batch gets the tokens it would get alone.
#[test]
fn pictures_of_a_batch_do_not_see_each_other() {
    for config in kinds() {
        let renderer = renderer(&config);
        let (route, both) = (circle(), text(&config, 2));
        let mut grid = start(&route, 2);
        paint(
            &Session::new(&renderer, &config, both.clone().map(Prompt::Same), None, 2),
            &route,
            &[3, 4],
            &mut grid,
        );
        for (picture, seed) in [3, 4].into_iter().enumerate() {
            let text = both.clone().map(|text| text.narrow(0, picture, 1));
            let mut alone = start(&route, 1);
            paint(
                &Session::new(&renderer, &config, text.map(Prompt::Same), None, 1),
                &route,
                &[seed],
                &mut alone,
            );
            let n = alone.codes().len();
            let of_batch = &grid.codes()[picture * n..(picture + 1) * n];
            assert_eq!(of_batch, alone.codes(), "{:?}", config.decoding);
        }
    }
}

/// Given tokens of a patch that is otherwise unknown stay, and the rest is written.
#[test]
fn given_tokens_stay() {
    for config in kinds() {
        let renderer = renderer(&config);
        let session = Session::new(
            &renderer,
            &config,
            text(&config, 1).map(Prompt::Same),
            None,
            1,
        );
        let route = circle();
        let mut grid = start(&route, 1);
        let given = [(0, 0, 7), (0, 11, 3), (5, 4, 19)];
        for (h, w, code) in given {
            grid.set(0, crate::patch::PatchIndex { f: 0, h, w }, code);
        }
        paint(&session, &route, &[5], &mut grid);
        for (h, w, code) in given {
            assert_eq!(grid.get(0, crate::patch::PatchIndex { f: 0, h, w }), code);
        }
        assert!(grid.codes().iter().all(|code| (0..24).contains(code)));
    }
}

/// The logits of a token depend on the tokens before it and on no later one.
#[test]
fn ar_does_not_look_ahead() {
    let config = config(Decoding::Ar, Feed::Pre, None);
    let renderer = renderer(&config);
    let route = circle();
    let step = &route.steps()[2];
    let logits = |tokens: [i32; 6]| {
        let tokens: Tensor<2, Int> = Tensor::from_data([tokens], &Device::flex());
        let mut step = step.clone();
        step.context.clear();
        let input = RenderInput::new(&step, EXTENT.own_row(), PATCH, Vec::new(), None);
        let logits = renderer.render_ar(tokens, &input).logits;
        logits.into_data().try_to_vec::<f32>().expect("f32")
    };
    let (a, b) = (logits([1, 2, 3, 4, 5, 6]), logits([1, 2, 3, 9, 9, 9]));
    assert_eq!(a[..4 * 24], b[..4 * 24]);
    assert_ne!(a[4 * 24..5 * 24], b[4 * 24..5 * 24]);
}

/// Paints a circle and gives its tokens.
fn tokens(session: &Session, seeds: &[u64]) -> Vec<i32> {
    let route = circle();
    let mut grid = start(&route, session.pictures());
    paint(session, &route, seeds, &mut grid);
    grid.codes().to_vec()
}

#[test]
fn guidance_goes_from_the_negative_text_to_the_text_and_beyond() {
    for decoding in [Decoding::Ar, Decoding::Nar, Decoding::Pnar] {
        let config = config(decoding, Feed::Pre, Some(8));
        let renderer = renderer(&config);
        let texts = text(&config, 3).expect("conditional");
        let part = |n: usize, count: usize| texts.clone().narrow(0, n, count);
        let session = |n: usize, count: usize, scale: Option<f64>| {
            let guidance = scale.map(|scale| Guidance {
                negative: part(2, 1),
                scale,
            });
            Session::new(
                &renderer,
                &config,
                Some(Prompt::Same(part(n, count))),
                guidance,
                count,
            )
        };
        let plain = tokens(&session(0, 1, None), &[5]);
        assert_eq!(tokens(&session(0, 1, Some(1.0)), &[5]), plain);
        let negative = tokens(&session(2, 1, None), &[5]);
        assert_ne!(negative, plain);
        assert_eq!(tokens(&session(0, 1, Some(0.0)), &[5]), negative);
        let beyond = tokens(&session(0, 1, Some(4.0)), &[5]);
        assert!(beyond != plain && beyond != negative);
        // Two pictures of a batch get what each would get alone.
        let both = tokens(&session(0, 2, Some(4.0)), &[5, 6]);
        let second = tokens(&session(1, 1, Some(4.0)), &[6]);
        assert_eq!(both, [beyond, second].concat());
    }
}

#[test]
fn every_patch_may_be_told_something_else() {
    let config = config(Decoding::Ar, Feed::Pre, Some(8));
    let renderer = renderer(&config);
    let texts = text(&config, 2).expect("conditional");
    let part = |n: usize| texts.clone().narrow(0, n, 1);
    let told = |of: fn(usize) -> usize| {
        let texts = texts.clone();
        let text = move |index: crate::patch::PatchIndex| texts.clone().narrow(0, of(index.w), 1);
        let guidance = Guidance {
            negative: part(1),
            scale: 2.0,
        };
        let prompt = Some(Prompt::ByPatch(Box::new(text)));
        tokens(
            &Session::new(&renderer, &config, prompt, Some(guidance), 1),
            &[5],
        )
    };
    let guidance = Guidance {
        negative: part(1),
        scale: 2.0,
    };
    let same = Session::new(
        &renderer,
        &config,
        Some(Prompt::Same(part(0))),
        Some(guidance),
        1,
    );
    assert_eq!(told(|_| 0), tokens(&same, &[5]));
    assert_ne!(told(|w| w % 2), tokens(&same, &[5]));
}

#[test]
fn pnar_uncovers_in_as_many_rounds_as_asked_for_and_by_either_rule() {
    let config = config(Decoding::Pnar, Feed::Pre, None);
    let renderer = renderer(&config);
    let session = Session::new(&renderer, &config, None, None, 1);
    let route = circle();
    let step = &route.steps()[0];
    let write = |rounds: usize, first: Uncover| {
        let mut sampler = Sampler::new(Choice::default(), KeyedUniforms { seeds: vec![2] });
        sampler.unmasking = Unmasking { rounds, first };
        let given = vec![-1, 7, -1, -1, 3, -1];
        let jobs = [PatchJob::new(step, Vec::new(), given)];
        session.write(&jobs, &sampler).tokens.remove(0)
    };
    for first in [Uncover::Surest, Uncover::Spread] {
        for rounds in [1, 2, 6, 30] {
            let written = write(rounds, first);
            assert_eq!((written[1], written[4]), (7, 3), "given tokens stay");
            assert!(
                written.iter().all(|code| (0..24).contains(code)),
                "{written:?}"
            );
        }
    }
    assert_ne!(write(1, Uncover::Spread), write(4, Uncover::Spread));
    assert_ne!(write(4, Uncover::Surest), write(4, Uncover::Spread));
}
