//! The whole program as its users run it: datasets, tokens, training, and then the five tasks of
//! the papers, painted with weights that were trained here.

mod trained;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use nuwa_data::Picture;
use nuwa_infer::painting::Painting;
use serde_json::Value;
use tempfile::TempDir;

use self::trained::{TRAINED, captions, learned_tokens, read_clip};

/// So few updates make little of a prompt, and guidance makes much of that.
const STRONGLY: &str = "--guidance 20";

/// A folder for what one test paints, with the first synthetic picture in it as `in.png`.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Self { folder };
        fs::copy(TRAINED.join("in.png"), place.path("in.png")).expect("copied");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command with the weights of a preset; a word that starts with @ is a path in this
    /// folder. Gives the exit code.
    fn code(&self, command: &str, model: &str, words: &str, prompt: &str) -> u8 {
        let common = ["--quiet", "--device", &crate::backend(), "--model"].map(Into::into);
        let mut arguments = vec!["nuwa-infer".into(), command.into()];
        arguments.extend(common);
        arguments.push(TRAINED.join(model).into_os_string());
        arguments.extend(words.split_whitespace().map(|word| {
            let path = word.strip_prefix('@').map(|name| self.path(name));
            path.map_or_else(|| word.into(), PathBuf::into_os_string)
        }));
        if !prompt.is_empty() {
            arguments.extend(["--prompt".into(), prompt.into()]);
        }
        nuwa_infer::run(arguments)
    }

    fn done(&self, command: &str, model: &str, words: &str, prompt: &str) {
        let code = self.code(command, model, words, prompt);
        assert_eq!(code, 0, "{command} with {model}: {words} {prompt:?}");
    }

    /// Makes a picture and reads it.
    fn picture(&self, command: &str, model: &str, words: &str, prompt: &str) -> Picture {
        self.done(command, model, &format!("{words} --out @out.png"), prompt);
        self.read("out.png")
    }

    /// Makes a film and reads its frames.
    fn film(&self, command: &str, model: &str, words: &str, prompt: &str) -> Vec<Picture> {
        self.done(command, model, &format!("{words} --out @film/"), prompt);
        self.frames("film")
    }

    fn read(&self, name: &str) -> Picture {
        Picture::read(&self.path(name)).expect("a picture")
    }

    fn frames(&self, name: &str) -> Vec<Picture> {
        let entries = fs::read_dir(self.path(name)).expect("a film");
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("readable").path())
            .collect();
        paths.sort();
        let frame = |path: &PathBuf| Picture::read(path).expect("a frame");
        paths.iter().map(frame).collect()
    }
}

fn size(picture: &Picture) -> (usize, usize) {
    (picture.w(), picture.h())
}

/// Tells whether there is more to see than one color.
fn shows_something(picture: &Picture) -> bool {
    picture
        .rgb()
        .chunks_exact(3)
        .any(|rgb| rgb != picture.pixel(0, 0))
}

#[test]
fn every_preset_learns_from_its_dataset() {
    for preset in ["uighd", "t2ihd", "iahd", "t2vhd"] {
        let run = TRAINED.join(preset);
        let log = fs::read_to_string(run.join("log.jsonl")).expect("a log");
        let loss = |line: Option<&str>| {
            let line: Value = serde_json::from_str(line.expect("a line")).expect("JSON");
            line["loss"].as_f64().expect("a number")
        };
        let (first, last) = (loss(log.lines().next()), loss(log.lines().last()));
        assert!(last < 0.9 * first, "{preset}: {first} to {last}");
        let is_told = preset.starts_with('t');
        assert_eq!(run.join("text/weights.bpk").is_file(), is_told, "{preset}");
    }
}

#[test]
fn unconditional_pictures_have_any_size_and_follow_their_seed() {
    let place = Place::new();
    let paint = |more: &str| {
        let words = format!("--size 75x41 {more}");
        place.picture("paint", "uighd", &words, "")
    };
    let first = paint("--seed 1");
    assert_eq!(size(&first), (75, 41));
    assert!(shows_something(&first));
    assert!(first == paint("--seed 1"));
    assert!(
        first == paint("--seed 1 --parallel 1"),
        "one patch at a time"
    );
    assert!(first != paint("--seed 2"));
    // It was trained without captions.
    let told = "--size 75x41 --seed 1 --out @told.png";
    assert_eq!(place.code("paint", "uighd", told, "mountains"), 2);
    assert!(!place.path("told.png").exists());
}

