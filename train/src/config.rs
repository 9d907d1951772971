//! `nuwa-train config`: a preset's numbers, and what training it takes on a device.

use clap::{Args, ValueEnum};
use indicatif::BinaryBytes;
use nuwa_model::preset::{Preset, Recipe, Size};
use nuwa_model::render::Precision;

use crate::accelerator::Accelerator;
use crate::render::Cost;

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
    /// Say what training takes on this device, and fail if it does not fit.
    #[arg(long = "for", value_enum, value_name = "DEVICE")]
    device: Option<Accelerator>,
    /// Records per update, where it shall not be the preset's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// What patches are rendered in, f32 or bf16: stage_two.precision of a run.
    #[arg(long, default_value = "f32")]
    precision: Precision,
}

pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    let mut recipe = args.preset.recipe(args.size);
    if let Some(batch) = args.batch {
        recipe.batch = batch as usize;
    }
    say!("{}", serde_json::to_string_pretty(&recipe)?);
    let (preset, size, n) = (args.preset, args.size, recipe.renderer.n_params());
    say!("{preset} {size}: {n} parameters ({:.1} M)", n as f64 / 1e6);
    let Some(device) = args.device else {
        return Ok(());
    };
    let name = device.to_possible_value().expect("every value has a name");
    let (name, memory) = (name.get_name(), device.memory());
    let peak = device.peak(args.precision);
    let unit = match args.precision {
        Precision::F32 => "TF32",
        Precision::Bf16 => "bf16",
    };
    let cost = Cost::of(&recipe.renderer, recipe.grid, args.precision);
    say!("{}", about(&recipe, &cost, args.precision));
    let usable = USABLE * memory;
    let Some(part) = cost.most_at_a_time(recipe.batch, usable) else {
        let needed = bytes(cost.bytes(recipe.batch, 1));
        let advice = match (cost.largest_batch(usable), args.size) {
            (Some(batch), _) => format!("--batch {batch}, whose caches fit into the pool"),
            (None, Size::Large) => "--size base".into(),
            (None, _) => "a device with more memory".into(),
        };
        anyhow::bail!(
            "{name}: training takes {needed} with one record at a time, {} are usable; try {advice}",
            bytes(usable)
        );
    };
    let needed = bytes(cost.bytes(recipe.batch, part));
    let how = match part < recipe.batch {
        true => format!("with --set stage_two.part={part}, that many records at a time"),
        false => "with all records of a batch at a time".into(),
    };
    say!("{name}: {needed} of {} {how}", bytes(memory));
    let seconds = cost.flops * recipe.batch as f64 / (REACHED * peak);
    let days = seconds * updates(&recipe) as f64 / 86_400.0;
    say!(
        "{name}: {seconds:.2} s an update and {days:.0} days in all, at {:.0} % of {:.0} TFLOP/s ({unit})",
        100.0 * REACHED,
        peak / 1e12
    );
    Ok(())
}

/// Optimizer updates of a whole training: one for each patch of every batch.
fn updates(recipe: &Recipe) -> u64 {
    let batches = (recipe.epochs * recipe.samples).div_ceil(recipe.batch);
    (batches * recipe.grid.count()) as u64
}

fn about(recipe: &Recipe, cost: &Cost, precision: Precision) -> String {
    format!(
        "an update ({} records, a patch of each, in {precision}): {:.1} TFLOP; {} of weights, gradients, \
         optimizer and average, {} for each record at a time, {} for each record in the pool; {} \
         updates in all",
        recipe.batch,
        cost.flops * recipe.batch as f64 / 1e12,
        bytes(cost.fixed_bytes),
        bytes(cost.graph_bytes),
        bytes(cost.pool_bytes),
        updates(recipe)
    )
}

fn bytes(bytes: f64) -> BinaryBytes {
    BinaryBytes(bytes as u64)
}
