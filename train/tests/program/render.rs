//! Stage two: killed, interrupted and damaged runs end as one that ran through.

use std::fs;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use nuwa_data::Picture;
use nuwa_model::checkpoint;
use nuwa_model::clip::ClipText;
use nuwa_model::render::Renderer;
use serde_json::Value;

use super::place::Place;
use super::tokenize;
use super::training::{
    checkpoints, expect_stop_before_ruin, interrupt, kill_until_over, losses, start, wait_for_next,
};

/// A small renderer: 12 updates of 4 patches are 3 batches of 2 of the 5 pictures.
const SMALL: &str = "--device cpu --set renderer.d_model=64 --set renderer.n_layers=1 \
    --set renderer.extent.w=1 --set renderer.extent.h=1 --set stage_two.batch=2 \
    --set stage_two.warmup=0.25 --set stage_two.log_every=4 --set stage_two.checkpoint_every=8";

/// A place with a store of 5 pictures of 16 × 16 tokens.
fn place() -> Place {
    let place = tokenize::place();
    for seed in 0..5 {
        place.picture(&format!("in/{seed}.png"), 32, 32, 7 * seed);
    }
    place.done("tokenize @in --vqgan @run --out @store --device cpu");
    place
}

fn begin(run: &str, updates: usize) -> String {
    format!("render @{run} --tokens @store --vqgan @run {SMALL} --set stage_two.updates={updates}")
}

/// Expects two runs to have come to the same weights, bit for bit, on the same way.
fn expect_alike(place: &Place, found: &str, expected: &str) {
    let [found, expected] = [found, expected].map(|run| place.path(run));
    assert_eq!(losses(&found), losses(&expected));
    let weights = |run: &Path| {
        let folder = run.join("renderer");
        let loaded = checkpoint::load::<Renderer>(&folder, &Device::flex());
        checkpoint::fingerprint(&loaded.expect("weights").0)
    };
    assert_eq!(weights(&found), weights(&expected));
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_that_ran_through() {
    let place = place();
    place.done(&begin("whole", 64));
    let go_on = "render @killed --device cpu";
    kill_until_over(&place, &begin("killed", 64), go_on, "killed");
    expect_alike(&place, "killed", "whole");
    assert_eq!(
        checkpoints(&place.path("killed"))
            .last()
            .map(String::as_str),
        Some("000000064")
    );
    // Half precision rounds, but the same way each time.
    let half = |run| begin(run, 24) + " --set stage_two.precision=bf16";
    place.done(&half("whole-bf16"));
    let run = place.path("killed-bf16");
    let mut child = start(&place, &half("killed-bf16"));
    assert!(wait_for_next(&mut child, &run, None));
    child.kill().expect("killed");
    child.wait().expect("reaped");
    place.done("render @killed-bf16 --device cpu");
    expect_alike(&place, "killed-bf16", "whole-bf16");
}

#[test]
fn samples_are_painted_on_the_way_and_change_nothing() {
    let place = place();
    place.done(&begin("plain", 12));
    let (_, note) = place.done(&(begin("shown", 12) + " --set stage_two.sample_every=4 --quiet"));
    assert_eq!(note, "");
    expect_alike(&place, "shown", "plain");
    let samples = fs::read_dir(place.path("shown/samples")).expect("samples");
    let mut samples: Vec<_> = samples.map(|entry| entry.expect("read").path()).collect();
    samples.sort();
    let pictures: Vec<Picture> = samples
        .iter()
        .map(|path| Picture::read(path).expect("a picture"))
        .collect();
    assert_eq!(pictures.len(), 3);
    assert!(pictures.iter().all(|it| (it.w(), it.h()) == (32, 32)));
    // The last one is what the run paints.
    let infer = place.path("again.png");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_nuwa-train"));
    let painted = std::process::Command::new(program.with_file_name("nuwa-infer"))
        .args("paint --size 32x32 --seed 0 --device cpu --model".split(' '))
        .arg(place.path("shown"))
        .arg("--out")
        .arg(&infer)
        .output();
    assert!(painted.expect("it starts").status.success());
    assert!(Picture::read(&infer).expect("a picture") == pictures[2]);
    let words = begin("told", 12) + " --set stage_two.sample_prompt=lake";
    place.refused(&words, 2, "the store has no captions");
}

#[test]
fn an_interrupted_run_keeps_what_it_has_and_a_damaged_checkpoint_is_passed_over() {
    let place = place();
    place.done(&begin("whole", 48));
    let run = place.path("stopped");
    interrupt(&place, &begin("stopped", 48), "stopped");
    let kept = checkpoints(&run);
    assert!(run.join("renderer/weights.bpk").exists() && !kept.is_empty());
    if let [.., newest] = kept.as_slice()
        && kept.len() > 1
    {
        let weights = run.join("checkpoints").join(newest).join("weights.bpk");
        let mut bytes = fs::read(&weights).expect("weights");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&weights, bytes).expect("written");
        let (_, said) = place.done("render @stopped --device cpu");
        assert!(
            said.contains(newest.as_str()) && said.contains("is damaged"),
            "{said}"
        );
    } else {
        place.done("render @stopped --device cpu");
    }
    expect_alike(&place, "stopped", "whole");
}

