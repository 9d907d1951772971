//! Models that are told in words, several pictures at once, and other ways to draw tokens.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use nuwa_data::Picture;
use nuwa_data::synthetic::{Attributes, recover};
use nuwa_model::checkpoint::{self, Kind, Storage};
use nuwa_model::clip::ClipTextConfig;
use nuwa_model::render::{Decoding, RendererConfig};
use serde_json::Value;

use super::film::copy;
use super::{PAINT, Place, header, renderer, vqgan};

/// A place with a run that is told in words; its weights are fresh, so texts hardly matter unless
/// guidance makes much of them.
fn place(decoding: Decoding) -> Place {
    let place = Place::new();
    let told = RendererConfig {
        decoding,
        d_text: Some(16),
        ..renderer()
    };
    place.save("run", &vqgan(), &told);
    let text = ClipTextConfig {
        hidden_size: 16,
        intermediate_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        vocab_size: 49408,
        max_position_embeddings: 77,
    };
    let tower = text.init(&Device::flex());
    let folder = place.path("run").join("text");
    checkpoint::save(
        &tower,
        &header(Kind::ClipText),
        &text,
        Storage::Half,
        &folder,
    )
    .expect("saved");
    place
}

fn picture(place: &Place, more: &str) -> Picture {
    place.done(&format!("{PAINT} --size 48x16 --seed 1 {more}"));
    Picture::read(&place.path("out.png")).expect("the result")
}

#[test]
fn pictures_follow_their_prompts() {
    for decoding in [Decoding::Ar, Decoding::Pnar] {
        let place = place(decoding);
        let plain = picture(&place, "");
        assert!(
            plain == picture(&place, "--prompt="),
            "no prompt is the empty one"
        );
        let lake = picture(&place, "--prompt lake --guidance 500");
        assert!(lake == picture(&place, "--prompt lake --guidance 500"));
        assert!(lake != plain);
        assert!(lake != picture(&place, "--prompt mountains --guidance 500"));
        let without = picture(
            &place,
            "--prompt lake --guidance 500 --negative-prompt mountains",
        );
        assert!(lake != without);

        let track =
            "[[prompt]]\ntext = \"lake\"\nx = [0, 8]\n[[prompt]]\ntext = \"lake\"\nx = [40, 48]\n";
        fs::write(place.path("track.toml"), track).expect("written");
        let along = picture(&place, "--prompts @track.toml --guidance 500");
        assert!(along == lake, "the same text everywhere");
        let track = track.replacen("lake", "mountains", 1);
        fs::write(place.path("track.toml"), track).expect("written");
        let along = picture(&place, "--prompts @track.toml --guidance 500");
        assert!(along != lake);
        let info = place.done("info @out.png");
        assert!(
            info.contains("prompt      mountains") && info.contains("guidance    500"),
            "{info}"
        );
    }
}

#[test]
fn words_that_cannot_be_followed_are_refused() {
    let place = place(Decoding::Ar);
    let paint = format!("{PAINT} --size 16x16");
    place.refused(&format!("{paint} --negative-prompt lake"), 2, "--guidance");
    place.refused(&format!("{paint} --guidance=-1"), 2, "between 0 and 1000");
    place.refused(
        &format!("{paint} --prompt a --prompts @in.png"),
        2,
        "cannot be used with",
    );
    place.refused(&format!("{paint} --prompts @no.toml"), 2, "no.toml");
    fs::write(place.path("track.toml"), "[[prompt]]\nx = [0, 8]\n").expect("written");
    place.refused(
        &format!("{paint} --prompts @track.toml"),
        2,
        "missing field `text`",
    );
    let text = place.path("run").join("text");
    fs::rename(&text, place.path("moved")).expect("moved");
    place.refused(&paint, 1, "has no `text` network");
    let untold = Place::new();
    untold.refused(
        &format!("{paint} --prompt lake"),
        2,
        "trained without captions",
    );
}

#[test]
fn several_pictures_of_one_batch_are_those_of_their_seeds() {
    let place = Place::new();
    let words = "paint --device cpu --quiet --model @run --size 40x16";
    let said = place.done(&format!(
        "{words} --n 3 --seed 7 --out @all.png --out @all.nuwa"
    ));
    assert_eq!(said.lines().count(), 6);
    for (number, seed) in [(1, 7), (2, 8), (3, 9)] {
        place.done(&format!("{words} --seed {seed} --out @one.png"));
        let read = |name: &str| fs::read(place.path(name)).expect("a picture");
        assert!(
            read("one.png") == read(&format!("all-{number}.png")),
            "seed {seed}"
        );
        let info = place.done(&format!("info @all-{number}.nuwa"));
        assert!(
            info.contains(&format!("seed {seed}")) && info.contains("complete"),
            "{info}"
        );
    }
}

