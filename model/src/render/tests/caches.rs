//! What patches leave in the pool.

use burn::tensor::{Device, Int, Tensor, Tolerance};

use super::*;

/// The pool of projected keys and values holds what projecting the pool of hidden states gives,
/// whatever wrote the tokens.
#[test]
fn key_value_pool_is_the_hidden_state_pool_projected() {
    for config in kinds() {
        let renderer = renderer(&config);
        let (route, text) = (circle(), text(&config, 1));
        let session = Session::new(&renderer, &config, text.map(Prompt::Same), None, 1);
        let mut grid = start(&route, 1);
        let written = paint(&session, &route, &[3], &mut grid);
        let outputs = render(&renderer, &config, &route, &grid);
        for (position, output) in outputs.iter().enumerate() {
            for (l, layer) in renderer.layers.iter().enumerate() {
                let expected = layer.project(output.cache.states()[l].clone());
                let found = session.pairs(l, &written[position]);
                for (found, expected) in [
                    (&found.keys, expected.keys),
                    (&found.values, expected.values),
                ] {
                    let expected = expected.into_data();
                    let found = found.clone().into_data();
                    found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(2e-4));
                }
            }
        }
    }
}

/// What a wave leaves when it is written is what its tokens leave when they are read back, to the bit:
/// alone or in a wave with others, after longer waves or before.
#[test]
fn a_patch_read_back_leaves_the_bits_it_left_when_it_was_written() {
    for config in kinds() {
        let renderer = renderer(&config);
        let (route, text) = (circle(), text(&config, 2));
        for pool in [PoolKind::KeyValues, PoolKind::States] {
            let session = || {
                let prompt = text.clone().map(Prompt::Same);
                Session::new(&renderer, &config, prompt, None, 2).with_pool(pool)
            };
            let (writing, reading) = (session(), session());
            let sampler = Sampler::new(Choice::default(), KeyedUniforms { seeds: vec![3, 4] });
            let mut all: Vec<PatchMemory> = Vec::new();
            for steps in [0..1, 1..2, 2..4, 4..5] {
                let unknown = vec![TokenGrid::UNKNOWN; 12];
                let jobs: Vec<PatchJob> = route.steps()[steps]
                    .iter()
                    .map(|step| {
                        let found = step
                            .context
                            .iter()
                            .filter(|entry| entry.position < all.len());
                        let (context, rows) =
                            found.map(|entry| (&all[entry.position], entry.row)).unzip();
                        PatchJob {
                            rows,
                            ..PatchJob::new(step, context, unknown.clone())
                        }
                    })
                    .collect();
                let written = writing.write(&jobs, &sampler);
                for (n, (job, tokens)) in jobs.iter().zip(&written.tokens).enumerate() {
                    let alone = reading.precache(&[job.with(tokens.clone())]).remove(0);
                    for l in 0..config.n_layers {
                        let (found, expected) = (
                            writing.pairs(l, &written.caches[n]),
                            reading.pairs(l, &alone),
                        );
                        let bits = |x: &Tensor<4>| x.clone().into_data();
                        assert_eq!(bits(&found.keys), bits(&expected.keys), "{config:?} {l}");
                        assert_eq!(
                            bits(&found.values),
                            bits(&expected.values),
                            "{config:?} {l}"
                        );
                    }
                }
                all.extend(written.caches);
            }
        }
    }
}

/// Caches hold no graph, so gradients cannot cross patches.
#[test]
fn caches_are_off_the_graph() {
    for decoding in [Decoding::Ar, Decoding::Nar] {
        let config = config(decoding, Feed::Pre, None);
        let renderer = config.init(&Device::flex().autodiff());
        let tokens: Tensor<2, Int> = Tensor::from_data([[1, 2, 3, 4, 5, 6]], &Device::flex());
        let route = circle();
        let own = EXTENT.own_row();
        let input = RenderInput::new(&route.steps()[0], own, PATCH, Vec::new(), None);
        let output = match decoding {
            Decoding::Ar => renderer.render_ar(tokens, &input),
            _ => {
                let masked = tokens.clone().greater_equal_elem(0);
                renderer.render_masked(tokens, masked, &input)
            }
        };
        assert!(output.logits.is_autodiff());
        assert!(
            output
                .cache
                .states()
                .iter()
                .all(|states| !states.is_autodiff())
        );
    }
}
