//! The render transformer: teacher-forced passes, training steps, whole grids.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use burn::train::{Learner, TrainStep};
use nuwa_infer::engine;
use nuwa_model::patch::{Extent, Route, Schedule, TokenSize};
use nuwa_model::render::sampling::{Choice, Draw, Sampler, Uniforms};
use nuwa_model::render::{
    Decoding, Feed, Ncp, Prompt, Renderer, RendererConfig, Session, TokenGrid, Transfer,
};
use nuwa_train::adam::Adam;
use nuwa_train::render::{PatchItem, RenderBatch, RenderTask, Text, render_and_optimize};

use super::Outputs;
use super::case::{Array, Case};
use super::geometry;
use crate::test_device;

fn config(case: &Case) -> RendererConfig {
    let [hp, wp, fp] = case.get("/config/patch");
    let [eh, ew, ef] = case.get("/config/extent");
    RendererConfig {
        decoding: match case.get::<String>("/config/kind").as_str() {
            "AR" => Decoding::Ar,
            "NAR" => Decoding::Nar,
            "PNAR" => Decoding::Pnar,
            kind => panic!("{}: renderer of kind {kind}", case.name()),
        },
        d_model: case.get("/config/dim"),
        n_layers: case.get("/config/layers"),
        n_codes: case.get("/config/vocab"),
        patch: TokenSize {
            f: fp,
            h: hp,
            w: wp,
        },
        extent: Extent {
            w: ew,
            h: eh,
            f: ef,
        },
        feed: match case.get::<String>("/config/rpe").as_str() {
            "pre" => Feed::Pre,
            "post" => Feed::Post,
            feed => panic!("{}: rpe {feed}", case.name()),
        },
        d_text: Some(case.get("/config/text_dim")).filter(|&d| d > 0),
        transfer: match case.get("/config/transfer") {
            true => Transfer::Context,
            false => Transfer::Alone,
        },
    }
}

fn load(case: &Case, device: &Device) -> (RendererConfig, Renderer) {
    let config = config(case);
    let path = case.weights_path("/weights");
    let renderer = nuwa_model::import::safetensors::renderer(&path, &config, device)
        .unwrap_or_else(|e| panic!("{}: {e}", case.name()));
    (config, renderer)
}

fn batch(case: &Case, config: &RendererConfig, device: &Device) -> RenderBatch {
    let tokens = case.input("tokens");
    let [b, f, h, w] = tokens.dims();
    let grid = TokenGrid::new(b, TokenSize { f, h, w }, tokens.ints());
    let route = geometry::route(case, case.get("/config/extent"));
    let m = config.tokens_per_patch();
    let masks = case.find_input("masked").map(|masked| {
        let n = route.steps().len();
        let at = |position: usize| {
            let rows = (0..b).map(move |picture| (picture * n + position) * m);
            let row = |start: usize| masked.values[start..start + m].iter().map(|&x| x != 0.0);
            rows.flat_map(row).collect()
        };
        (0..n).map(at).collect()
    });
    let text = case.find_input("text").map(|text| text.float(device));
    RenderBatch {
        text: text.map(Text::States),
        masks,
        ..RenderBatch::new(grid, Arc::new(route))
    }
}

pub(super) fn forward(case: &Case) -> Outputs {
    let device = test_device();
    let (config, renderer) = load(case, &device);
    let batch = batch(case, &config, &device);
    let smoothing = case.find("/label_smoothing").unwrap_or(0.0);
    let task = RenderTask::new(renderer, config, smoothing);
    let (mut logits, mut losses, mut last) = (Vec::new(), Vec::new(), None);
    let mut pool = Ncp::default();
    for (position, step) in batch.route.steps().iter().enumerate() {
        let item = PatchItem {
            batch: &batch,
            position,
            context: pool.select(step),
        };
        let (output, loss) = task.forward(&item);
        logits.push(output.logits.unsqueeze_dim::<4>(1));
        losses.push(loss);
        last = Some(output.cache.clone());
        pool.add(position, output.cache);
        pool.remove(step);
    }
    let states = last.expect("a route has steps").states().to_vec();
    let cache: Tensor<4> = Tensor::stack(states, 0);
    Outputs::from([
        ("logits".into(), Tensor::cat(logits, 1).into()),
        ("losses".into(), Tensor::cat(losses, 0).into()),
        ("last_cache".into(), cache.into()),
    ])
}

/// Collects parameters, or their gradients, under the names and in the layout of page §7.
struct Collect<'a> {
    path: Vec<String>,
    gradients: Option<&'a GradientsParams>,
    out: Outputs,
}

