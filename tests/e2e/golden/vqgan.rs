//! Tokenizer and pixel-guided decoder: latents, codes, pictures, losses and gradients.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use nuwa_model::vqgan::{Vqgan, VqganConfig};
use nuwa_train::vqgan::discriminator::{PatchDiscriminator, PatchDiscriminatorConfig};
use nuwa_train::vqgan::loss::{VqganLossConfig, discriminator_loss, generator_loss};

use super::Outputs;
use super::case::{Array, Case, arrays};
use crate::test_device;

/// Prefix of the adversary's weights in the file of the tokenizer's.
const DISCRIMINATOR: &str = "discriminator.";

fn config(case: &Case) -> VqganConfig {
    VqganConfig {
        ch: case.get("/config/ch"),
        multipliers: case.get("/config/mult"),
        blocks: case.get("/config/blocks"),
        z: case.get("/config/z"),
        n_codes: case.get("/config/codes"),
        code_dim: case.get("/config/code_dim"),
    }
}

/// Where a visit of a module is, in the words of the released checkpoints.
#[derive(Default)]
struct Place(Vec<Option<String>>);

impl Place {
    fn enter(&mut self, name: &str, container: &str) {
        let name = match name {
            "gamma" => "weight",
            "beta" => "bias",
            name => name,
        };
        // PyTorch has no names for the variants of an enum.
        self.0
            .push((!container.starts_with("Enum:")).then(|| name.to_owned()));
    }

    fn name(&self) -> String {
        self.0
            .iter()
            .flatten()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(".")
    }
}

/// Fills a module from arrays named as in the released checkpoints.
struct Fill {
    place: Place,
    weights: BTreeMap<String, Array>,
    missing: BTreeSet<String>,
}

impl ModuleMapper for Fill {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.0.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.place.name();
        match self.weights.remove(&name) {
            Some(array) => param.map(|old| {
                assert_eq!(old.dims().as_slice(), array.shape, "{name}");
                let new = array.float(&old.device());
                if old.is_require_grad() {
                    new.require_grad()
                } else {
                    new
                }
            }),
            None => {
                self.missing.insert(name);
                param
            }
        }
    }
}

/// Fills every parameter of a module, and uses every array.
fn fill<M: Module>(module: M, case: &Case, weights: BTreeMap<String, Array>) -> M {
    let mut fill = Fill {
        place: Place::default(),
        weights,
        missing: BTreeSet::new(),
    };
    let module = module.map(&mut fill);
    assert!(
        fill.missing.is_empty(),
        "{}: no weights for {:?}",
        case.name(),
        fill.missing
    );
    let unused: Vec<_> = fill.weights.keys().collect();
    assert!(
        unused.is_empty(),
        "{}: nothing takes {unused:?}",
        case.name()
    );
    module
}

fn load(case: &Case, pointer: &str, device: &Device) -> (Vqgan, BTreeMap<String, Array>) {
    let (mut weights, mut discriminator) = (BTreeMap::new(), BTreeMap::new());
    for (name, array) in arrays(&case.weights_path(pointer)) {
        match name.strip_prefix(DISCRIMINATOR) {
            Some(name) => discriminator.insert(name.to_owned(), array),
            None => weights.insert(name, array),
        };
    }
    // A counter of PyTorch's that only a momentum of None reads.
    discriminator.retain(|name, _| !name.ends_with("num_batches_tracked"));
    (
        fill(config(case).init(device), case, weights),
        discriminator,
    )
}

/// Collects the gradients that a case asks for.
struct Gradients<'a> {
    place: Place,
    gradients: &'a GradientsParams,
    prefix: String,
    wanted: &'a BTreeSet<String>,
    found: Outputs,
}

impl ModuleVisitor for Gradients<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.place.0.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("{}{}", self.prefix, self.place.name());
        if self.wanted.contains(&name) {
            let gradient = self.gradients.get::<D>(param.id);
            let gradient = gradient.unwrap_or_else(|| panic!("{name} has no gradient"));
            self.found.insert(name, gradient.into());
        }
    }
}

fn gradients<M: Module>(case: &Case, module: &M, loss: &Tensor<1>, prefix: &str) -> Outputs {
    let wanted = case.output_names().map(str::to_owned).collect();
    let gradients = GradientsParams::from_grads(loss.backward(), module);
    let mut collect = Gradients {
        place: Place::default(),
        gradients: &gradients,
        prefix: prefix.to_owned(),
        wanted: &wanted,
        found: Outputs::new(),
    };
    module.visit(&mut collect);
    collect.found
}

fn scalar(value: &Tensor<1>) -> Array {
    Array::new([], vec![f64::from(value.clone().into_scalar::<f32>())])
}

pub(super) fn vqgan(case: &Case) -> Outputs {
    assert_eq!(
        case.get::<f64>("/lpips_weight"),
        0.0,
        "{}: no LPIPS here",
        case.name()
    );
    let device = test_device().autodiff();
    let (vqgan, weights) = load(case, "/weights", &device);
    let width = case.get("/discriminator_width");
    let discriminator = PatchDiscriminatorConfig { width, depth: 3 }.init(&device);
    let discriminator: PatchDiscriminator = fill(discriminator, case, weights);
    let pixels = case.input("pixels").float::<4>(&device);

    let plain = vqgan.valid();
    let latents = plain.latents(pixels.clone().inner());
    let codes = plain.encode(pixels.clone().inner());
    let mut outputs = Outputs::from([
        ("latents".into(), latents.into()),
        ("decoded".into(), plain.decode(codes.clone()).into()),
        ("codes".into(), codes.into()),
    ]);

    let config = VqganLossConfig {
        beta: case.get("/beta"),
        gan_weight: case.get("/gan_weight"),
        ..VqganLossConfig::default()
    };
    for (prefix, adversary) in [("before_start.", None), ("", Some(&discriminator))] {
        let parts = generator_loss(
            &vqgan,
            adversary,
            pixels.clone(),
            pixels.clone(),
            &config,
            None,
        );
        outputs.insert(format!("{prefix}loss"), scalar(&parts.loss));
        outputs.extend(gradients(
            case,
            &vqgan,
            &parts.loss,
            &format!("{prefix}gradient."),
        ));
        if let Some(term) = parts.gan {
            outputs.insert("l1".into(), scalar(&parts.l1));
            let codebook = parts.codebook.expect("codes are trained");
            outputs.insert("codebook".into(), scalar(&codebook));
            outputs.insert("gan".into(), scalar(&term.gan));
            outputs.insert("balance".into(), scalar(&term.balance));
            let loss = discriminator_loss(&discriminator, pixels.clone(), parts.reconstruction);
            outputs.insert("discriminator_loss".into(), scalar(&loss));
            outputs.extend(gradients(
                case,
                &discriminator,
                &loss,
                "discriminator_gradient.",
            ));
        }
    }
    outputs
}

pub(super) fn pg_vqgan(case: &Case) -> Outputs {
    let device = test_device();
    let weights = arrays(&case.weights_path("/weights"));
    let guided = fill(config(case).init_pixel_guided(&device), case, weights);
    let codes = case.input("codes").int(&device);
    let first = case.find_input("first").map(|first| first.float(&device));
    let plain = first
        .is_none()
        .then(|| load(case, "/plain_weights", &device).0);
    let frames = guided.decode_video(codes, first, plain.as_ref());
    Outputs::from([("frames".into(), frames.into())])
}
