//! Stage one on a dataset: a run that is killed ends as one that ran through.

use std::path::Path;

use burn::tensor::Device;
use nuwa_data::Picture;
use nuwa_model::checkpoint;
use nuwa_model::vqgan::Vqgan;

use super::place::Place;
use super::tokenize;
use super::training::{expect_stop_before_ruin, interrupt, kill_until_over, losses};

/// A small VQGAN of 4 pixels a token, whose codes have a cost and whose adversary joins in the middle.
const SMALL: &str = "--device cpu --set vqgan.multipliers=[1,1,1] --set vqgan.z=8 \
    --set vqgan.code_dim=8 --set vqgan.n_codes=32 --set stage_one.crop_px=32 \
    --set stage_one.loss.gan_start_step=20 --set stage_one.discriminator_width=4 \
    --set stage_one.log_every=5 --set stage_one.revive_every=6 --set stage_one.revive_until=25 \
    --set stage_one.checkpoint_every=5 --set stage_one.grid_every=20 --set stage_one.warmup=0.1 \
    --set stage_one.rate_weight=0.1 --set stage_one.average=0.9 --set stage_one.clip=5 --set stage_one.peak_rate=0.003";

fn place() -> Place {
    let place = tokenize::place();
    for seed in 0..3 {
        place.picture(&format!("in/{seed}.png"), 48, 40, 9 * seed);
    }
    place
}

fn begin(run: &str, updates: usize) -> String {
    format!("vqgan @{run} --data @in {SMALL} --set stage_one.updates={updates}")
}

fn fingerprint(run: &Path) -> String {
    let loaded = checkpoint::load::<Vqgan>(&run.join("vqgan"), &Device::flex());
    checkpoint::fingerprint(&loaded.expect("weights").0)
}

fn code_dim(run: &Path) -> usize {
    let loaded = checkpoint::load::<Vqgan>(&run.join("vqgan"), &Device::flex());
    loaded.expect("weights").1.code_dim
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_that_ran_through() {
    let place = place();
    place.done(&begin("whole", 40));
    let (whole, run) = (place.path("whole"), place.path("killed"));
    let go_on = "vqgan @killed --device cpu";
    kill_until_over(&place, &begin("killed", 40), go_on, "killed");
    assert_eq!(losses(&run), losses(&whole));
    assert_eq!(fingerprint(&run), fingerprint(&whole));
    let grids = |run: &Path| Picture::read(&run.join("grids/000000040.png")).expect("a grid");
    assert_eq!(grids(&run).rgb(), grids(&whole).rgb());
    assert_eq!((grids(&run).w(), grids(&run).h()), (3 * 32, 2 * 32));
    let loss = |at: usize| losses(&whole)[at]["loss"].as_f64().expect("a number");
    assert!(loss(4) < 0.9 * loss(0), "{} to {}", loss(0), loss(4));
    assert!(
        losses(&whole)[7]["adversary"].is_number(),
        "the adversary has joined"
    );
    assert_eq!(code_dim(&whole), 8 + 1, "codes keep what they cost");
    place.done(&(begin("free", 2) + " --set stage_one.rate_weight=0"));
    assert_eq!(code_dim(&place.path("free")), 8);
}

#[test]
fn an_interrupted_run_goes_on_where_it_was_and_one_that_is_ruined_stops_before() {
    let place = place();
    place.done(&begin("whole", 20));
    interrupt(&place, &begin("stopped", 20), "stopped");
    assert!(place.path("stopped/vqgan/weights.bpk").exists());
    let go_on = "vqgan @stopped --device cpu";
    place.done(go_on);
    assert_eq!(
        fingerprint(&place.path("stopped")),
        fingerprint(&place.path("whole"))
    );
    expect_stop_before_ruin(&place, "stopped", go_on);
}

#[test]
fn one_core_is_enough() {
    let place = place();
    let mut command = place.command(&begin("run", 6));
    let output = command.env("RAYON_NUM_THREADS", "1").output();
    let output = output.expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
}

#[test]
fn weights_from_elsewhere_bring_their_architecture_and_are_trained_on() {
    let place = place();
    let words = begin("next", 2).replace("--set vqgan.multipliers=[1,1,1] --set vqgan.z=8", "");
    let words = words.replace("--set vqgan.code_dim=8 --set vqgan.n_codes=32", "");
    let (said, note) = place.done(&format!("{words} --init-from @run"));
    assert!(said.contains("done after 2 of 2 updates"), "{said}");
    assert!(note.contains("no LPIPS weights"), "{note}");
    assert_ne!(
        fingerprint(&place.path("next")),
        fingerprint(&place.path("run"))
    );
    let asked = begin("other", 2) + " --init-from @run";
    place.refused(&asked, 2, "the architecture is that of --init-from");
}

#[test]
fn runs_that_cannot_be_are_refused_before_anything_is_written() {
    let place = place();
    let words = begin("no-run", 2);
    for (more, code, why) in [
        (
            "--set stage_one.crop_px=30",
            2,
            "multiple of the VQGAN's stride",
        ),
        ("--set stage_one.bacth=1", 2, "did you mean \"batch\"?"),
        ("--set stage_one.log_every=0", 2, "at least 1"),
        ("--set stage_one.log_every=3", 2, "whole lines of the log"),
        ("--lpips @in", 1, "vgg16-397923af.pth; --download"),
        ("--download", 2, "--lpips"),
    ] {
        place.refused(&format!("{words} {more}"), code, why);
    }
    place.refused(&words.replace("@in", "@nowhere"), 1, "nowhere");
    place.refused("vqgan @no-run --device cpu", 1, "run.toml");
    assert!(!place.path("no-run").exists());
    place.refused(
        &format!("{words} --set stage_one.crop_px=64"),
        1,
        "smaller than a crop",
    );
}