#[test]
fn pictures_follow_their_prompts() {
    let place = Place::new();
    let [one, other] = captions("stills");
    let paint = |prompt: &str, more: &str| {
        let words = format!("--size 64x48 {more}");
        place.picture("paint", "t2ihd", &words, prompt)
    };
    let first = paint(&one, &format!("--seed 1 {STRONGLY}"));
    assert_eq!(size(&first), (64, 48));
    assert!(first == paint(&one, &format!("--seed 1 {STRONGLY}")));
    assert!(first != paint(&one, &format!("--seed 2 {STRONGLY}")));
    assert!(first != paint(&other, &format!("--seed 1 {STRONGLY}")));
    assert!(first != paint("", "--seed 1"));
    assert!(first != paint(&one, "--seed 1"), "guidance counts");
}

#[test]
fn a_picture_is_extended_in_every_direction() {
    let place = Place::new();
    let known = place.read("in.png");
    let (w, h) = size(&known);
    let [one, other] = captions("stills");
    let outpaint = |seed: u64, prompt: &str| {
        let more = if prompt.is_empty() { "" } else { STRONGLY };
        let words = format!("--image @in.png --size 90x71 --at 19,14 --seed {seed} {more}");
        let picture = place.picture("outpaint", "t2ihd", &words, prompt);
        assert_eq!(size(&picture), (90, 71));
        assert!(
            picture.crop(19, 14, w, h) == known,
            "seed {seed}, {prompt:?}"
        );
        picture
    };
    let first = outpaint(1, &one);
    assert!(first == outpaint(1, &one));
    assert!(first != outpaint(1, &other) && first != outpaint(1, ""));
    // On every side there is something, and it depends on the seed. One seed may repeat a strip of
    // few tokens by chance, five do not.
    let others: Vec<Picture> = (2..7).map(|seed| outpaint(seed, &one)).collect();
    for (x, y, w, h) in [
        (0, 0, 90, 14),
        (0, 14 + h, 90, 71 - 14 - h),
        (0, 14, 19, h),
        (19 + w, 14, 90 - 19 - w, h),
    ] {
        let side = |picture: &Picture| picture.crop(x, y, w, h);
        assert!(shows_something(&side(&first)), "side at {x},{y}");
        let differs = |picture: &Picture| side(picture) != side(&first);
        assert!(others.iter().any(differs), "side at {x},{y}");
    }
}

#[test]
fn a_hole_is_filled_and_nothing_else() {
    let place = Place::new();
    let known = place.read("in.png");
    let (w, h) = size(&known);
    let mut mask = Picture::filled(w, h, [0; 3]);
    mask.paste(&Picture::filled(21, 13, [255; 3]), 11, 9);
    mask.write(&place.path("mask.png")).expect("written");
    let words = "--image @in.png --mask @mask.png";
    let fill = |seed: u64| {
        let words = format!("{words} --seed {seed}");
        place.picture("outpaint", "uighd", &words, "")
    };
    let (first, second) = (fill(1), fill(2));
    let hole = |picture: &Picture| picture.crop(11, 9, 21, 13);
    assert!(hole(&first) != hole(&known) && hole(&first) != hole(&second));
    assert!(first == fill(1));
    for picture in [first, second] {
        let mut rest = picture.clone();
        rest.paste(&hole(&known), 11, 9);
        assert!(rest == known, "outside of the hole");
    }
    // What is under the mask is not seen.
    let mut other = known.clone();
    other.paste(&Picture::filled(21, 13, [255, 0, 0]), 11, 9);
    let first = fill(1);
    other.write(&place.path("in.png")).expect("written");
    assert!(first == fill(1));
}

#[test]
fn what_was_learned_is_what_paints() {
    let place = Place::new();
    let pairs = |codes: &[i32], w: usize| -> Vec<(i32, i32)> {
        let rows = codes.chunks_exact(w);
        let pairs = rows.flat_map(|row| row.windows(2).map(|pair| (pair[0], pair[1])));
        pairs.collect()
    };
    let learned: HashSet<(i32, i32)> = learned_tokens()
        .iter()
        .flat_map(|codes| pairs(codes, 12))
        .collect();
    // The share of neighbors in a painting that are neighbors somewhere in the training, too.
    let share = |model: &str| {
        let words = format!("--size 96x64 --seed 1 --out @{model}.nuwa");
        place.done("paint", model, &words, "");
        let painting = Painting::open(&place.path(&format!("{model}.nuwa"))).expect("a painting");
        let tokens = &painting.tokens;
        let painted = pairs(tokens.codes(), tokens.size().w);
        let n_known = painted.iter().filter(|pair| learned.contains(pair)).count();
        n_known as f64 / painted.len() as f64
    };
    let (fresh, trained) = (share("fresh"), share("uighd"));
    assert!(trained > fresh + 0.1, "{fresh} to {trained}");
}