#[test]
fn a_gradient_that_is_not_finite_stops_the_run_before_the_update() {
    let place = place();
    place.done(&begin("run-2", 8));
    expect_stop_before_ruin(&place, "run-2", "render @run-2 --device cpu");
}

#[test]
fn a_batch_in_parts_on_two_devices_computed_twice_or_in_bf16_learns_what_it_learns_at_once() {
    let place = place();
    place.done(&begin("whole", 12));
    place.done(&format!("{} --set stage_two.part=1", begin("parts", 12)));
    place.done(&format!(
        "{} --set stage_two.checkpointing=true",
        begin("twice", 12)
    ));
    let precision = "--set stage_two.precision=bf16";
    place.done(&format!("{} {precision}", begin("half", 12)));
    place.done(&begin("shared", 12).replace("--device cpu", "--device cpu,cpu"));
    let loss = |run: &str| losses(&place.path(run)).pop().expect("a line")["loss"].as_f64();
    let [whole, parts, shared, twice, half] =
        ["whole", "parts", "shared", "twice", "half"].map(|run| loss(run).expect("a number"));
    assert!((whole - parts).abs() < 1e-4, "{whole} and {parts}");
    assert!((parts - shared).abs() < 1e-6, "{parts} and {shared}");
    assert!((whole - twice).abs() < 1e-6, "{whole} and {twice}");
    let apart = (whole - half).abs();
    assert!(apart > 1e-6 && apart < 1e-2, "{whole} and {half}");
}

#[test]
fn held_out_records_judge_each_checkpoint() {
    let place = place();
    place.done("tokenize @in --vqgan @run --out @small --size 16x16 --device cpu");
    let settings = "--set stage_two.average=0 --set stage_two.peak_rate=0.01";
    let begin = format!("{} {settings}", begin("held", 24));
    place.refused(&format!("{begin} --valid @small"), 1, "differ");
    place.done(&format!("{begin} --valid @store"));
    let text = fs::read_to_string(place.path("held").join("log.jsonl")).expect("a log");
    let line = |line: &str| -> Value { serde_json::from_str(line).expect("JSON") };
    let judged: Vec<(u64, f64)> = text
        .lines()
        .map(line)
        .filter_map(|line| Some((line["updates"].as_u64()?, line["valid_loss"].as_f64()?)))
        .collect();
    let updates: Vec<u64> = judged.iter().map(|(updates, _)| *updates).collect();
    assert_eq!(updates, [8, 16, 24]);
    assert!(judged[2].1 < judged[0].1, "{judged:?}");

    // One between two judgements, here every 40 updates, cannot be the best.
    let longer = "--valid @store --set stage_two.checkpoint_every=40";
    interrupt(
        &place,
        &format!("{} {longer}", self::begin("stopped", 4000)),
        "stopped",
    );
    let run = place.path("stopped");
    for name in checkpoints(&run) {
        let list = run.join("checkpoints").join(&name).join("checkpoint.json");
        let list: Value = serde_json::from_slice(&fs::read(list).expect("a list")).expect("JSON");
        let updates: u64 = name.parse().expect("a number");
        assert_eq!(
            list["loss"].is_number(),
            updates.is_multiple_of(40),
            "{list}"
        );
    }
}

