//! Half precision: near to single precision, and the same in painting as in training.

use burn::tensor::{DType, Tensor, Tolerance};

use super::*;
use crate::render::precision::single;

/// In bf16 scores are nearly those of single precision, in which they come, and the pool has half the
/// bytes. The weights here are as large as trained ones: scores spread over several units.
#[test]
fn bf16_gives_nearly_the_scores_of_single_precision() {
    for config in kinds() {
        let renderer = renderer(&config);
        let (route, text) = (circle(), text(&config, 1));
        let session = Session::new(&renderer, &config, text.map(Prompt::Same), None, 1);
        let mut grid = start(&route, 1);
        paint(&session, &route, &[3], &mut grid);
        let single = render(&renderer, &config, &route, &grid);
        let half = renderer.computing_in(Precision::Bf16);
        let half = render(&half, &config, &route, &grid);
        let [mut apart, mut spread] = [0.0_f32; 2];
        for (single, half) in single.into_iter().zip(half) {
            assert!(half.cache.states().iter().all(|x| x.dtype() == DType::BF16));
            assert_eq!(half.logits.dtype(), DType::F32);
            let scores = single.logits;
            let largest = |x: Tensor<3>| x.abs().max().into_scalar::<f32>();
            apart = apart.max(largest(half.logits - scores.clone()));
            spread = spread.max(largest(scores));
        }
        let kind = (config.decoding, config.feed, config.transfer);
        let some = 0.0 < apart && apart < 0.03 * spread;
        // A hundredth when this was written.
        assert!(spread > 2.0 && some, "{kind:?}: {apart} of {spread}");
    }
}

/// What is painted in bf16 leaves in the pool, in bf16, what a training pass in bf16 leaves there, to its
/// rounding, and its tokens are as likely as those of any painting: greedily, the likeliest.
#[test]
fn painting_in_bf16_is_the_training_pass_in_bf16() {
    for config in kinds() {
        let half = renderer(&config).computing_in(Precision::Bf16);
        let (route, text) = (circle(), text(&config, 1));
        for pool in [PoolKind::KeyValues, PoolKind::States] {
            let prompt = text.clone().map(Prompt::Same);
            let session = Session::new(&half, &config, prompt, None, 1).with_pool(pool);
            let mut grid = start(&route, 1);
            let sampler = Sampler::new(Choice::Greedy, KeyedUniforms { seeds: vec![3] });
            let written = paint_by(&sampler, &session, &route, &mut grid);
            for (position, output) in render(&half, &config, &route, &grid).iter().enumerate() {
                for (l, layer) in half.layers.iter().enumerate() {
                    let expected = layer.project(output.cache.states()[l].clone());
                    let found = session.pairs(l, &written[position]);
                    let pairs = [(found.keys, expected.keys), (found.values, expected.values)];
                    for (found, expected) in pairs {
                        assert_eq!(found.dtype(), DType::BF16);
                        let [found, expected] = [found, expected].map(|x| single(x).into_data());
                        found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(0.1));
                    }
                }
                let step = &route.steps()[position];
                if config.decoding == Decoding::Ar && !step.known {
                    let tokens = grid.cut(step.index, step.order, PATCH);
                    let tokens = Tensor::<2, Int>::from_data(
                        TensorData::new(tokens, [1, 6]),
                        &Device::flex(),
                    );
                    let scores = output.logits.clone();
                    let chosen = scores.clone().gather(2, tokens.unsqueeze_dim(2));
                    let missed = (scores.max_dim(2) - chosen).max().into_scalar::<f32>();
                    assert!(
                        missed < 0.1,
                        "{:?}: {missed} from the likeliest",
                        config.feed
                    );
                }
            }
        }
    }
}
