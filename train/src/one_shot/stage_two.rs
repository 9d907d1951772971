//! Stage two: the renderer, by render-and-optimize on larger crops, encoded on the fly.

use std::collections::VecDeque;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn::train::Learner;
use nuwa_data::Picture;
use nuwa_model::error::Error;
use nuwa_model::patch::{GridSize, Order, Route, TokenSize};
use nuwa_model::render::{Decoding, Renderer, TokenGrid};
use nuwa_model::vqgan::Vqgan;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::config::OneShotConfig;
use super::crops::Crops;
use super::run::{Job, KeepTimer};
use super::{Progress, Watch};
use crate::adam::Adam;
use crate::render::{RenderBatch, RenderTask, draw_masks, render_and_optimize};
use crate::schedule::{Clock, WarmupLinear};
use crate::vqgan::codebook::codes_on_host;

/// Trains the renderer until the clock's budget is spent or the watch says stop.
///
/// Gives the weights off the graph, and the number of updates. `keep` writes weights now and then.
///
/// # Errors
/// The first error of `keep`, or a patch whose gradients are not finite.
pub(super) fn train(
    job: &Job,
    vqgan: &Vqgan,
    renderer: Renderer,
    clock: &Arc<Clock>,
    watch: &mut Watch,
    keep: impl Fn(&Renderer) -> Result<(), Error>,
) -> anyhow::Result<(Renderer, usize)> {
    let (config, stage) = (job.config, &job.config.stage_two);
    let (side_px, seed) = (config.render_crop_px(), config.seed ^ 2);
    let crops = match stage.cut_px {
        0 => Crops::new(job.picture, side_px, config.upright, seed),
        grid_px => Crops::cut(job.picture, side_px, grid_px, config.upright, seed),
    };
    let mut source = Source {
        config,
        vqgan,
        crops,
        rng: StdRng::seed_from_u64(config.seed ^ 3),
        device: job.device.clone(),
        pool: VecDeque::new(),
    };
    let task = RenderTask::new(renderer, config.renderer.clone(), stage.smoothing);
    let adam = Adam::default().init();
    let schedule = WarmupLinear::new(clock.clone(), stage.peak_rate, stage.warmup);
    let mut learner = Learner::new(task, adam, schedule);
    let mut updates = 0;
    let mut timer = KeepTimer::start();
    while clock.spent(updates) < 1.0 && !watch.stopped() {
        let batch = source.batch();
        let (first, mut losses) = (updates, Vec::new());
        render_and_optimize(&mut learner, &batch, |patch, _| {
            updates += 1;
            losses.push(patch.loss);
            clock.spent(updates) < 1.0 && !watch.stopped()
        })?;
        let n = (updates - first) as f64;
        let loss = f64::from(Tensor::cat(losses, 0).sum().into_scalar::<f32>()) / n;
        let rate = clock.rate(updates, stage.peak_rate, stage.warmup);
        (watch.report)(Progress {
            stage: 2,
            steps: updates,
            spent: clock.spent(updates),
            elapsed: clock.elapsed(),
            loss,
            rate,
            note: format!("{:?}", batch.route.steps()[0].order),
        });
        if timer.is_due() {
            keep(&learner.model().renderer.valid())?;
        }
    }
    Ok((learner.model().renderer.valid(), updates))
}

/// Makes batches: random crops, their tokens, a random order.
///
/// Encoding a crop costs about as much as rendering it, so the tokens of the last crops are kept
/// and batches are drawn from them; each batch, one new crop takes the place of the oldest.
struct Source<'a> {
    config: &'a OneShotConfig,
    vqgan: &'a Vqgan,
    crops: Crops<'a>,
    rng: StdRng,
    device: Device,
    /// Tokens of the last crops, the oldest first.
    pool: VecDeque<Vec<i32>>,
}

impl Source<'_> {
    /// Encodes a new crop, or as many as a batch needs at first.
    fn refresh(&mut self) {
        let stage = &self.config.stage_two;
        if self.pool.len() == stage.pool {
            self.pool.pop_front();
        }
        let missing = stage.batch.saturating_sub(self.pool.len()).max(1);
        for crop in self.crops.take(missing) {
            let pixels = Picture::stack(&[crop], &self.device);
            self.pool
                .push_back(codes_on_host(self.vqgan.encode(pixels)));
        }
    }

    fn batch(&mut self) -> RenderBatch {
        let (stage, renderer) = (&self.config.stage_two, &self.config.renderer);
        self.refresh();
        let b = stage.batch;
        let drawn = rand::seq::index::sample(&mut self.rng, self.pool.len(), b);
        let codes = drawn
            .iter()
            .flat_map(|crop| self.pool[crop].iter().copied());
        let side = stage.crop_patches;
        let size = TokenSize {
            f: 1,
            h: side * renderer.patch.h,
            w: side * renderer.patch.w,
        };
        let tokens = TokenGrid::new(b, size, codes.collect());
        let grid = GridSize {
            f: 1,
            h: side,
            w: side,
        };
        // One batch, one order, drawn uniformly ([N] §3.1.3).
        let order = Order::ALL[self.rng.random_range(0..4)];
        let route = Route::full(grid, renderer.extent, order).expect("a crop has patches");
        let masks = (renderer.decoding == Decoding::Pnar)
            .then(|| draw_masks(renderer, b, route.steps().len(), &mut self.rng));
        RenderBatch {
            masks,
            ..RenderBatch::new(tokens, Arc::new(route))
        }
    }
}