impl Collect<'_> {
    fn of(renderer: &Renderer, gradients: Option<&GradientsParams>) -> Outputs {
        let mut collect = Collect {
            path: Vec::new(),
            gradients,
            out: Outputs::new(),
        };
        renderer.visit(&mut collect);
        collect.out
    }
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self
            .path
            .join(".")
            .replace("gamma", "weight")
            .replace("beta", "bias");
        let name = name
            .replace("ff.expand", "ff.in")
            .replace("ff.contract", "ff.out");
        let value = match self.gradients {
            None => param.val().inner(),
            Some(gradients) => gradients
                .get::<D>(param.id)
                .unwrap_or_else(|| param.val().inner().zeros_like()),
        };
        let is_linear = ["q", "k", "v", "o", "in", "out", "text_proj"]
            .iter()
            .any(|layer| name.ends_with(&format!("{layer}.weight")));
        let value = if D == 2 && is_linear {
            value.swap_dims(0, 1)
        } else {
            value
        };
        self.out.insert(name, value.into());
    }
}

fn learner(case: &Case, device: &Device) -> (RenderBatch, Learner<RenderTask>) {
    let (config, renderer) = load(case, &device.clone().autodiff());
    let batch = batch(case, &config, device);
    let smoothing = case.get("/label_smoothing");
    let task = RenderTask::new(renderer.train(), config, smoothing);
    let adam = Adam::default().init();
    let rate: f64 = case.get("/lr");
    (batch, Learner::new(task, adam, rate))
}

pub(super) fn train(case: &Case) -> Outputs {
    let device = test_device();
    let mut all = Outputs::new();
    let mut put = |prefix: &str, values: Outputs| {
        all.extend(
            values
                .into_iter()
                .map(|(name, value)| (format!("{prefix}{name}"), value)),
        );
    };

    let (batch, mut by_patch) = learner(case, &device);
    let mut losses = Vec::new();
    render_and_optimize(&mut by_patch, &batch, |patch, _| {
        losses.push(patch.loss);
        losses.len() < 3
    })
    .expect("finite");
    put("after.", Collect::of(&by_patch.model().renderer, None));
    put(
        "",
        Outputs::from([("losses".into(), Tensor::cat(losses, 0).into())]),
    );

    let (batch, mut accumulated) = learner(case, &device);
    let output = TrainStep::step(&accumulated.model(), batch);
    let gradients = Collect::of(&accumulated.model().renderer, Some(&output.grads));
    put("accumulated.gradient.", gradients);
    put(
        "accumulated.",
        Outputs::from([("losses".into(), output.item.loss.into())]),
    );
    accumulated.lr_step();
    accumulated.optimizer_step(output.grads);
    put(
        "accumulated.after.",
        Collect::of(&accumulated.model().renderer, None),
    );

    // A case watches some of the tensors; a name it does not have is not compared.
    let watched: Vec<&str> = case.output_names().collect();
    all.retain(|name, _| watched.contains(&name.as_str()));
    all
}

/// Uniforms listed by the case: `[b, position, token]`.
struct Listed<'a> {
    values: Option<&'a Array>,
    route: &'a Route,
}

impl Uniforms for Listed<'_> {
    fn fill(&self, draw: Draw, out: &mut [f64]) {
        let values = self.values.expect("a case that draws lists its uniforms");
        let [_, n, m] = values.dims();
        let position = self
            .route
            .steps()
            .iter()
            .position(|step| step.index == draw.index);
        let row = draw.picture * n + position.expect("a patch of the route");
        out.fill(values.values[row * m + draw.token]);
    }
}

pub(super) fn generate(case: &Case) -> Outputs {
    let device = test_device();
    let (config, renderer) = load(case, &device);
    let batch = batch(case, &config, &device);
    let prompt = batch.text.clone().map(|text| match text {
        Text::States(states) => Prompt::Same(states),
        Text::Ids(_) => panic!("golden cases have states"),
    });
    let session = Session::new(&renderer, &config, prompt, None, batch.tokens.batch());
    let choice = match case.get::<String>("/sampling").as_str() {
        "greedy" => Choice::Greedy,
        _ => Choice::Drawn {
            top_k: case.get("/top_k"),
            top_p: 1.0,
            temperature: 1.0,
        },
    };
    let uniforms = Listed {
        values: case.find_input("uniforms"),
        route: &batch.route,
    };
    let sampler = Sampler::new(choice, uniforms);
    // The case gives tokens everywhere; only those of known patches may be looked at.
    let mut tokens = TokenGrid::unknown(batch.tokens.batch(), batch.tokens.size());
    for step in batch.route.steps().iter().filter(|step| step.known) {
        let cut = batch.tokens.cut(step.index, step.order, config.patch);
        for (picture, cut) in cut.chunks(config.tokens_per_patch()).enumerate() {
            tokens.paste(picture, step.index, step.order, config.patch, cut);
        }
    }
    let schedule = Schedule::serial(&batch.route);
    engine::paint(
        &session,
        &batch.route,
        &schedule,
        &sampler,
        &mut tokens,
        |_| ControlFlow::Continue(()),
    );
    let TokenSize { f, h, w } = tokens.size();
    let values = tokens.codes().iter().map(|&code| f64::from(code)).collect();
    Outputs::from([(
        "tokens".into(),
        Array::new([tokens.batch(), f, h, w], values),
    )])
}
