//! The rows of the table: each task with its settings, measured in a process of its own.

use std::process::Command;

use nuwa_model::preset::Size;
use nuwa_train::accelerator::Accelerator;
use serde_json::{Value, json};

use super::limit::bytes_of_a_token;
use super::{DEVICE, GRID, KERNELS, MEASURED_ON, PEAK, PIXELS, SCROLL_PX, precision, renderer};

/// Pictures of a training step.
pub(super) const TRAIN_BATCH: usize = 4;
/// Those of the larger renderers.
pub(super) const LARGE_BATCH: usize = 8;

/// A task to be measured.
struct Row {
    /// Its function here.
    name: &'static str,
    /// What the peer calls it.
    task: &'static str,
    settings: Value,
    /// Parts of a run of which one is reported.
    parts: usize,
    /// What such a part makes.
    items: usize,
    /// Pictures at once.
    pictures: usize,
    /// What a token reads, where all pictures write one at a time.
    token_bytes: Option<f64>,
}

/// Prints a line of JSON for each task that a device is measured with.
#[expect(clippy::print_stdout, reason = "the measurements are the result")]
pub(super) fn print(device: &str) {
    let rows = small().into_iter();
    for row in rows.chain(device.starts_with("cuda").then(large).into_iter().flatten()) {
        let table = measure(row.name, device);
        let seconds = median(&table, row.name) / row.parts as f64;
        let said = |what: &str| table.lines().find_map(|line| line.strip_prefix(what));
        let peak = said(PEAK);
        // A scroll is painted by a process further down.
        let peak = peak.filter(|_| row.name != "scroll");
        let mut line = row.settings;
        if let Some(peak) = peak.and_then(|bytes| bytes.parse::<u64>().ok()) {
            line["peak_mib"] = (peak >> 20).into();
        }
        if let Some(kernels) = said(KERNELS).and_then(|n| n.parse::<usize>().ok()) {
            line["kernels"] = kernels.into();
        }
        let card = said(MEASURED_ON).and_then(Accelerator::of_description);
        if let (Some(card), Some(bytes)) = (card, row.token_bytes) {
            let tokens_of_a_picture = row.items as f64 / row.pictures as f64;
            let least = tokens_of_a_picture * bytes / card.bandwidth();
            line["of_limit"] = Value::from(least / seconds);
        }
        line["task"] = row.task.into();
        line["seconds"] = seconds.into();
        line["items_per_s"] = Value::from(row.items as f64 / seconds);
        println!("{line}");
    }
}

/// Gives the tasks that any device is measured with.
fn small() -> Vec<Row> {
    let vqgan = json!({"config": "small", "batch": 1, "pixels": PIXELS, "item": "pictures"});
    let of_vqgan = |name| Row {
        name,
        task: name,
        settings: vqgan.clone(),
        parts: 1,
        items: 1,
        pictures: 1,
        token_bytes: None,
    };
    vec![
        training("train_step", Size::Tiny, TRAIN_BATCH),
        ar("ar_decode", Size::Tiny, 1),
        ar("ar_decode_8", Size::Tiny, 8),
        ar("ar_decode_64", Size::Tiny, 64),
        at_once("pnar_decode", "pnar_decode", Size::Tiny),
        at_once("nar_decode", "nar_decode", Size::Tiny),
        of_vqgan("vqgan_encode"),
        of_vqgan("vqgan_decode"),
        of_vqgan("vqgan_train_step"),
        Row {
            name: "scroll",
            task: "scroll",
            settings: ours(json!({"config": "hubble", "item": "pixels"})),
            parts: 1,
            items: SCROLL_PX[0] * SCROLL_PX[1],
            pictures: 1,
            token_bytes: None,
        },
    ]
}

/// Gives those for GPUs that compute in bf16.
fn large() -> Vec<Row> {
    let half = |mut row: Row| {
        row.settings["dtype"] = "bf16".into();
        row
    };
    let rows = [
        training("train_step_base", Size::Base, LARGE_BATCH),
        training("train_step_large", Size::Large, LARGE_BATCH),
        ar("ar_decode_base", Size::Base, 1),
        ar("ar_decode_base_8", Size::Base, 8),
        ar("ar_decode_base_64", Size::Base, 64),
        at_once("pnar_decode_base", "pnar_decode", Size::Base),
        at_once("nar_decode_base", "nar_decode", Size::Base),
        ar("ar_decode_large", Size::Large, 1),
        ar("ar_decode_large_8", Size::Large, 8),
        ar("ar_decode_large_64", Size::Large, 64),
        at_once("pnar_decode_large", "pnar_decode", Size::Large),
        at_once("nar_decode_large", "nar_decode", Size::Large),
    ];
    rows.map(half).into()
}

fn rendering(size: Size, batch: usize) -> Value {
    json!({"config": size.name(), "batch": batch, "grid": "4x4", "item": "tokens"})
}

/// Gives a row that trains every patch of the grid, of which one is reported.
fn training(name: &'static str, size: Size, batch: usize) -> Row {
    Row {
        name,
        task: "train_step",
        settings: rendering(size, batch),
        parts: GRID.count(),
        items: batch * renderer(size).tokens_per_patch(),
        pictures: batch,
        token_bytes: None,
    }
}

/// Says that nobody else has this task.
fn ours(mut settings: Value) -> Value {
    settings["peer"] = false.into();
    settings
}

/// Gives a row that paints every patch of the grid, many tokens at once.
fn at_once(name: &'static str, task: &'static str, size: Size) -> Row {
    Row {
        task,
        settings: ours(rendering(size, 1)),
        token_bytes: None,
        ..ar(name, size, 1)
    }
}

/// Gives a row that paints every patch of the grid, token by token.
fn ar(name: &'static str, size: Size, batch: usize) -> Row {
    let config = renderer(size);
    Row {
        name,
        task: "ar_decode",
        settings: rendering(size, batch),
        parts: 1,
        items: batch * GRID.count() * config.tokens_per_patch(),
        pictures: batch,
        token_bytes: Some(bytes_of_a_token(&config, batch, precision(size).bytes())),
    }
}

/// Measures one task in a process of its own; gives what it prints.
fn measure(name: &str, device: &str) -> String {
    let own = std::env::current_exe().expect("a running program has a path");
    let mut command = Command::new(own);
    command.args(["--bench", "--exact", &format!("speed::{name}")]);
    let measured = command.env(DEVICE, device).output();
    let measured = measured.expect("the program starts once more");
    let error = String::from_utf8_lossy(&measured.stderr);
    assert!(measured.status.success(), "{error}");
    String::from_utf8_lossy(&measured.stdout).into_owned()
}

/// Reads the median of a task, in seconds: the third column.
fn median(table: &str, name: &str) -> f64 {
    let is_of = |line: &&str| line.split_whitespace().nth(1) == Some(name);
    let row = table.lines().find(is_of).expect("every task is measured");
    let cell = row
        .split('│')
        .nth(2)
        .expect("divan prints the median third")
        .trim();
    let (number, unit) = cell.split_once(' ').expect("a number and its unit");
    let number: f64 = number.parse().expect("a number");
    let scale = match unit.trim() {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        unit => panic!("unit {unit}"),
    };
    number * scale
}
