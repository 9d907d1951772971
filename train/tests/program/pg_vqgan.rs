//! The pixel-guided decoder: what is trained and what is not, killed, refused, and where it ends up.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use nuwa_data::{Picture, video};
use nuwa_model::checkpoint::{self, fingerprint};
use nuwa_model::vqgan::{PgVqgan, Vqgan};
use serde_json::Value;

use super::place::Place;
use super::tokenize;
use super::training::{expect_stop_before_ruin, interrupt, kill_until_over, losses};

/// The adversary joins in the middle. The VQGAN has 2 pixels a token.
const SMALL: &str = "--device cpu --set own_frames=1 --set pixel_guided.crop_px=32 \
    --set pixel_guided.loss.gan_start_step=20 --set pixel_guided.discriminator_width=4 \
    --set pixel_guided.log_every=5 --set pixel_guided.checkpoint_every=5 \
    --set pixel_guided.grid_every=20 --set pixel_guided.warmup=0.1 \
    --set pixel_guided.average=0.9 --set pixel_guided.clip=5 --set pixel_guided.peak_rate=0.003";

/// A place with three clips of three frames, one single picture, and a VQGAN in `run`.
fn place() -> Place {
    let place = tokenize::place();
    place.picture("in/still.png", 48, 40, 5);
    for seed in 0..3 {
        let byte = |i: usize, at: usize| {
            let wave = ((i + 60 * at) as f64 / (40.0 + 9.0 * seed as f64)).sin();
            (128.0 + 100.0 * wave) as u8
        };
        let frame = |at| Picture::new(48, 40, (0..3 * 48 * 40).map(|i| byte(i, at)).collect());
        let clip: Vec<Picture> = (0..3).map(frame).collect();
        let path = place.path(&format!("in/{seed}.apng"));
        video::write_clip(&path, &clip).expect("written");
        // A folder without a list is searched for pictures by their endings.
        fs::rename(&path, path.with_extension("png")).expect("renamed");
    }
    place
}

fn begin(run: &str, updates: usize) -> String {
    format!("pg-vqgan @{run} --data @in --vqgan @run {SMALL} --set pixel_guided.updates={updates}")
}

fn clip(place: &Place) -> Vec<Picture> {
    video::read_clip(&place.path("in/0.png")).expect("a clip")
}

fn vqgan(run: &Path) -> Vqgan {
    let loaded = checkpoint::load::<Vqgan>(&run.join("vqgan"), &Device::flex());
    loaded.expect("weights").0
}