#[test]
fn a_run_that_no_longer_gets_better_ends_and_keeps_the_best() {
    let place = place();
    let words = format!(
        "{} --valid @store --set stage_two.average=0 --set stage_two.peak_rate=0.1 \
         --set stage_two.keep=9 --set stage_two.patience=2",
        begin("lost", 400)
    );
    let (said, _) = place.done(&words);
    assert!(said.contains("held-out loss no longer falls"), "{said}");
    let run = place.path("lost");
    let held_out: Vec<(u64, f64)> = losses(&run)
        .iter()
        .filter_map(|line| Some((line["updates"].as_u64()?, line["valid_loss"].as_f64()?)))
        .collect();
    let lowest = held_out.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    let &(best, _) = lowest.expect("there is one");
    let &(last, _) = held_out.last().expect("there is one");
    assert_eq!(last, best + 2 * 8, "{held_out:?}");
    assert!(
        said.contains(&format!("of update {best}, are kept")),
        "{said}"
    );

    // It knows that it is over.
    let painter = || fs::read(run.join("renderer/weights.bpk")).expect("weights");
    let (kept, logged) = (painter(), losses(&run));
    let (said, _) = place.done("render @lost --device cpu");
    assert!(said.contains("held-out loss no longer falls"), "{said}");
    assert_eq!((painter(), losses(&run)), (kept, logged));

    // The same weights as of a run that ended there.
    let weights = || {
        let loaded = checkpoint::load::<Renderer>(&run.join("renderer"), &Device::flex());
        checkpoint::fingerprint(&loaded.expect("weights").0)
    };
    let kept = weights();
    for later in checkpoints(&run)
        .iter()
        .filter(|name| name.parse::<u64>() != Ok(best))
    {
        fs::remove_dir_all(run.join("checkpoints").join(later)).expect("removed");
    }
    let config = fs::read_to_string(run.join("run.toml")).expect("a config");
    let config = config.replace("updates = 400", &format!("updates = {best}"));
    fs::write(run.join("run.toml"), config).expect("written");
    let (said, _) = place.done("render @lost --device cpu");
    assert!(said.contains("done after"), "{said}");
    assert_eq!(weights(), kept);
}

#[test]
fn captions_train_a_text_tower_of_the_run_and_losses_fall() {
    let place = place();
    for seed in 0..5 {
        let caption = ["a red sky", "snow", "a lake", "hills", "sun"][seed];
        fs::write(place.path(&format!("in/{seed}.txt")), caption).expect("written");
    }
    place.done("tokenize @in --vqgan @run --out @told --device cpu --text ids");
    let words = begin("run-2", 160).replace("@store", "@told");
    let tower = "--preset t2ihd --set tower.hidden_size=64 --set tower.num_attention_heads=1 \
        --set tower.intermediate_size=64 --set stage_two.peak_rate=0.003 --set stage_two.average=0.9";
    let (said, _) = place.done(&format!("{words} {tower}"));
    assert!(said.contains("done after 160 of 160 updates"), "{said}");
    let losses = losses(&place.path("run-2"));
    let loss = |line: &Value| line["loss"].as_f64().expect("a number");
    // How well tokens can be told depends on the VQGAN, which is drawn anew: 0.30 to 0.55 of the first loss.
    let (first, last) = (loss(&losses[0]), &losses[losses.len() - 10..]);
    let last = last.iter().map(loss).sum::<f64>() / 10.0;
    assert!(last < 0.7 * first, "{first} to {last}");
    let device = Device::flex();
    let (_, tower, _) =
        checkpoint::load::<ClipText>(&place.path("run-2/text"), &device).expect("text");
    let (_, renderer, _) =
        checkpoint::load::<Renderer>(&place.path("run-2/renderer"), &device).expect("a renderer");
    assert_eq!(renderer.d_text, Some(tower.hidden_size));
    begins_with(&place, "run-2");
}

