//! What Burn's learner trains: a renderer, one patch or one picture at a time.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::ExecutionError;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use nuwa_model::clip::ClipText;
use nuwa_model::patch::Step;
use nuwa_model::render::{
    Decoding, Ncp, PatchCache, RenderInput, RenderOutput, Renderer, RendererConfig, TokenGrid,
};

use super::batch::{RenderBatch, Text};
use super::loss::patch_loss;
use super::optimize::Optimize;
use crate::gradients::{self, NotFinite};

/// One patch of a batch with its context: what one step trains on.
#[derive(Debug)]
pub struct PatchItem<'a> {
    /// The batch.
    pub batch: &'a RenderBatch,
    /// Position in its route.
    pub position: usize,
    /// Caches of the context.
    pub context: Vec<&'a PatchCache>,
}

/// The loss of a patch or picture, and the cache of a patch.
#[derive(Debug, Clone)]
pub struct PatchOutput {
    /// Mean loss, `[1]`; still on the device.
    pub loss: Tensor<1>,
}

impl ItemLazy for PatchOutput {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<LossInput> for PatchOutput {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

/// A renderer with what its loss and its updates need.
#[derive(Module, Debug)]
pub struct RenderTask {
    /// The renderer that is trained.
    pub renderer: Renderer,
    /// The text tower that is trained with it, if there is one.
    pub text: Option<ClipText>,
    #[module(skip)]
    config: RendererConfig,
    smoothing: f64,
    #[module(skip)]
    clip: Option<f64>,
    /// Most pictures whose graph is in memory at a time.
    part: usize,
    #[module(skip)]
    optimize: Optimize,
}

impl RenderTask {
    /// Gives the task; `smoothing` is the label smoothing ε (0.15 for one-shot).
    pub fn new(renderer: Renderer, config: RendererConfig, smoothing: f64) -> Self {
        Self {
            renderer,
            text: None,
            config,
            smoothing,
            clip: None,
            part: usize::MAX,
            optimize: Optimize::default(),
        }
    }

    /// Trains a text tower as well: batches then bring token ids.
    #[must_use]
    pub fn with_text(mut self, tower: Option<ClipText>) -> Self {
        self.text = tower;
        self
    }

    /// Clips the norm of all gradients together.
    #[must_use]
    pub fn with_clip(mut self, most: Option<f64>) -> Self {
        self.clip = most;
        self
    }

    /// Splits a batch into parts of at most this many pictures and adds up their gradients.
    #[must_use]
    pub fn with_part(mut self, most: Option<usize>) -> Self {
        self.part = most.unwrap_or(usize::MAX).max(1);
        self
    }

    /// Moves the weights at other times than after every patch.
    #[must_use]
    pub fn with_optimize(mut self, optimize: Optimize) -> Self {
        self.optimize = optimize;
        self
    }

    /// Tells when the weights are moved.
    pub fn optimize(&self) -> Optimize {
        self.optimize
    }

    /// Gives the most pictures whose graph is in memory at a time.
    pub fn part(&self) -> usize {
        self.part
    }

    /// Gives the architecture.
    pub fn config(&self) -> &RendererConfig {
        &self.config
    }

    /// Renders one patch, teacher-forced: its logits, its loss and its cache.
    pub fn forward(&self, item: &PatchItem) -> (RenderOutput, Tensor<1>) {
        let step: &Step = &item.batch.route.steps()[item.position];
        let device = self.device();
        let b = item.batch.tokens.batch();
        let m = self.config.tokens_per_patch();
        let cut = |grid: &TokenGrid| -> Tensor<2, Int> {
            let codes = grid.cut(step.index, step.order, self.config.patch);
            Tensor::from_data(TensorData::new(codes, [b, m]), &device)
        };
        let tokens = cut(&item.batch.tokens);
        let seen = item.batch.seen.as_ref().map_or_else(|| tokens.clone(), cut);
        let own_row = self.config.extent.own_row();
        let input = RenderInput::new(
            step,
            own_row,
            self.config.patch,
            item.context.clone(),
            item.batch.text.as_ref().map(|text| self.states(text)),
        );
        if self.config.decoding == Decoding::Ar {
            let output = self.renderer.render_ar(seen, &input);
            let loss = patch_loss(output.logits.clone(), tokens, self.smoothing, None);
            return (output, loss);
        }
        let hidden = match &item.batch.masks {
            Some(masks) => masks[item.position].clone(),
            None => vec![true; b * m],
        };
        let masked: Tensor<2, Bool> = Tensor::from_data(TensorData::new(hidden, [b, m]), &device);
        let output = self.renderer.render_masked(seen, masked.clone(), &input);
        let loss = patch_loss(output.logits.clone(), tokens, self.smoothing, Some(masked));
        (output, loss)
    }

