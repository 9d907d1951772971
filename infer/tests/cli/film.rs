//! Films: painted, begun with a picture, guided from frame to frame, killed and gone on with.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use nuwa_data::Picture;
use nuwa_model::checkpoint::{self, Kind, Storage};
use nuwa_model::patch::Extent;
use nuwa_model::render::RendererConfig;
use nuwa_model::vqgan::{PgVqgan, Vqgan};

use super::files::kill;
use super::{Place, files, header, renderer, vqgan};

const ANIMATE: &str = "animate --device cpu --quiet --image @in.png";

/// A folder with two runs of the same weights for films: `plain`, and `guided` with a guide that
/// speaks.
fn place() -> Place {
    let place = Place::new();
    let film = RendererConfig {
        extent: Extent { w: 1, h: 1, f: 1 },
        ..renderer()
    };
    place.save("plain", &vqgan(), &film);
    copy(&place.path("plain"), &place.path("guided"));
    guide(&place, "plain", "guided");
    place
}

/// Copies a folder.
pub(super) fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let to = to.join(path.strip_prefix(from).expect("inside"));
        match path.is_dir() {
            true => fs::create_dir_all(to).expect("a folder"),
            false => {
                fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
                fs::copy(&path, to).map(drop).expect("copied");
            }
        }
    }
}

/// Gives one run a pixel-guided decoder made from the VQGAN of another.
fn guide(place: &Place, from: &str, to: &str) {
    let device = Device::flex();
    let from = place.path(from).join("vqgan");
    let (plain, config, _) = checkpoint::load::<Vqgan>(&from, &device).expect("a VQGAN");
    let mut guided = PgVqgan::from_vqgan(&plain, &config, &device);
    guided.guide = config.init_pixel_guided(&device).guide;
    let (header, full) = (header(Kind::PgVqgan), Storage::Full);
    let folder = place.path(to).join("pg-vqgan");
    checkpoint::save(&guided, &header, &config, full, &folder).expect("saved");
}

/// Reads a film that was written as a folder.
fn frames(place: &Place, name: &str) -> Vec<Picture> {
    let found = files(&place.path(name)).into_iter();
    found
        .map(|path| Picture::read(&path).expect("a frame"))
        .collect()
}

#[test]
fn an_animation_begins_with_its_picture_and_is_guided_by_it() {
    let place = place();
    for run in ["plain", "guided"] {
        place.done(&format!(
            "{ANIMATE} --model @{run} --frames 4 --seed 3 --out @{run}.nuwa --out @{run}-film/"
        ));
    }
    let known = Picture::read(&place.path("in.png")).expect("a picture");
    let (plain, guided) = (frames(&place, "plain-film"), frames(&place, "guided-film"));
    assert_eq!((plain.len(), guided.len()), (4, 4));
    for (frame, (plain, guided)) in plain.iter().zip(&guided).enumerate() {
        assert_eq!((plain.w(), plain.h()), (20, 18));
        if frame == 0 {
            assert!(*plain == known && *guided == known);
        } else {
            assert!(plain != guided && *plain != known, "frame {frame}");
        }
    }
    // A guide changes pixels only: the tokens are the same, and decode with either run.
    let tokens = |run: &str| fs::read(place.path(run)).expect("tokens");
    assert!(tokens("plain.nuwa") == tokens("guided.nuwa"));
    place.done("decode @plain.nuwa --device cpu --quiet --model @guided --out @again/");
    assert!(frames(&place, "again") == guided);
    // The seed and the picture both matter to what follows; to the guide even where the few tokens
    // of such small networks stay.
    place.done(&format!(
        "{ANIMATE} --model @plain --frames 4 --seed 4 --out @other/"
    ));
    assert!(frames(&place, "other")[1..] != plain[1..]);
    let inverse = known.rgb().iter().map(|byte| 255 - byte).collect();
    let inverse = Picture::new(20, 18, inverse);
    inverse.write(&place.path("in.png")).expect("written");
    place.done(&format!(
        "{ANIMATE} --model @guided --frames 4 --seed 3 --out @other/"
    ));
    assert!(frames(&place, "other")[1] != guided[1]);
}

