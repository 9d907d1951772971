//! Training of the renderer: it learns, and Burn's learner runs the same algorithm.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor};
use burn::train::{Learner, SupervisedTraining, TrainingStrategy};
use nuwa_model::patch::{Extent, GridSize, Order, Route, TokenSize};
use nuwa_model::render::{Decoding, Feed, Precision, RendererConfig, TokenGrid, Transfer};

use super::silent::Silent;
use super::*;
use crate::adam::Adam;
use crate::materialize::materialize;
use crate::schedule::{Budget, Clock, WarmupLinear};

const PATCH: TokenSize = TokenSize { f: 1, h: 2, w: 2 };

fn config(decoding: Decoding) -> RendererConfig {
    RendererConfig {
        decoding,
        d_model: 64,
        n_layers: 1,
        n_codes: 12,
        patch: PATCH,
        extent: Extent { w: 1, h: 1, f: 0 },
        feed: Feed::Pre,
        d_text: None,
        transfer: Transfer::Context,
    }
}

/// Two patches, side by side, for two pictures.
fn toy(decoding: Decoding) -> RenderBatch {
    let tokens = vec![3, 1, 4, 1, 5, 9, 2, 6, 2, 7, 1, 8, 2, 8, 1, 8];
    let grid = GridSize { f: 1, h: 1, w: 2 };
    let extent = config(decoding).extent;
    let route = Route::full(grid, extent, Order::DownRight).expect("not empty");
    let half = vec![true, false, true, false, false, true, true, false];
    let tokens = TokenGrid::new(2, grid.tokens(PATCH), tokens);
    RenderBatch {
        masks: (decoding == Decoding::Pnar).then(|| vec![half.clone(), half]),
        ..RenderBatch::new(tokens, Arc::new(route))
    }
}

fn learner(decoding: Decoding, updates: usize) -> Learner<RenderTask> {
    learner_of(task(decoding), updates)
}

fn task(decoding: Decoding) -> RenderTask {
    let device = Device::flex().autodiff();
    device.seed(5);
    let config = config(decoding);
    RenderTask::new(materialize(config.init(&device)), config, 0.0)
}

fn learner_of(task: RenderTask, updates: usize) -> Learner<RenderTask> {
    let clock = Arc::new(Clock::start(Budget::Steps(updates)));
    let adam = Adam::default().init();
    Learner::new(task, adam, WarmupLinear::new(clock, 5e-3, 0.05))
}

/// Bounds of what each renderer comes to on each of two patches.
const LEARNED: [(Decoding, [f32; 2]); 3] = [
    (Decoding::Ar, [0.2, 0.02]),
    (Decoding::Nar, [0.75, 0.02]),
    (Decoding::Pnar, [0.02, 0.02]),
];

/// On two patches each renderer learns every token by heart. What cannot be known stays: AR has to
/// guess the first token of the first patch between two pictures, ln 2 / 4 = 0.173 over the patch;
/// NAR guesses all four there, ln 2 = 0.693. P-NAR sees half of the patch and knows the picture.
///
/// In bf16 each comes to the same losses: 0.0008 apart at most when this was written.
#[test]
fn each_renderer_learns_two_patches_in_300_updates() {
    for (decoding, bounds) in LEARNED {
        let batch = toy(decoding);
        let single = task(decoding);
        let half = in_bf16(single.clone());
        let [single, half] = [single, half].map(|task| {
            let mut learner = learner_of(task, 300);
            let mut first = Vec::new();
            let mut last = [f32::NAN; 2];
            for _ in 0..150 {
                render_and_optimize(&mut learner, &batch, |patch, _| {
                    last[patch.position] = patch.loss.into_scalar::<f32>();
                    if first.len() < 2 {
                        first.push(last[patch.position]);
                    }
                    true
                })
                .expect("finite");
            }
            assert!(
                first.iter().all(|loss| *loss > 2.0),
                "{decoding:?} starts at {first:?}"
            );
            assert!(
                last[0] < bounds[0] && last[1] < bounds[1],
                "{decoding:?} ends at {last:?}"
            );
            last
        });
        for (single, half) in single.into_iter().zip(half) {
            assert!(
                (single - half).abs() < 0.005,
                "{decoding:?}: {single} and {half}"
            );
        }
    }
}

/// The same task in bf16, with the same weights.
fn in_bf16(mut task: RenderTask) -> RenderTask {
    task.renderer = task.renderer.computing_in(Precision::Bf16);
    task
}

/// In bf16 a fresh renderer has nearly the loss and the gradients of single precision, but not the same
/// ones; gradients come in single precision, as the weights are.
#[test]
fn bf16_has_nearly_the_loss_and_the_gradients_of_single_precision() {
    for (decoding, _) in LEARNED {
        let batch = toy(decoding);
        let single = task(decoding);
        let half = in_bf16(single.clone());
        let output = |task: &RenderTask| burn::train::TrainStep::step(task, batch.clone());
        let (single_output, half_output) = (output(&single), output(&half));
        let apart = (half_output.item.loss - single_output.item.loss).abs();
        let apart = apart.max().into_scalar::<f32>();
        // 0.0003 of 2.5 at most when this was written.
        assert!(0.0 < apart && apart < 0.002, "{decoding:?}: {apart}");
        let mut distance = Distance {
            of: &half_output.grads,
            from: &single_output.grads,
            squares: [0.0; 2],
        };
        burn::module::Module::visit(&single, &mut distance);
        let [apart, all] = distance.squares.map(f32::sqrt);
        // 0.005 when this was written.
        let apart = apart / all;
        assert!(0.0 < apart && apart < 0.02, "{decoding:?}: {apart}");
    }
}