    fn states(&self, text: &Text) -> Tensor<3> {
        let device = self.device();
        match (text, &self.text) {
            (Text::States(states), _) => states.clone().to_device(&device),
            (Text::Ids(ids), Some(tower)) => tower.forward(ids.clone().to_device(&device)),
            (Text::Ids(_), None) => panic!("token ids need a text tower"),
        }
    }

    /// Gives the gradients of a loss, for every parameter.
    ///
    /// A patch without context does not touch the relative table. Its gradient is zero then, not
    /// missing: Adam's moments decay and its steps count on.
    pub fn gradients(&self, loss: Tensor<1>) -> GradientsParams {
        let mut gradients = GradientsParams::from_grads(loss.backward(), self);
        self.visit(&mut FillZeros {
            gradients: &mut gradients,
        });
        gradients
    }

    /// Measures, checks and clips gradients; gives their norm.
    ///
    /// # Errors
    /// When one is not finite.
    pub fn clip(&self, gradients: &mut GradientsParams) -> Result<f64, NotFinite> {
        gradients::clip(self, gradients, self.clip)
    }

    fn device(&self) -> Device {
        self.devices()
            .into_iter()
            .next()
            .expect("a renderer has parameters")
            .without_autodiff()
    }

    /// Renders every patch of a batch with the same weights; gives the loss of each to `visit`.
    fn each_loss(&self, batch: &RenderBatch, mut visit: impl FnMut(Tensor<1>)) {
        let mut pool = Ncp::default();
        for (position, step) in batch.route.steps().iter().enumerate() {
            let item = PatchItem {
                batch,
                position,
                context: batch.context(&pool, step),
            };
            let (output, loss) = self.forward(&item);
            pool.add(position, output.cache);
            pool.remove(step);
            visit(loss);
        }
    }
}

struct FillZeros<'a> {
    gradients: &'a mut GradientsParams,
}

impl ModuleVisitor for FillZeros<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.gradients.get::<D>(param.id).is_none() {
            self.gradients
                .register(param.id, param.val().inner().zeros_like());
        }
    }
}

/// The "accumulated" ablation (\[N\] Tab. 4c): one update per picture over the mean loss, which is
/// what a stock Burn strategy does with this step. The losses of all patches are the output.
impl TrainStep for RenderTask {
    type Input = RenderBatch;
    type Output = PatchOutput;

    fn step(&self, batch: RenderBatch) -> TrainOutput<PatchOutput> {
        let n = batch.route.steps().len() as f64;
        let mut gradients = GradientsAccumulator::new();
        let mut losses = Vec::new();
        self.each_loss(&batch, |loss| {
            losses.push(loss.clone().inner());
            // Backward per patch: only one patch's graph is alive at a time.
            gradients.accumulate(self, self.gradients(loss / n));
        });
        TrainOutput {
            grads: gradients.grads(),
            item: PatchOutput {
                loss: Tensor::cat(losses, 0),
            },
        }
    }
}

impl InferenceStep for RenderTask {
    type Input = RenderBatch;
    type Output = PatchOutput;

    fn step(&self, batch: RenderBatch) -> PatchOutput {
        let mut losses = Vec::new();
        self.each_loss(&batch, |loss| losses.push(loss));
        PatchOutput {
            loss: Tensor::cat(losses, 0),
        }
    }
}