#[test]
fn tokens_are_drawn_as_asked_for() {
    let place = Place::new();
    let pnar = |more: &str| picture(&place, more);
    let plain = pnar("");
    assert!(plain == pnar("--steps 16 --unmask confidence"));
    assert!(plain != pnar("--steps 2"));
    assert!(plain != pnar("--unmask halton"));
    place.refused(&format!("{PAINT} --size 16x16 --steps 0"), 2, "--steps");
    for share in ["0", "1.01", "NaN"] {
        place.refused(
            &format!("{PAINT} --size 16x16 --top-p {share}"),
            2,
            "--top-p",
        );
    }
    let ar = RendererConfig {
        decoding: Decoding::Ar,
        ..renderer()
    };
    place.save("run", &vqgan(), &ar);
    let plain = picture(&place, "");
    assert!(plain != picture(&place, "--top-p 0.2"));
    // So small a share is greedy.
    assert!(picture(&place, "--top-p 0.000001") == picture(&place, "--top-k 1"));
}

#[test]
fn captions_are_painted_and_read_back_from_the_pixels() {
    let place = place(Decoding::Ar);
    let words = "captions --model @run --device cpu --count 3 --size 48x40 --seed 5";
    let lines = place.done(&format!("{words} --json --out @seen"));
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object"))
        .collect();
    let of = |event: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["event"] == event).collect()
    };
    let read = |text: &Value| -> Attributes {
        let text = text.as_str().expect("a text");
        text.parse().expect("a caption")
    };
    let mut right = [0; 2];
    for (number, line) in of("caption").into_iter().enumerate() {
        let (asked, found) = (read(&line["caption"]), read(&line["found"]));
        let picture = Picture::read(&place.path(&format!("seen/000{number}.png")));
        assert_eq!(recover(&picture.expect("a picture")), found);
        let written = fs::read_to_string(place.path(&format!("seen/000{number}.txt")));
        assert_eq!(written.expect("a caption"), line["caption"]);
        right[0] += u64::from(asked.sky == found.sky);
        right[1] += u64::from(asked.trees == found.trees);
    }
    let counted: Vec<(&str, u64, u64)> = of("attribute")
        .into_iter()
        .map(|line| {
            let number = |name: &str| line[name].as_u64().expect("a number");
            assert_eq!(number("of"), 3);
            let name = line["attribute"].as_str().expect("a name");
            (name, number("right"), number("values"))
        })
        .collect();
    assert_eq!(counted.len(), 6);
    assert_eq!(counted[0], ("sky", right[0], 6));
    assert_eq!(counted[5], ("trees", right[1], 2));
    // Other captions with another seed, the same with the same.
    let first = |seed: u64| -> Value {
        let words = words.replace("--seed 5", &format!("--seed {seed}"));
        let text = place.done(&format!("{words} --json"));
        let line = text.lines().next().expect("a line");
        serde_json::from_str(line).expect("a JSON object")
    };
    assert_eq!(first(5), lines[0]);
    assert_ne!(first(77), first(5));
    let plain = Place::new();
    let words = "captions --model @run --device cpu --count 1 --size 48x40";
    plain.refused(words, 2, "without captions");
    place.refused(&format!("{words} --prompt lake"), 2, "synthetic");
}

/// Gives how often an attribute was seen, from what `captions --json` says.
fn right(lines: &str, attribute: &str) -> u64 {
    let mut lines = lines
        .lines()
        .map(|line| -> Value { serde_json::from_str(line).expect("a JSON object") });
    let found = lines.find(|line| line["attribute"] == attribute);
    found.expect("it is counted")["right"]
        .as_u64()
        .expect("a number")
}

fn at_least<const N: usize>(found: [u64; N], bounds: [u64; N]) -> bool {
    std::iter::zip(found, bounds).all(|(found, bound)| found >= bound)
}

/// What ships for films goes on with a given picture as its caption says, in the water, one of three, and in
/// the sun and in the clouds and where they go, one of four: each frame decoded on its own, and by the
/// decoder that ships with it.
#[test]
fn the_shipped_films_move_as_their_captions_say() {
    let place = Place::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/films");
    let alone = place.path("alone");
    copy(Path::new(model), &alone);
    fs::remove_dir_all(alone.join("pg-vqgan")).expect("it ships");
    let words = "--device cpu --count 16 --size 64x64 --frames 5 --guidance 2 --temperature 0.8";
    let captions = |model: &str, given: &str| {
        let words = format!("captions --model {model} {words} --given {given} --json");
        let lines = place.done(&words);
        ["water", "sun", "clouds"].map(|attribute| right(&lines, attribute))
    };
    let found = captions("@alone", "picture");
    assert!(at_least(found, [13, 10, 12]), "{found:?}");
    // What is only encoded and decoded has nearly all of it.
    let found = captions("@alone", "all");
    assert!(at_least(found, [14, 14, 13]), "{found:?}");
    let found = captions(model, "picture");
    assert!(at_least(found, [13, 11, 11]), "{found:?}");
    let still = format!("captions --model {model} --device cpu --size 64x64 --given picture");
    place.refused(&still, 2, "--frames");
}

/// What ships with captions paints the sky in the color they name, one of six, and water where they
/// speak of a lake, which by chance would be in every other picture.
#[test]
fn the_shipped_landscapes_have_the_sky_and_the_water_of_their_captions() {
    let place = Place::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/landscapes");
    let words =
        "--device cpu --count 12 --size 96x64 --guidance 2 --temperature 0.8 --seed 1 --json";
    let lines = place.done(&format!("captions --model {model} {words}"));
    assert!(
        right(&lines, "water") >= 10 && right(&lines, "sky") >= 8,
        "{lines}"
    );
}