/// Adds up the squares of the differences of gradients, and of the gradients.
struct Distance<'a> {
    of: &'a GradientsParams,
    from: &'a GradientsParams,
    squares: [f32; 2],
}

impl ModuleVisitor for Distance<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let [of, from] =
            [self.of, self.from].map(|all| all.get::<D>(param.id).expect("there is one"));
        assert_eq!(of.dtype(), DType::F32);
        let square = |x: Tensor<D>| x.square().sum().into_scalar::<f32>();
        self.squares[0] += square(of - from.clone());
        self.squares[1] += square(from);
    }
}

/// Hands batches through: they are made where reading can fail.
#[derive(Clone)]
struct PassOn;

impl Batcher<RenderBatch, RenderBatch> for PassOn {
    fn batch(&self, mut items: Vec<RenderBatch>, _device: &Device) -> RenderBatch {
        items.remove(0)
    }
}

fn loader(batch: RenderBatch) -> Arc<dyn DataLoader<RenderBatch>> {
    DataLoaderBuilder::new(PassOn)
        .batch_size(1)
        .build(InMemDataset::new(vec![batch; 3]))
}

/// The strategy around Algorithm 1 gives the weights that Algorithm 1 gives.
#[test]
fn burns_learner_runs_render_and_optimize() {
    let batch = toy(Decoding::Ar);
    let start = learner(Decoding::Ar, 40);
    let mut by_hand = start.clone();
    for _ in 0..6 {
        render_and_optimize(&mut by_hand, &batch, |_, _| true).expect("finite");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clock = Arc::new(Clock::start(Budget::Steps(40)));
    let strategy = Arc::new(RenderAndOptimize::new(Device::flex().autodiff(), clock));
    let result =
        SupervisedTraining::new(folder.path(), loader(batch.clone()), loader(batch.clone()))
            .with_training_strategy(TrainingStrategy::Custom(strategy))
            .renderer(Box::new(Silent))
            .num_epochs(2)
            .launch(start);
    assert!(result.error.is_none() && result.interrupted.is_none());
    let losses = |task: &RenderTask| -> Tensor<1> {
        burn::train::InferenceStep::step(task, batch.clone())
            .loss
            .inner()
    };
    let (found, expected) = (losses(&result.model), losses(&by_hand.model().valid()));
    assert_eq!(found.into_data(), expected.into_data());
}

/// A budget of updates ends the strategy in the middle of an epoch.
#[test]
fn the_strategy_keeps_to_its_budget() {
    let batch = toy(Decoding::Ar);
    let start = learner(Decoding::Ar, 40);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let clock = Arc::new(Clock::start(Budget::Steps(3)));
    let strategy = Arc::new(RenderAndOptimize::new(Device::flex().autodiff(), clock));
    let result =
        SupervisedTraining::new(folder.path(), loader(batch.clone()), loader(batch.clone()))
            .with_training_strategy(TrainingStrategy::Custom(strategy))
            .renderer(Box::new(Silent))
            .num_epochs(50)
            .launch(start.clone());
    let mut by_hand = start;
    let mut updates = 0;
    while updates < 3 {
        render_and_optimize(&mut by_hand, &batch, |_, _| {
            updates += 1;
            updates < 3
        })
        .expect("finite");
    }
    let losses = |task: &RenderTask| -> Tensor<1> {
        burn::train::InferenceStep::step(task, batch.clone())
            .loss
            .inner()
    };
    let (found, expected) = (losses(&result.model), losses(&by_hand.model().valid()));
    assert_eq!(found.into_data(), expected.into_data());
}

/// Patches that are alone are rendered as if they were the first.
#[test]
fn patches_alone_see_no_others() {
    let task = learner(Decoding::Ar, 1).model().valid();
    let losses = |alone: bool| -> Vec<f32> {
        let batch = RenderBatch {
            alone,
            ..toy(Decoding::Ar)
        };
        let output = burn::train::InferenceStep::step(&task, batch);
        output.loss.into_data().try_to_vec().expect("numbers")
    };
    let (among, alone) = (losses(false), losses(true));
    assert_eq!(among[0], alone[0]);
    assert_ne!(among[1], alone[1]);
}

/// Accumulated, the weights move once per picture, by what Burn's own way through a batch gives.
#[test]
fn accumulated_gradients_move_the_weights_once() {
    let batch = toy(Decoding::Ar);
    let losses = |task: RenderTask| -> Vec<f32> {
        let output = burn::train::InferenceStep::step(&task.valid(), batch.clone());
        output.loss.into_data().try_to_vec().expect("numbers")
    };
    let start = learner(Decoding::Ar, 40);
    let mut stock = start.clone();
    let output = burn::train::TrainStep::step(&stock.model(), batch.clone());
    stock.lr_step();
    stock.lr_step();
    stock.optimizer_step(output.grads);

    let clock = Arc::new(Clock::start(Budget::Steps(40)));
    let mut found = Learner::new(
        start.model().with_optimize(Optimize::Accumulated),
        Adam::default().init(),
        WarmupLinear::new(clock, 5e-3, 0.05),
    );
    let before = losses(start.model());
    let mut has_moved = Vec::new();
    render_and_optimize(&mut found, &batch, |patch, learner| {
        has_moved.push(losses(learner.model()) != before);
        assert_eq!(patch.gradient_norm.is_some(), patch.position == 1);
        true
    })
    .expect("finite");
    assert_eq!(has_moved, [false, true]);
    let apart = losses(found.model());
    let apart = apart.iter().zip(losses(stock.model()));
    assert!(
        apart.clone().all(|(a, b)| (a - b).abs() < 1e-5),
        "{:?}",
        apart.collect::<Vec<_>>()
    );
}
