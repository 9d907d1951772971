//! The real program: exit codes and streams, and a one-shot training from picture to weights.

use std::process::Command;
use std::time::{Duration, Instant};

use super::place::Place;
use nuwa_data::Picture;

/// A place with a picture.
fn place() -> Place {
    let place = Place::new();
    place.picture("in.png", 48, 40, 57);
    place
}

/// A model small enough to train in a test: patches are 8 × 8 px.
const SMALL: &str = "--device cpu --set vqgan.multipliers=[1,1] --set vqgan.z=8 \
    --set vqgan.code_dim=8 --set vqgan.n_codes=16 --set stage_one.crop_px=32 \
    --set stage_one.discriminator_width=4 --set renderer.n_codes=16 --set renderer.d_model=64 \
    --set renderer.n_layers=1 --set renderer.patch.h=4 --set renderer.patch.w=4";

#[test]
fn one_shot_leaves_a_run_within_its_budget() {
    let place = place();
    let start = Instant::now();
    let output = place.run(&format!(
        "one-shot @in.png --out @run --budget 6s --quiet {SMALL}"
    ));
    let took = start.elapsed();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("round trip") && text.contains("of 16 codes in use"),
        "{text}"
    );
    // Both stages write what they come to, in one row.
    let log = std::fs::read_to_string(place.path("run/log.jsonl")).expect("a log");
    let line = |text: &str| {
        let line: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let number = |name: &str| line[name].as_f64().expect("a number");
        (number("updates") as u64, number("stage") as u8)
    };
    let lines: Vec<(u64, u8)> = log.lines().map(line).collect();
    assert!(lines.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{log}");
    assert_eq!(lines.iter().map(|line| line.1).min(), Some(1));
    assert_eq!(lines.iter().map(|line| line.1).max(), Some(2));
    // Not a measure of speed: the budget is a promise, whatever the machine.
    assert!(
        (5.4..7.5).contains(&took.as_secs_f64()),
        "{took:?} for a budget of 6 s"
    );
    for file in [
        "run.toml",
        "report.json",
        "vqgan/config.json",
        "renderer/config.json",
    ] {
        assert!(place.path("run").join(file).is_file(), "{file}");
    }
    let config = std::fs::read_to_string(place.path("run/run.toml")).expect("the config");
    assert!(
        config.contains("n_codes = 16") && config.contains("smoothing = 0.15"),
        "{config}"
    );
    place.refused(
        &format!("one-shot @in.png --out @run {SMALL}"),
        1,
        "--force",
    );
}

#[test]
fn a_run_goes_on_from_another_and_may_keep_its_vqgan() {
    let place = place();
    let run = |words: &str| {
        let output = place.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words}: {error}");
    };
    let read = |name: &str| std::fs::read(place.path(name)).expect("the run has this file");
    let costs = "--set stage_one.rate_weight=0.05";
    run(&format!(
        "one-shot @in.png --out @run --budget 3s --quiet {SMALL} {costs}"
    ));
    let config = String::from_utf8(read("run/vqgan/config.json")).expect("JSON");
    assert!(
        config.contains("\"code_dim\": 9"),
        "codes keep what they cost: {config}"
    );
    let more = "--device cpu --budget 2s --quiet --set stage_one_share=0";
    run(&format!("one-shot @in.png --out @more --from @run {more}"));
    assert_eq!(
        read("more/vqgan/weights.bpk"),
        read("run/vqgan/weights.bpk")
    );
    assert_ne!(
        read("more/renderer/weights.bpk"),
        read("run/renderer/weights.bpk")
    );
    let report = String::from_utf8(read("more/report.json")).expect("JSON");
    assert!(report.contains("\"vqgan_steps\": 0"), "{report}");

    // Another renderer is begun anew, another VQGAN is not the one that was trained.
    let wider = "--set renderer.d_model=128";
    run(&format!(
        "one-shot @in.png --out @wide --from @run {more} {wider}"
    ));
    assert_eq!(
        read("wide/vqgan/weights.bpk"),
        read("run/vqgan/weights.bpk")
    );
    let config = String::from_utf8(read("wide/renderer/config.json")).expect("JSON");
    assert!(config.contains("\"d_model\": 128"), "{config}");
    for another in ["z=48", "code_dim=9"] {
        let another = format!("--from @run --out @other --device cpu --set vqgan.{another}");
        place.refused(&format!("one-shot @in.png {another}"), 1, "the VQGAN of");
    }
    let nothing = "--from @nothing --out @other --device cpu";
    place.refused(&format!("one-shot @in.png {nothing}"), 1, "nothing");
    let nowhere = format!("one-shot @in.png --out @other {SMALL} --set stage_one_share=0");
    place.refused(&nowhere, 2, "--from");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_with_usable_weights() {
    let place = place();
    let mut command = place.command(&format!(
        "one-shot @in.png --out @run --budget 10m --quiet {SMALL}"
    ));
    let mut child = command.spawn().expect("the program starts");
    // Into stage one: its config is written when training begins.
    let start = Instant::now();
    while !place.path("run/run.toml").exists() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "training never began"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    // As `timeout` does it: to the process, and at once to its group.
    for _ in 0..2 {
        let sent = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(sent.expect("kill is there").success());
    }
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let report = std::fs::read_to_string(place.path("run/report.json")).expect("a report");
    assert!(report.contains("\"stopped\": true"), "{report}");
    for weights in ["vqgan", "renderer"] {
        let output = place.run(&format!("weights inspect @run/{weights}"));
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn bad_requests_name_what_is_wrong() {
    let place = place();
    place.refused("", 2, "Usage");
    place.refused("one-shot @in.png", 2, "--out");
    let one_shot =
        |picture: &str, more: &str| format!("one-shot {picture} --out @run {SMALL} {more}");
    place.refused(&one_shot("@nothing.png", ""), 1, "nothing.png");
    place.refused(&one_shot("@in.png", "--budget soon"), 2, "budget");
    place.refused(&one_shot("@in.png", "--budget 0s"), 2, "budget");
    place.refused(&one_shot("@in.png", "--set stage_two.bach=1"), 2, "bach");
    place.refused(
        &one_shot("@in.png", "--set renderer.n_codes=7"),
        2,
        "n_codes",
    );
    place.refused(
        &one_shot("@in.png", "--set renderer.d_model=100"),
        2,
        "multiple of 64",
    );
    let elsewhere = one_shot("@in.png", "").replace("--device cpu", "--device abacus");
    place.refused(&elsewhere, 2, "abacus");
    place.refused(
        &one_shot("@in.png", "--set stage_one.crop_px=16"),
        2,
        "adversary",
    );
    Picture::new(1, 1, vec![1, 2, 3])
        .write(&place.path("dot.png"))
        .expect("written");
    place.refused(&one_shot("@dot.png", ""), 1, "1 × 1 px");
    // A patch fits, but the adversary would see nothing of it.
    Picture::filled(16, 12, [9; 3])
        .write(&place.path("small.png"))
        .expect("written");
    place.refused(&one_shot("@small.png", ""), 1, "adversary");
    std::fs::write(place.path("cut.png"), b"\x89PNG\r\n\x1a\n").expect("written");
    place.refused(&one_shot("@cut.png", ""), 1, "cut.png");
    let into_file = one_shot("@in.png", "").replace("@run", "@in.png/run");
    place.refused(&into_file, 1, "in.png");
    assert!(
        !place.path("run").exists(),
        "a refused request leaves nothing"
    );
    place.refused("weights inspect @nothing", 1, "nothing");
}
