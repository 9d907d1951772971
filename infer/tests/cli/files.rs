//! Token files: killed and gone on with, decoded, edited, refused.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nuwa_data::Picture;
use nuwa_model::render::{Decoding, RendererConfig};

use super::{PAINT, Place, files, renderer, vqgan};

const TOKENS: &str = "paint --device cpu --quiet --model @run --out @out.nuwa";

/// Numbers that look drawn and are the same in every run.
fn scattered(n: u64, below: u64) -> u64 {
    (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % below
}

/// Starts a painting again and again, and kills it at another moment each time.
pub(super) fn kill(place: &Place, words: &str, path: &Path, times: u64) {
    let length = || fs::metadata(path).map_or(0, |file| file.len());
    let mut n_killed = 0;
    for round in 0..times {
        let mut child = place.command(words).spawn().expect("the program starts");
        // Until some bytes more are there, wherever that is in a patch; or a little longer.
        let enough = length() + scattered(round, 300);
        let deadline = Instant::now() + Duration::from_secs(60);
        while length() <= enough && child.try_wait().expect("a child").is_none() {
            assert!(Instant::now() < deadline, "nothing is painted");
        }
        std::thread::sleep(Duration::from_micros(scattered(round + 100, 3000)));
        n_killed += u64::from(child.kill().is_ok());
        child.wait().expect("a child");
    }
    assert_eq!(n_killed, times);
}

/// `info FILE | head` and the like: what reads the results may go before all is said.
#[test]
fn a_reader_that_goes_is_no_mistake() {
    let place = Place::new();
    place.done(&format!("{TOKENS} --size 64x64 --seed 1"));
    let mut command = place.command("info @out.nuwa");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*error), (Some(0), ""));
}

#[test]
fn a_painting_killed_at_20_moments_ends_with_the_pixels_of_one_that_was_not() {
    let place = Place::new();
    let size = "--size 256x64 --seed 11 --parallel 3";
    place.done(&format!("{PAINT} {size}"));
    let whole = fs::read(place.path("out.png")).expect("the result");
    let words = format!("{TOKENS} --out @killed.png {size}");
    let path = place.path("out.nuwa");
    kill(&place, &words, &path, 20);
    place.done(&words);
    assert_eq!(
        fs::read(place.path("killed.png")).expect("the result"),
        whole
    );
    // Once more changes nothing.
    let tokens = fs::read(&path).expect("tokens");
    place.done(&words);
    assert_eq!(fs::read(&path).expect("tokens"), tokens);
    // Nothing is left of what was in flight.
    let left = files(place.folder.path()).into_iter();
    let left: Vec<_> = left
        .filter(|path| path.to_string_lossy().contains(".part"))
        .collect();
    assert!(left.len() <= 20, "{left:?}");
}

#[test]
fn another_painting_is_not_painted_over_unless_forced() {
    let place = Place::new();
    place.done(&format!("{TOKENS} --size 32x16 --seed 4"));
    let tokens = fs::read(place.path("out.nuwa")).expect("tokens");
    place.refused(
        &format!("{TOKENS} --size 32x16 --seed 5"),
        1,
        "seed: 4, not 5",
    );
    place.refused(
        &format!("{TOKENS} --size 32x17"),
        1,
        "size: 32x16, not 32x17",
    );
    place.refused(
        &format!("{TOKENS} --size 32x16 --top-k 9"),
        1,
        "top_k: 768, not 9",
    );
    place.save("other", &vqgan(), &renderer());
    let other = TOKENS.replace("@run", "@other");
    place.refused(&format!("{other} --size 32x16"), 1, "model renderer");
    assert_eq!(fs::read(place.path("out.nuwa")).expect("tokens"), tokens);
    // Without a seed the file's own is gone on with; forced, it is another painting.
    place.done(&format!("{TOKENS} --size 32x16"));
    assert_eq!(fs::read(place.path("out.nuwa")).expect("tokens"), tokens);
    place.done(&format!("{TOKENS} --size 32x16 --seed 5 --force"));
    assert_ne!(fs::read(place.path("out.nuwa")).expect("tokens"), tokens);
}