fn guided(run: &Path) -> PgVqgan {
    let loaded = checkpoint::load::<PgVqgan>(&run.join("pg-vqgan"), &Device::flex());
    loaded.expect("weights").0
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_that_ran_through() {
    let place = place();
    place.done(&begin("whole", 40));
    let (whole, run) = (place.path("whole"), place.path("killed"));
    let go_on = "pg-vqgan @killed --device cpu";
    kill_until_over(&place, &begin("killed", 40), go_on, "killed");
    assert_eq!(losses(&run), losses(&whole));
    assert_eq!(fingerprint(&guided(&run)), fingerprint(&guided(&whole)));
    // A true frame, one that the decoder makes itself, the one after it, and what comes back.
    let grids = |run: &Path| Picture::read(&run.join("grids/000000040.png")).expect("a grid");
    assert_eq!(grids(&run).rgb(), grids(&whole).rgb());
    assert_eq!((grids(&run).w(), grids(&run).h()), (3 * 32, 4 * 32));
    for (row, frame) in clip(&place)[..3].iter().enumerate() {
        assert!(grids(&run).crop(0, 32 * row, 32, 32) == frame.crop(8, 4, 32, 32));
    }
    let losses = losses(&whole);
    assert!(losses[7]["adversary"].is_number(), "it has joined");
}

#[test]
fn an_interrupted_run_goes_on_where_it_was_and_one_that_is_ruined_stops_before() {
    let place = place();
    place.done(&begin("whole", 20));
    interrupt(&place, &begin("stopped", 20), "stopped");
    assert!(place.path("stopped/pg-vqgan/weights.bpk").exists());
    let go_on = "pg-vqgan @stopped --device cpu";
    place.done(go_on);
    let weights = |run: &str| fingerprint(&guided(&place.path(run)));
    assert_eq!(weights("stopped"), weights("whole"));
    expect_stop_before_ruin(&place, "stopped", go_on);
}

#[test]
fn decoder_and_guide_learn_and_what_makes_the_tokens_does_not() {
    let place = place();
    // Weights as a training stores them, so that what is not trained comes back as it was.
    let words = "vqgan @trained --data @in --device cpu --init-from @run \
        --set stage_one.crop_px=32 --set stage_one.updates=1 --set stage_one.average=0";
    place.done(words);
    let words = begin("next", 100).replace("--vqgan @run", "--vqgan @trained");
    let alone = "--set pixel_guided.loss.gan_start_step=100 --set pixel_guided.peak_rate=0.001 \
        --set pixel_guided.log_every=1";
    let (said, note) = place.done(&format!("{words} {alone}"));
    assert!(said.contains("done after 100 of 100 updates"), "{said}");
    assert!(note.contains("no LPIPS weights"), "{note}");
    let losses = losses(&place.path("next"));
    let loss = |line: &Value| line["loss"].as_f64().expect("a number");
    let first = loss(&losses[0]);
    let last = losses[80..].iter().map(loss).sum::<f64>() / 20.0;
    assert!(last < 0.8 * first, "{first} to {last}");

    let (given, kept) = (vqgan(&place.path("trained")), vqgan(&place.path("next")));
    assert_eq!(fingerprint(&kept), fingerprint(&given));
    let guided = guided(&place.path("next"));
    assert_eq!(fingerprint(&guided.quantize), fingerprint(&given.quantize));
    assert_ne!(fingerprint(&guided.decoder), fingerprint(&given.decoder));
    assert_ne!(
        fingerprint(&guided.post_quant_conv),
        fingerprint(&given.post_quant_conv)
    );
    // It was silent at first.
    let picture = clip(&place)[0].to_tensor(&Device::flex());
    for features in guided.guide.forward(picture) {
        assert!(features.abs().mean().into_scalar::<f32>() > 1e-3);
    }
}

#[test]
fn a_renderer_takes_it_along_if_it_fits() {
    let place = place();
    place.done(&begin("guided", 1));
    place.picture("stills/0.png", 32, 32, 3);
    place.done("tokenize @stills --vqgan @run --out @store --device cpu");
    let render = |run: &str, guided: &str| {
        format!(
            "render @{run} --tokens @store --vqgan @run --pg-vqgan @{guided} --device cpu \
             --set renderer.d_model=64 --set renderer.n_layers=1 --set stage_two.updates=1"
        )
    };
    for folder in ["guided", "guided/pg-vqgan"] {
        let run = folder.replace("guided", "renderer");
        place.done(&render(&run, folder));
        let taken = |run: &str| fingerprint(&guided(&place.path(run)));
        assert_eq!(taken(&run), taken("guided"));
    }
    place.vqgan("codes/vqgan", 2);
    place.vqgan("levels/vqgan", 3);
    for (other, why) in [("codes", "codebook"), ("levels", "architecture")] {
        let words = begin(&format!("of-{other}"), 1);
        place.done(&words.replace("--vqgan @run", &format!("--vqgan @{other}")));
        let why = format!("is not for this VQGAN: it has another {why}");
        place.refused(&render("no-run", &format!("of-{other}")), 1, &why);
    }
    place.refused(
        &render("no-run", "run/vqgan"),
        1,
        "holds a vqgan, not a pg-vqgan",
    );
    assert!(!place.path("no-run").exists());
}

#[test]
fn runs_that_cannot_be_are_refused_before_anything_is_written() {
    let place = place();
    let words = begin("no-run", 2);
    for (more, why) in [
        (
            "--set pixel_guided.crop_px=33",
            "pixel_guided.crop_px must be a multiple",
        ),
        ("--set pixel_guided.bacth=1", "did you mean \"batch\"?"),
        ("--set pixel_guided.log_every=0", "at least 1"),
        ("--set pixel_guided.loss.beta=0.25", "codes are frozen"),
        ("--set pixel_guided.revive_until=9", "codes are frozen"),
    ] {
        place.refused(&format!("{words} {more}"), 2, why);
    }
    place.picture("stills/0.png", 48, 40, 3);
    let stills = words.replace("@in", "@stills");
    place.refused(&stills, 1, "no clip of 3 frames");
    place.done("prepare synthetic --out @list --count 1 --size 48x40 --test 0 --quiet");
    let list = words.replace("@in", "@list");
    place.refused(&list, 1, "no clip of 3 frames");
    for (other, why) in [
        ("clip", "holds a clip-text, not a vqgan"),
        ("in", "config.json"),
    ] {
        let words = words.replace("--vqgan @run", &format!("--vqgan @{other}"));
        place.refused(&words, 1, why);
    }
    let longer = format!("{words} --set own_frames=2");
    place.refused(&longer, 1, "no clip of 4 frames, which own_frames=2 needs");
    place.refused("pg-vqgan @no-run --device cpu", 1, "run.toml");
    assert!(!place.path("no-run").exists());
    place.done(&words);
    place.refused(&words, 1, "holds a run already");
    place.refused("vqgan @no-run --device cpu", 1, "run.toml");
}
