//! What Burn's learner trains: a renderer, one patch or one picture at a time.

use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::ExecutionError;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn::train::metric::{Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use nuwa_model::patch::{Route, Step};
use nuwa_model::render::{
    Decoding, Ncp, PatchCache, RenderInput, RenderOutput, Renderer, RendererConfig, TokenGrid,
};

use super::loss::patch_loss;

/// Which tokens a P-NAR pass hides: `[b, m]` for each position of the route, in written order.
pub type Masks = Vec<Vec<bool>>;

/// Pictures that are rendered along one route.
#[derive(Debug, Clone)]
pub struct RenderBatch {
    /// Their tokens.
    pub tokens: TokenGrid,
    /// The route all of them take (\[N\] §3.1.3: one batch, one order).
    pub route: Arc<Route>,
    /// Text states `[b, t, d_text]`, for conditional models.
    pub text: Option<Tensor<3>>,
    /// Hidden tokens, for P-NAR.
    pub masks: Option<Masks>,
}

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

/// A renderer with what its loss needs.
#[derive(Module, Debug)]
pub struct RenderTask {
    /// The renderer that is trained.
    pub renderer: Renderer,
    #[module(skip)]
    config: RendererConfig,
    smoothing: f64,
}

impl RenderTask {
    /// Gives the task; `smoothing` is the label smoothing ε (0.15 for one-shot).
    pub fn new(renderer: Renderer, config: RendererConfig, smoothing: f64) -> Self {
        Self {
            renderer,
            config,
            smoothing,
        }
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
        let tokens = item
            .batch
            .tokens
            .cut(step.index, step.order, self.config.patch);
        let tokens: Tensor<2, Int> = Tensor::from_data(TensorData::new(tokens, [b, m]), &device);
        let own_row = self.config.extent.own_row();
        let input = RenderInput::new(
            step,
            own_row,
            self.config.patch,
            item.context.clone(),
            item.batch.text.clone(),
        );
        if self.config.decoding == Decoding::Ar {
            let output = self.renderer.render_ar(tokens.clone(), &input);
            let loss = patch_loss(output.logits.clone(), tokens, self.smoothing, None);
            return (output, loss);
        }
        let hidden = match &item.batch.masks {
            Some(masks) => masks[item.position].clone(),
            None => vec![true; b * m],
        };
        let masked: Tensor<2, Bool> = Tensor::from_data(TensorData::new(hidden, [b, m]), &device);
        let output = self
            .renderer
            .render_masked(tokens.clone(), masked.clone(), &input);
        let loss = patch_loss(output.logits.clone(), tokens, self.smoothing, Some(masked));
        (output, loss)
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
                context: pool.select(step),
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