/// Half precision paints other tokens, and a painting stays with it: gone on with, and edited.
#[test]
fn a_painting_in_half_precision_says_so_and_goes_on_in_it() {
    let place = Place::new();
    for decoding in [Decoding::Ar, Decoding::Pnar] {
        let config = RendererConfig {
            decoding,
            ..renderer()
        };
        place.save("run", &vqgan(), &config);
        let half = format!("{TOKENS} --size 64x32 --seed 4 --precision bf16 --force");
        let tokens = || fs::read(place.path("out.nuwa")).expect("tokens");
        place.done(&half);
        let whole = tokens();
        let info = place.done("info @out.nuwa");
        assert!(info.contains("precision   bf16"), "{info}");
        let refused = "precision: bf16, not f32";
        place.refused(&format!("{TOKENS} --size 64x32 --seed 4"), 1, refused);
        // From the middle of a patch on.
        fs::write(place.path("out.nuwa"), &whole[..whole.len() * 2 / 3]).expect("written");
        place.done(&half.replace(" --force", ""));
        assert_eq!(tokens(), whole, "{decoding:?}");
        // The rest of what is edited stays, so patches are computed as they were.
        let edit = "edit @out.nuwa --device cpu --quiet --model @run --region 0,0,64x32 --seed 4";
        place.done(&format!("{edit} --out @same.nuwa --out @same.png"));
        place.done("decode @out.nuwa --device cpu --quiet --model @run --out @out.png");
        let pixels = |name| Picture::read(&place.path(name)).expect("a picture");
        assert!(pixels("same.png") == pixels("out.png"), "{decoding:?}");
    }
    // Trained weights know their tokens too well to differ everywhere, and not well enough to agree.
    let landscapes = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscapes");
    let picture = |precision: &str| {
        let out = format!("@{precision}.png");
        let words = TOKENS
            .replace("@run", landscapes)
            .replace("@out.nuwa", &out);
        place.done(&format!(
            "{words} --size 192x64 --seed 4 --precision {precision}"
        ));
        Picture::read(&place.path(&out[1..])).expect("a picture")
    };
    assert!(picture("bf16") != picture("f32"));
    let words = format!("{TOKENS} --size 64x32 --precision f16");
    place.refused(&words, 2, "there are f32 and bf16");
}

#[test]
fn pixels_can_be_made_again_at_any_time() {
    let place = Place::new();
    let outpaint = "outpaint --device cpu --quiet --model @run --image @in.png --size 40x30";
    place.done(&format!(
        "{outpaint} --out @out.png --out @out.nuwa --seed 6"
    ));
    let decode = "decode @out.nuwa --device cpu --quiet --model @run";
    place.done(&format!("{decode} --out @again.png"));
    let read = |name: &str| fs::read(place.path(name)).expect("a file");
    assert_eq!(read("again.png"), read("out.png"));

    // A picture says how it was made, as its tokens do.
    for name in ["@out.png", "@out.nuwa"] {
        let info = place.done(&format!("info {name}"));
        for part in [
            "outpaint, 40 × 30 px",
            "seed 6",
            "route paper",
            "licence     CC0",
        ] {
            assert!(info.contains(part), "{info}");
        }
    }
    let info = place.done("info @out.nuwa");
    assert!(info.contains("state       complete"), "{info}");

    // What is not painted yet is black, and said to be.
    let whole = read("out.nuwa");
    fs::write(place.path("out.nuwa"), &whole[..whole.len() - 1]).expect("written");
    let output = place.run(&format!("{decode} --out @partly.png"));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("1 patches are not painted yet"), "{error}");
    let partly = Picture::read(&place.path("partly.png")).expect("a picture");
    let finished = Picture::read(&place.path("out.png")).expect("a picture");
    let black = partly.rgb().chunks(3).filter(|rgb| *rgb == [0; 3]).count();
    assert!((20..=64).contains(&black), "{black} black pixels");
    assert!(partly != finished);
    let info = place.done("info @out.nuwa");
    assert!(info.contains("cut off in a patch"), "{info}");

    place.save("other", &vqgan(), &renderer());
    let other = decode.replace("@run", "@other");
    place.refused(
        &format!("{other} --out @again.png"),
        1,
        "painted with another VQGAN",
    );
    place.refused(&format!("{decode} --out @more.nuwa"), 2, "takes pictures");
    place.refused("info @in.png", 1, "does not say how it was made");
    let nothing = decode.replace("@out.nuwa", "@in.png");
    place.refused(
        &format!("{nothing} --out @again.png"),
        1,
        "is not a token file",
    );
}

#[test]
fn a_region_is_painted_again_and_the_other_tokens_stay() {
    let place = Place::new();
    place.done(&format!("{TOKENS} --size 64x32 --seed 1 --out @out.png"));
    let edit = "edit @out.nuwa --device cpu --quiet --model @run";
    place.done(&format!(
        "{edit} --region 20,8,9x9 --seed 2 --out @new.nuwa --out @new.png"
    ));
    let read = |name: &str| Picture::read(&place.path(name)).expect("a picture");
    let (old, new) = (read("out.png"), read("new.png"));
    assert!(old.crop(20, 8, 9, 9) != new.crop(20, 8, 9, 9));
    let info = place.done("info @new.nuwa");
    assert!(info.contains("repainted   9 × 9 px at (20, 8)"), "{info}");
    // The same region again with the same seed is the same; in place when no other file is named.
    place.done(&format!("{edit} --region 20,8,9x9 --seed 2"));
    place.done("decode @out.nuwa --device cpu --quiet --model @run --out @again.png");
    assert!(read("again.png") == new);
    place.refused(
        &format!("{edit} --region 60,8,9x9"),
        2,
        "does not lie inside",
    );
    place.refused(
        &format!("{edit} --region 6,8,0x9"),
        2,
        "does not lie inside",
    );
    place.refused(&format!("{edit} --region 6,8"), 2, "X,Y,WIDTHxHEIGHT");
}