/// Gives all numbers of a network.
fn numbers<M: Module>(network: &M) -> Vec<f32> {
    struct Numbers(Vec<f32>);
    impl ModuleVisitor for Numbers {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let data = param.val().into_data();
            self.0.extend(data.try_to_vec::<f32>().expect("f32"));
        }
    }
    let mut found = Numbers(Vec::new());
    network.visit(&mut found);
    found.0
}

/// Begins a run with the weights of another one, and leaves them as they are: its rate is lost when they are kept in
/// half precision, but for the sign of a zero. So numbers are compared, not bits.
fn begins_with(place: &Place, first: &str) {
    let words = format!(
        "render @next --tokens @told --vqgan @run --init-from @{first} --device cpu \
        --set stage_two.updates=4 --set stage_two.batch=2 --set stage_two.peak_rate=1e-30 \
        --set stage_two.average=0"
    );
    let other = words.replace("@next", "@other") + " --set renderer.n_layers=2";
    place.refused(&other, 2, "the architecture is that of --init-from");
    let weights = |run: &str| {
        let device = Device::flex();
        let run = place.path(run);
        let renderer = checkpoint::load::<Renderer>(&run.join("renderer"), &device);
        let tower = checkpoint::load::<ClipText>(&run.join("text"), &device);
        let (renderer, tower) = (renderer.expect("a renderer").0, tower.expect("a tower").0);
        [numbers(&renderer), numbers(&tower)]
    };
    place.done(&words);
    assert!(weights("next") == weights(first));
    // Killed before its first checkpoint, a run begins with them once more.
    fs::remove_dir_all(place.path("next/checkpoints")).expect("removed");
    fs::remove_dir_all(place.path("next/renderer")).expect("removed");
    place.done("render @next --device cpu");
    assert!(weights("next") == weights(first));
}

#[test]
fn a_store_may_need_smaller_patches_than_those_of_the_preset() {
    let place = tokenize::place();
    place.picture("in/0.png", 24, 24, 1);
    place.done("tokenize @in --vqgan @run --out @store --device cpu");
    let words = "render @small --tokens @store --vqgan @run --device cpu \
        --set renderer.d_model=64 --set renderer.n_layers=1 --set stage_two.updates=9";
    place.refused(words, 2, "not whole patches");
    let patches = "--set renderer.patch.h=4 --set renderer.patch.w=4";
    place.done(&format!("{words} {patches}"));
    // What the preset counts in patches is counted in these.
    let config = fs::read_to_string(place.path("small/run.toml")).expect("a config");
    assert!(config.contains("log_every = 9"), "{config}");
}

#[test]
fn runs_that_cannot_be_are_refused_before_anything_is_written() {
    let place = place();
    let words = begin("no-run", 12);
    for (more, code, why) in [
        ("--set stage_two.patience=1", 2, "no held-out records"),
        ("--device cpu,cpu", 2, "3 devices cannot share 2 records"),
        ("--set stage_two.bach=3", 2, "did you mean \"batch\"?"),
        ("--set stage_two.smoothing=1.5", 2, "below 1"),
        (
            "--set stage_two.precision=f16",
            2,
            "expected `f32` or `bf16`",
        ),
        ("--set stage_two.caption_dropout=0.1", 2, "no captions"),
        ("--set renderer.patch.h=5", 2, "not whole patches"),
        ("--set renderer.d_model=63", 2, "d_model"),
        ("--config @missing.toml", 2, "missing.toml"),
    ] {
        place.refused(&format!("{words} {more}"), code, why);
    }
    place.vqgan("other", 2);
    place.refused(
        &words.replace("--vqgan @run", "--vqgan @other"),
        1,
        "encoder",
    );
    place.refused("render @no-run --device cpu", 1, "run.toml");
    assert!(!place.path("no-run").exists());
    place.done(&words);
    place.refused(&words, 1, "holds a run already");
}
