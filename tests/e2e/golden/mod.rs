//! Golden parity: every case below `tests/golden`, and below `NUWA_GOLDEN_DIR` when it is set, at
//! its stated tolerance. The cases come from an independent implementation in float64.

mod case;
mod clip;
mod geometry;
mod render;
mod vqgan;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use case::{Array, Case};

type Outputs = BTreeMap<String, Array>;

fn run(case: &Case) -> Outputs {
    match case.kind() {
        "orders" => geometry::orders(case),
        "plan" => geometry::plan(case),
        "schedule" => geometry::schedule(case),
        "render_forward" => render::forward(case),
        "render_train" => render::train(case),
        "render_generate" => render::generate(case),
        "vqgan" => vqgan::vqgan(case),
        "pg_vqgan" => vqgan::pg_vqgan(case),
        "clip_text" => clip::text(case),
        "clip_tokenize" => clip::tokenize(case),
        kind => panic!("{}: nothing here runs cases of kind {kind:?}", case.name()),
    }
}

fn folders() -> Vec<PathBuf> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let more = std::env::var_os("NUWA_GOLDEN_DIR").map(PathBuf::from);
    std::iter::once(shipped).chain(more).collect()
}

#[test]
fn golden_cases_agree_at_their_tolerance() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for folder in folders() {
        let cases = case::all_in(&folder);
        assert!(!cases.is_empty(), "no golden cases in {}", folder.display());
        for case in cases {
            let outputs = run(&case);
            failures.extend(case.compare(&outputs));
            *counts.entry(case.kind().to_owned()).or_default() += 1;
        }
    }
    let total: usize = counts.values().sum();
    let kinds: Vec<String> = counts
        .iter()
        .map(|(kind, n)| format!("{kind} {n}"))
        .collect();
    // Written past the capture of the test harness: this line is part of what the test is for.
    writeln!(
        std::io::stdout(),
        "\ngolden: {total} cases ran: {}",
        kinds.join(", ")
    )
    .expect("standard output is open");
    assert!(
        failures.is_empty(),
        "{} outputs differ:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
