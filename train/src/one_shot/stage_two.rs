//! Stage two: the renderer, by render-and-optimize on larger crops, encoded on the fly.

use std::collections::VecDeque;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn::train::Learner;
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
use crate::vqgan::codebook::{codes_on_host, encode};

/// Pictures up to this side are encoded whole.
const LEAST_ENCODED_PX: usize = 1024;

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
    let sides = [
        LEAST_ENCODED_PX.max(2 * side_px),
        stage.cut_px,
        vqgan.stride(),
    ];
    let crops = match stage.cut_px {
        0 => Crops::new(job.picture, side_px, config.upright, seed),
        _ => Crops::laid(job.picture, sides, config.upright, seed),
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
        let batch = source.batch(clock.spent(updates));
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

/// Makes batches: the picture's tokens as painting encodes them, cut out somewhere, in a random
/// order of patches.
///
/// Encoding costs about as much as rendering, so the tokens of the last pictures are kept and
/// batches are drawn from them; with each batch a new one takes the place of the oldest, until all
/// there are have been encoded.
struct Source<'a> {
    config: &'a OneShotConfig,
    vqgan: &'a Vqgan,
    crops: Crops<'a>,
    rng: StdRng,
    device: Device,
    /// Tokens of the last pictures, the oldest first.
    pool: VecDeque<TokenGrid>,
}

impl Source<'_> {
    fn refresh(&mut self) {
        if self.crops.count() == Some(self.pool.len()) {
            return;
        }
        if self.pool.len() == self.config.stage_two.pool {
            self.pool.pop_front();
        }
        let pictures = self.crops.take(1);
        self.pool.extend(pictures.iter().map(|picture| {
            let stride = self.vqgan.stride();
            let [h, w] = [picture.h(), picture.w()].map(|side| side.div_ceil(stride));
            let codes = encode(self.vqgan, picture, [h, w], &self.device);
            TokenGrid::new(1, TokenSize { f: 1, h, w }, codes_on_host(codes))
        }));
    }

    /// Cuts a crop out of one of the pictures, and gives its tokens.
    fn cut(&mut self) -> Vec<i32> {
        let (stage, patch) = (&self.config.stage_two, self.config.renderer.patch);
        let [h, w] = [patch.h, patch.w].map(|side| side * stage.crop_patches);
        let picture = &self.pool[self.rng.random_range(0..self.pool.len())];
        let size = picture.size();
        let top = self.rng.random_range(0..=size.h - h);
        let left = self.rng.random_range(0..=size.w - w);
        let rows = picture.codes().chunks_exact(size.w).skip(top).take(h);
        rows.flat_map(|row| &row[left..left + w]).copied().collect()
    }

    /// Makes a batch for when a share of the stage is spent.
    fn batch(&mut self, spent: f64) -> RenderBatch {
        self.refresh();
        let (stage, renderer) = (&self.config.stage_two, &self.config.renderer);
        let (b, side) = (stage.batch, stage.crop_patches);
        let size = TokenSize {
            f: 1,
            h: side * renderer.patch.h,
            w: side * renderer.patch.w,
        };
        let codes = (0..b).flat_map(|_| self.cut()).collect();
        let tokens = TokenGrid::new(b, size, codes);
        let grid = GridSize {
            f: 1,
            h: side,
            w: side,
        };
        // One batch, one order, drawn uniformly ([N] §3.1.3).
        let order = match spent < stage.one_order_until {
            true => Order::RightDown,
            false => Order::ALL[self.rng.random_range(0..4)],
        };
        let route = Route::full(grid, renderer.extent, order).expect("a crop has patches");
        let masks = (renderer.decoding == Decoding::Pnar)
            .then(|| draw_masks(renderer, b, route.steps().len(), &mut self.rng));
        RenderBatch {
            masks,
            ..RenderBatch::new(tokens, Arc::new(route))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use nuwa_data::Picture;

    use super::*;

    #[test]
    fn batches_have_one_order_at_first_and_all_four_after() {
        let mut config = OneShotConfig::new(Decoding::Ar);
        config.vqgan.multipliers = vec![1, 1];
        config.stage_two.batch = 1;
        config.stage_two.one_order_until = 0.5;
        let picture = Picture::filled(96, 80, [40; 3]);
        let device = Device::flex();
        device.seed(1);
        let vqgan = crate::materialize::materialize(config.vqgan.init(&device));
        let mut source = Source {
            config: &config,
            vqgan: &vqgan,
            crops: Crops::laid(&picture, [64, 8, 2], config.upright, 7),
            rng: StdRng::seed_from_u64(9),
            device,
            pool: VecDeque::new(),
        };
        let mut orders = |spent: f64| -> HashSet<Order> {
            let batches = (0..40).map(|_| source.batch(spent));
            batches.map(|batch| batch.route.steps()[0].order).collect()
        };
        assert_eq!(orders(0.49), HashSet::from([Order::RightDown]));
        assert_eq!(orders(0.5), HashSet::from(Order::ALL));
    }
}