#[test]
fn a_picture_begins_its_film() {
    let place = Place::new();
    let known = place.read("in.png");
    let animate = |seed: u64| {
        let words = format!("--image @in.png --frames 5 --seed {seed}");
        place.film("animate", "iahd", &words, "")
    };
    let first = animate(1);
    assert_eq!(first.len(), 5, "more than were trained on");
    assert!(first.iter().all(|frame| size(frame) == size(&known)));
    assert!(first[0] == known);
    assert!(first[1] != known && first[2] != first[1]);
    assert!(first == animate(1));
    let other = animate(2);
    assert!(other[0] == known && other[1..] != first[1..]);
    // The film depends on the picture, too.
    let clip = read_clip(3);
    clip[0].write(&place.path("in.png")).expect("written");
    let other = animate(1);
    assert!(other[0] == clip[0] && other[1] != first[1]);
}

#[test]
fn a_film_is_guided_by_what_was_trained_to() {
    let place = Place::new();
    let plain = place.path("plain");
    for network in ["vqgan", "renderer"] {
        fs::create_dir_all(plain.join(network)).expect("a folder");
        for file in fs::read_dir(TRAINED.join("guided").join(network)).expect("weights") {
            let file = file.expect("readable");
            let to = plain.join(network).join(file.file_name());
            fs::copy(file.path(), to).expect("copied");
        }
    }
    let animate = |model: &str| {
        let words = "--image @in.png --frames 4 --seed 1";
        place.film("animate", model, words, "")
    };
    let guided = animate("guided");
    let plain = animate(plain.to_str().expect("a path of letters"));
    assert_eq!((guided.len(), plain.len()), (4, 4));
    assert!(guided[0] == plain[0]);
    for frame in 1..4 {
        assert_eq!(size(&guided[frame]), size(&plain[frame]));
        assert!(shows_something(&guided[frame]));
        assert!(guided[frame] != plain[frame], "frame {frame}");
    }
}

#[test]
fn films_follow_their_prompts() {
    let place = Place::new();
    let [one, other] = captions("clips");
    let paint = |seed: u64, prompt: &str| {
        let words = format!("--size 48x40 --frames 4 --seed {seed} {STRONGLY}");
        place.film("paint", "t2vhd", &words, prompt)
    };
    let first = paint(1, &one);
    assert_eq!(first.len(), 4);
    assert!(first.iter().all(|frame| size(frame) == (48, 40)));
    assert!((1..4).any(|frame| first[frame] != first[0]), "it moves");
    assert!(first == paint(1, &one));
    for changed in [paint(2, &one), paint(1, &other)] {
        assert!(first.iter().zip(&changed).all(|(old, new)| old != new));
    }
    // Its first frame is the picture of the same seed and prompt.
    let words = format!("--size 48x40 --seed 1 {STRONGLY}");
    assert!(first[0] == place.picture("paint", "t2vhd", &words, &one));
}

#[test]
fn token_files_give_the_same_pixels_again() {
    let place = Place::new();
    let [one, _] = captions("stills");
    let outpaint = "--image @in.png --size 70x50 --at 9,11";
    for (model, command, words, prompt) in [
        ("t2ihd", "paint", "--size 60x44", &*one),
        ("uighd", "outpaint", outpaint, ""),
    ] {
        let words = format!("{words} --seed 3 --out @{command}.nuwa");
        let painted = place.picture(command, model, &words, prompt);
        let words = format!("@{command}.nuwa --out @again.png");
        place.done("decode", model, &words, "");
        assert!(place.read("again.png") == painted, "{command}");
    }
    let words = "--image @in.png --frames 3 --seed 3 --out @film.nuwa";
    let film = place.film("animate", "iahd", words, "");
    place.done("decode", "iahd", "@film.nuwa --out @again/", "");
    assert!(place.frames("again") == film);
}
