//! Plans, what programs are told, seams, and completions.

use nuwa_data::Picture;
use serde_json::Value;

use super::{OUTPAINT, PAINT, Place, files};

const PLAN: &str = "plan paint --device cpu --model @run";

/// Reads one JSON object per line.
fn events(text: &str) -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).expect("a JSON object");
    text.lines().map(parse).collect()
}

#[test]
fn a_plan_says_what_it_takes_and_writes_nothing() {
    let place = Place::new();
    let before = files(place.folder.path());
    let text = place.done(&format!("{PLAN} --size 96x32 --parallel 1"));
    for part in [
        "96 × 32 px in 12 × 4 patches of 8 × 8 px",
        "48 to paint, 0 known",
        "--route sweep, 26 levels, 48 batches with --parallel 1",
        "pool        6 caches of keys and values at most",
        "disk        9.00 KiB while decoding",
        "tokens/s), decoding",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // The same arguments as the task, outputs with them.
    let plan = OUTPAINT.replace("outpaint --device", "plan outpaint --device");
    let text = place.done(&format!("{plan} --size 40x30 --out @out.nuwa"));
    for part in ["known", "encoding", "at most in", "out.png", "out.nuwa"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(files(place.folder.path()), before);
    place.refused(&format!("{PLAN} --size 0x32"), 2, "no pixels");
    place.refused(&format!("{plan} --size 19x30"), 2, "does not lie inside");
    place.refused("paint --model @run --size 8x8", 2, "--out");
}

#[test]
fn what_is_planned_is_what_is_painted() {
    let place = Place::new();
    let plan = OUTPAINT.replace("outpaint --device", "plan outpaint --json --device");
    let paint = OUTPAINT.replace("outpaint --device", "outpaint --json --device");
    let size = "--size 44x38 --at 7,3 --seed 1";
    let planned = events(&place.done(&format!("{plan} {size}")));
    let painted = events(&place.done(&format!("{paint} {size}")));
    let (planned, start) = (&planned[0], &painted[0]);
    assert_eq!(planned["event"], "plan");
    assert_eq!(planned["n_open"], start["open"]);
    assert_eq!(planned["n_levels"], start["levels"]);
    assert_eq!(planned["route"], start["route"]);
    let pools = painted.iter().filter_map(|event| event["pool"].as_u64());
    assert!(pools.max() <= planned["peak_pool"].as_u64(), "{planned}");
    assert!(planned["paint_s"].as_f64().is_some_and(|s| s > 0.0));
}

#[test]
fn a_budget_makes_batches_smaller_or_says_what_does_not_fit() {
    let place = Place::new();
    let planned = |budget: &str| {
        let words = format!("{PLAN} --size 512x256 --json --budget-memory {budget}");
        events(&place.done(&words)).remove(0)
    };
    let bytes = |plan: &Value| {
        let device = |name: &str| plan["device"][name].as_u64().expect("a number");
        device("weights") + device("pool") + device("wave")
    };
    let rich = planned("8GB");
    assert_eq!(rich["parallel"], 8);
    let n = |plan: &Value| plan["device"]["windows"].as_u64().expect("a number");
    assert!(n(&rich) > bytes(&rich), "decoding decides here");
    place.refused(
        &format!("{PLAN} --size 512x256 --budget-memory 1MB"),
        1,
        "does not hold",
    );
    place.refused(
        &format!("{PLAN} --size 512x256 --budget-memory much"),
        2,
        "no size such as 6GB",
    );
}

#[test]
fn what_is_made_to_fit_has_the_same_tokens() {
    let place = Place::new();
    let size = "--size 320x16";
    let plan = events(&place.done(&format!("{PLAN} {size} --json"))).remove(0);
    let bytes = |part: &str, name: &str| plan[part][name].as_u64().expect("a number");
    let host: u64 = ["tokens", "route", "bands"]
        .map(|name| bytes("host", name))
        .iter()
        .sum();
    let needed = bytes("device", "weights") + bytes("device", "windows") + host;
    let budget = format!("--budget-memory {}", needed - 1);
    let fitted = events(&place.done(&format!("{PLAN} {size} --json {budget}"))).remove(0);
    let windows = |plan: &Value| plan["device"]["windows"].as_u64();
    assert!(windows(&fitted) < windows(&plan), "{fitted}");

    let paint = |more: &str, name: &str| {
        place.done(&format!(
            "{PAINT} --out @{name}.nuwa {size} --seed 3 {more}"
        ));
        std::fs::read(place.path(&format!("{name}.nuwa"))).expect("tokens")
    };
    let tokens = paint("", "rich");
    assert_eq!(paint(&budget, "lean"), tokens);
    assert_eq!(paint("--parallel 1", "serial").len(), tokens.len());
    // Nobody looks: previews are for terminals.
    assert_eq!(paint("--preview", "seen"), tokens);
    place.refused(
        &format!("{PAINT} {size} --budget-memory 1MB"),
        1,
        "does not hold",
    );
    place.refused(&format!("{PAINT} {size} --parallel none"), 2, "auto");
}

#[test]
fn programs_are_told_one_object_per_line() {
    let place = Place::new();
    let told = |words: &str| {
        let output = place.run(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{words}: {error}");
        assert_eq!(error, "", "{words}");
        events(&String::from_utf8_lossy(&output.stdout))
    };
    let paint = PAINT.replace("--quiet", "--json");
    let found = told(&format!(
        "{paint} --out @out.nuwa --size 24x16 --parallel 1 --seed 9"
    ));
    let names: Vec<_> = found.iter().map(|event| event["event"].as_str()).collect();
    let mut expected = vec![Some("start")];
    expected.extend([Some("patches"); 6]);
    expected.extend(["written", "written", "done"].map(Some));
    assert_eq!(names, expected);
    assert_eq!(found[0]["task"], "paint");
    assert_eq!(found[0]["seed"], 9);
    assert_eq!(
        (&found[0]["width"], &found[0]["height"]),
        (&24.into(), &16.into())
    );
    let done: Vec<_> = found[1..7]
        .iter()
        .map(|event| event["done"].as_u64())
        .collect();
    assert_eq!(done, (1..=6).map(Some).collect::<Vec<_>>());
    for event in &found[1..7] {
        assert_eq!(event["of"], 6);
        assert!(
            event["tokens_per_s"]
                .as_f64()
                .is_some_and(|rate| rate > 0.0)
        );
        if cfg!(target_os = "linux") {
            assert!(
                event["rss_bytes"]
                    .as_u64()
                    .is_some_and(|bytes| bytes > 1 << 20)
            );
        }
    }
    assert_eq!(found[6]["eta_s"], 0.0);
    let png = place.path("out.png").display().to_string();
    assert_eq!(found[8]["path"], Value::from(png));

    let model = "--device cpu --json --model @run";
    let found = told(&format!("decode @out.nuwa {model} --out @again.png"));
    assert_eq!(found[0]["open"], 0);
    assert_eq!(found[1]["event"], "written");
    let found = told(&format!("edit @out.nuwa {model} --region 0,0,8x8 --seed 2"));
    assert_eq!(found[1]["of"], 1);
    // Errors stay where people look for them.
    place.refused(&format!("{paint} --size 0x16"), 2, "no pixels");
}

#[test]
fn seams_are_measured_in_pictures_and_in_tokens() {
    let place = Place::new();
    place.done(&format!(
        "{OUTPAINT} --out @out.nuwa --size 40x30 --at 7,3 --seed 6"
    ));
    let picture = place.done("info @out.png --quality");
    let of = |text: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with("seams"))
            .expect("seams")
            .to_owned();
        assert!(
            line.contains("patches ") && line.contains("given picture "),
            "{line}"
        );
        line
    };
    let tokens = place.done("info @out.nuwa --quality --model @run --device cpu");
    assert_eq!(of(&picture), of(&tokens));

    // A step at one border of patches, on the same picture.
    place.done(&format!("{PAINT} --size 64x16 --seed 6"));
    let ratio = || {
        let text = place.done("info @out.png --quality");
        let (_, rest) = text.split_once("patches ").expect("a ratio");
        let number: String = rest
            .chars()
            .take_while(|c| *c != ',' && *c != '\n')
            .collect();
        number.parse::<f64>().expect("a number")
    };
    let before = ratio();
    let path = place.path("out.png");
    let about = nuwa_data::out::description(&path).expect("readable");
    let mut changed = Picture::read(&path).expect("a picture");
    for (at, byte) in changed.rgb_mut().iter_mut().enumerate() {
        let is_high = at / 3 % 64 / 8 % 2 == 0;
        *byte = if is_high {
            byte.saturating_add(90)
        } else {
            *byte
        };
    }
    let spool = nuwa_data::Spool::create(place.folder.path(), 64, 16, 1).expect("room");
    spool.paste(0, 0, 0, &changed).expect("room");
    let options = nuwa_data::out::Options {
        description: about,
        ..Default::default()
    };
    nuwa_data::out::write(&spool, &path, &options).expect("written");
    assert!(ratio() > 1.3 * before, "{} after {before}", ratio());

    place.refused(
        "info @out.nuwa --quality --device cpu",
        2,
        "needs the --model",
    );
    place.refused("info @in.png --quality", 1, "does not say how it was made");
}

#[test]
fn shells_are_told_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.done(&format!("completions {shell}"));
        for word in ["outpaint", "budget-memory", "copy-distance"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    place.refused("completions tea", 2, "tea");
}