#[test]
fn a_painted_film_begins_as_the_picture_of_its_seed() {
    let place = place();
    let paint = "paint --device cpu --size 33x17 --seed 7";
    place.done(&format!("{paint} --quiet --model @plain --out @out.png"));
    place.done(&format!(
        "{paint} --quiet --model @plain --frames 1 --out @one.png"
    ));
    let read = |name: &str| Picture::read(&place.path(name)).expect("a picture");
    assert!(read("one.png") == read("out.png"));
    for run in ["plain", "guided"] {
        let words = format!("{paint} --model @{run} --frames 3 --out @{run}-film/");
        let output = place.run(&words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_eq!(said.contains("no pg-vqgan"), run == "plain", "{said}");
        assert!(said.contains("3 frames of 33 × 17 px"), "{said}");
    }
    let (plain, guided) = (frames(&place, "plain-film"), frames(&place, "guided-film"));
    assert_eq!((plain.len(), guided.len()), (3, 3));
    assert!(plain[0] == read("out.png") && guided[0] == plain[0]);
    for frame in 1..3 {
        assert!(plain[frame] != plain[frame - 1], "frame {frame}");
        assert!(plain[frame] != guided[frame], "frame {frame}");
    }
    // Other formats hold the same film; one that carries text says how it was made.
    let film = format!("{paint} --quiet --model @plain --frames 3");
    place.done(&format!("{film} --out @out.gif --out @out.apng"));
    assert!(
        fs::read(place.path("out.gif"))
            .expect("a film")
            .starts_with(b"GIF89a")
    );
    let info = place.done("info @out.apng");
    assert!(info.contains("paint, 33 × 17 px, 3 frames"), "{info}");
}

#[test]
fn an_animation_killed_at_5_moments_ends_with_the_frames_of_one_that_was_not() {
    let place = place();
    let noise = (0..60 * 44 * 3).map(|i| (i * 37 % 251) as u8).collect();
    Picture::new(60, 44, noise)
        .write(&place.path("in.png"))
        .expect("a picture");
    let animate = format!("{ANIMATE} --model @guided --frames 4 --seed 11 --parallel 3");
    // The picture is a whole frame, though the patches stick out: three frames of 48 are painted.
    let loud = animate.replace(" --quiet", "");
    let output = place.run(&format!("{loud} --out @whole/"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("2304 tokens in"), "{said}");
    let words = format!("{animate} --out @out.nuwa --out @killed/");
    kill(&place, &words, &place.path("out.nuwa"), 5);
    // What is not painted yet is black, and can be looked at.
    place.done("decode @out.nuwa --device cpu --quiet --model @guided --out @partly/");
    let partly = frames(&place, "partly");
    assert_eq!(partly.len(), 4);
    assert_eq!(partly[3].pixel(59, 43), [0; 3]);
    place.done(&words);
    let whole = frames(&place, "whole");
    assert_eq!(whole.len(), 4);
    assert!(partly[0] == whole[0]);
    assert!(frames(&place, "killed") == whole);
    let info = place.done("info @out.nuwa");
    for part in [
        "animate, 60 × 44 px, 4 frames",
        "the first frame, kept bit for bit",
        "patches     192 of 192 painted",
        "complete",
    ] {
        assert!(info.contains(part), "{info}");
    }
    place.refused(
        &words.replace("--frames 4", "--frames 5"),
        1,
        "frames: 4, not 5",
    );
}

#[test]
fn a_region_is_painted_again_in_every_frame() {
    let place = place();
    let animate = format!("{ANIMATE} --model @plain --frames 3 --seed 1");
    place.done(&format!("{animate} --out @out.nuwa --out @old/"));
    place.done(
        "edit @out.nuwa --device cpu --quiet --model @plain --region 9,8,8x8 --seed 2 --blend 0 \
         --out @new/ --out @new.nuwa",
    );
    let (old, new) = (frames(&place, "old"), frames(&place, "new"));
    for (old, new) in old.iter().zip(&new) {
        assert!(old.crop(9, 8, 8, 8) != new.crop(9, 8, 8, 8));
    }
    // Around the region the picture stays; a token is two pixels.
    assert!(old[0].crop(0, 0, 20, 8) == new[0].crop(0, 0, 20, 8));
    place.done("decode @new.nuwa --device cpu --quiet --model @plain --blend 0 --out @again/");
    assert!(frames(&place, "again") == new);
    let info = place.done("info @new.nuwa");
    assert!(info.contains("repainted   8 × 8 px at (9, 8)"), "{info}");
}

#[test]
fn films_that_cannot_be_are_refused_before_painting() {
    let place = place();
    let film = |frames: &str| format!("{ANIMATE} --model @guided --out @out.gif {frames}");
    place.refused(&film(""), 2, "--frames");
    for frames in ["--frames 0", "--frames 1", "--frames two"] {
        place.refused(&film(frames), 2, "--frames");
    }
    let paint = "paint --device cpu --quiet --model @guided --out @out.nuwa";
    place.refused(
        &format!("{paint} --size 8x8 --frames 0 --out @out.gif"),
        2,
        "--frames",
    );
    place.refused(
        &format!("{paint} --size 8x8 --frames 2 --out @out.png"),
        1,
        "a film ends in",
    );
    place.refused(
        &format!("{paint} --size 8x8 --out @out.gif"),
        1,
        "a still picture ends in",
    );
    let still = film("--frames 2").replace("out.gif", "out.jpg");
    place.refused(&still, 1, "a film ends in");
    let endless = "--size 65535x65535 --frames 4294967295";
    place.refused(&format!("{paint} {endless}"), 2, "too many to count");
    place.refused(&format!("{paint} {endless} --out @out.gif"), 1, "out.gif");
    // A guided frame is decoded whole, and said to be too large; tokens alone can be painted.
    let large = format!("{paint} --size 4096x2049 --frames 2 --out @out.gif");
    place.refused(
        &large,
        1,
        "decodes up to 8388608 px at once, and a frame has 4096 × 2049 px",
    );
    place.refused(&large, 1, "a run without it decodes frames of any size");
}

#[test]
fn a_guide_of_another_vqgan_is_refused() {
    let place = place();
    let words = format!("{ANIMATE} --model @guided --frames 2 --out @out.gif");
    place.save("other", &vqgan(), &renderer());
    guide(&place, "other", "guided");
    place.refused(&words, 1, "another codebook");
    let wide = nuwa_model::vqgan::VqganConfig { z: 16, ..vqgan() };
    place.save("wide", &wide, &renderer());
    guide(&place, "wide", "guided");
    place.refused(&words, 1, "another architecture");
    fs::remove_file(place.path("guided/pg-vqgan/weights.bpk")).expect("removed");
    place.refused(&words, 1, "pg-vqgan");
}
