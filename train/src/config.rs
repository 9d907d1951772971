//! `nuwa-train config`: a preset's numbers, and what training it takes on a device.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::BinaryBytes;
use nuwa_data::store::{StoreSpec, TextSpec};
use nuwa_model::clip::{CONTEXT_LENGTH, ClipTextConfig};
use nuwa_model::patch::{GridSize, TokenSize};
use nuwa_model::preset::{Preset, Size};
use nuwa_model::render::Precision;
use toml::Table;

use crate::accelerator::Accelerator;
use crate::cli::Misuse;
use crate::render::{Cost, RenderRunConfig, provenance};

/// Share of a device's peak that a training is taken to reach.
const REACHED: f64 = 0.15;
/// Share of a device's memory that tensors can have: the rest is the driver's, and lost between them.
const USABLE: f64 = 0.9;

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// uighd, t2ihd, iahd or t2vhd.
    preset: Preset,
    /// tiny, base or large.
    #[arg(long, default_value = "large")]
    size: Size,
    /// What reads captions, if the preset has some.
    #[arg(long, value_enum, default_value = "clip")]
    text: Captions,
    /// TOML with what shall differ from the preset.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change a number of the config, such as stage_two.batch=2; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Say what training takes on this device, and fail if it does not fit.
    #[arg(long = "for", value_enum, value_name = "DEVICE")]
    device: Option<Accelerator>,
}

/// What reads captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Captions {
    /// The frozen text tower of CLIP ViT-B/32, as in the papers.
    Clip,
    /// A small tower that learns with the renderer.
    Ids,
}

pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let (preset, size) = (args.preset, args.size);
    let recipe = preset.recipe(size);
    let (grid, patch) = (recipe.grid, recipe.renderer.patch);
    let tokens = [grid.f * patch.f, grid.h * patch.h, grid.w * patch.w];
    let spec = StoreSpec {
        fingerprint: String::new(),
        tokens,
        text: recipe.renderer.d_text.map(|_| args.text.stored()),
        crops: 1,
    };
    let told = (args.config.as_deref(), &*args.set);
    let store = (&spec, recipe.samples);
    let config = RenderRunConfig::effective((preset, size), Path::new(""), store, |_| (), told)
        .map_err(Misuse)?;
    if let Some(problem) = config.problem(&spec) {
        return Err(Misuse(problem).into());
    }

    let [f, h, w] = tokens;
    let (dataset, samples, epochs) = (recipe.dataset, recipe.samples, recipe.epochs);
    say!(
        "# {preset} {size}: {samples} records of {dataset}, {f} x {h} x {w} tokens each, {epochs} epochs ([P] Tab. 1)"
    );
    let n = config.renderer.n_params();
    say!("# {n} parameters of the renderer ({:.1} M)", n as f64 / 1e6);
    say!(
        "{}",
        provenance::annotated(&config, size, &told_keys(args)?)
    );
    match args.device {
        Some(device) => estimate(&config, tokens, device, size),
        None => Ok(()),
    }
}

impl Captions {
    fn stored(self) -> TextSpec {
        let length = CONTEXT_LENGTH;
        match self {
            Self::Clip => TextSpec::States {
                length,
                width: ClipTextConfig::vit_b32().hidden_size,
            },
            Self::Ids => TextSpec::Ids { length },
        }
    }
}

/// Gives the keys of what differs from the preset because somebody said so.
fn told_keys(args: &ConfigArgs) -> anyhow::Result<Vec<String>> {
    let of_pair = |pair: &String| Some(pair.split_once('=')?.0.trim().to_owned());
    let mut told: Vec<String> = args.set.iter().filter_map(of_pair).collect();
    if let Some(file) = &args.config {
        let table: Table = toml::from_str(&std::fs::read_to_string(file)?)?;
        told.extend(provenance::keys(&table, ""));
    }
    Ok(told)
}

/// Says what a training takes on a device.
fn estimate(
    config: &RenderRunConfig,
    tokens: [usize; 3],
    device: Accelerator,
    size: Size,
) -> anyhow::Result<()> {
    let stage = &config.stage_two;
    let name = device.to_possible_value().expect("every value has a name");
    let (name, memory) = (name.get_name(), device.memory());
    let peak = device.peak(stage.precision);
    let unit = match stage.precision {
        Precision::F32 => "TF32",
        Precision::Bf16 => "bf16",
    };
    let TokenSize { f, h, w } = config.renderer.patch;
    let grid = GridSize {
        f: tokens[0] / f,
        h: tokens[1] / h,
        w: tokens[2] / w,
    };
    let cost = Cost::of(&config.renderer, grid, stage.precision);
    say!("\n{}", about(config, &cost));
    let usable = USABLE * memory;
    let Some(most) = cost.most_at_a_time(stage.batch, usable) else {
        let needed = bytes(cost.bytes(stage.batch, 1));
        let advice = match (cost.largest_batch(usable), size) {
            (Some(batch), _) => {
                format!("--set stage_two.batch={batch}, whose caches fit into the pool")
            }
            (None, Size::Large) => "--size base".into(),
            (None, _) => "a device with more memory".into(),
        };
        anyhow::bail!(
            "{name}: training takes {needed} with one record at a time, {} are usable; try {advice}",
            bytes(usable)
        );
    };
    let part = match stage.part {
        0 => most,
        part => part.min(stage.batch),
    };
    let needed = bytes(cost.bytes(stage.batch, part));
    anyhow::ensure!(
        part <= most,
        "{name}: training takes {needed} with {part} records at a time, {} are usable; try --set \
         stage_two.part={most}",
        bytes(usable)
    );
    let how = match part < stage.batch {
        true => format!("with stage_two.part={part}, that many records at a time"),
        false => "with all records of a batch at a time".into(),
    };
    say!("# {name}: {needed} of {} {how}", bytes(memory));
    let seconds = cost.flops * stage.batch as f64 / (REACHED * peak);
    let days = seconds * stage.updates as f64 / 86_400.0;
    say!(
        "# {name}: {seconds:.2} s an update and {days:.0} days in all, at {:.0} % of {:.0} TFLOP/s ({unit})",
        100.0 * REACHED,
        peak / 1e12
    );
    Ok(())
}

fn about(config: &RenderRunConfig, cost: &Cost) -> String {
    let stage = &config.stage_two;
    format!(
        "# an update ({} records, a patch of each, in {}): {:.1} TFLOP; {} of weights, gradients, \
         optimizer and average, {} for each record at a time, {} for each record in the pool",
        stage.batch,
        stage.precision,
        cost.flops * stage.batch as f64 / 1e12,
        bytes(cost.fixed_bytes),
        bytes(cost.graph_bytes),
        bytes(cost.pool_bytes),
    )
}

fn bytes(bytes: f64) -> BinaryBytes {
    BinaryBytes(bytes as u64)
}
