//! The real program: stores of prepared datasets and plain folders, whole, interrupted and refused.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::place::{Place, header};
use burn::tensor::{Device, Int, Tensor};
use nuwa_data::dataset::Framing;
use nuwa_data::manifest::{self, MANIFEST, Record, SKIPPED, Split};
use nuwa_data::store::{Text, TextSpec, TokenSample, TokenStore};
use nuwa_data::{Picture, video};
use nuwa_model::checkpoint::{self, Kind, Storage};
use nuwa_model::clip::{CONTEXT_LENGTH, ClipText, ClipTextConfig, ClipTokenizer};
use nuwa_model::vqgan::Vqgan;
use nuwa_model::vqgan::tiled::Tiling;

/// A folder with a run that holds a VQGAN of 2 pixels a token, and CLIP weights.
pub(super) fn place() -> Place {
    let place = Place::new();
    place.vqgan("run/vqgan", 2);
    let clip = ClipTextConfig {
        hidden_size: 16,
        intermediate_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 1,
        vocab_size: 49408,
        max_position_embeddings: 77,
    };
    let (tower, header) = (clip.init(&Device::flex()), header(Kind::ClipText));
    let folder = place.path("clip");
    checkpoint::save(&tower, &header, &clip, Storage::Full, &folder).expect("saved");
    place
}

fn store(place: &Place, name: &str) -> Stored {
    let device = Device::flex();
    let (vqgan, _, _) =
        checkpoint::load::<Vqgan>(&place.path("run/vqgan"), &device).expect("the VQGAN");
    let fingerprint = checkpoint::fingerprint(&vqgan);
    let store = TokenStore::open(&place.path(name), &fingerprint).expect("a store");
    Stored {
        vqgan,
        store,
        device,
    }
}

fn records(place: &Place, data: &str) -> Vec<Record> {
    manifest::read(&place.path(data).join(MANIFEST)).expect("a manifest")
}

/// A store and the VQGAN it was made with.
struct Stored {
    vqgan: Vqgan,
    store: TokenStore,
    device: Device,
}

impl Stored {
    fn sample(&self, record: usize) -> TokenSample {
        self.store.sample(record).expect("a whole record")
    }

    /// Checks that a record holds what the VQGAN makes of these frames, one at a time, each continued
    /// by its reflection as painting continues pictures.
    fn check(&self, record: usize, frames: &[Picture]) {
        let tokens = |frame: &Picture| {
            let (stride, rim) = (self.vqgan.stride(), Tiling::MARGIN);
            let [w, h] = [frame.w(), frame.h()];
            let (beyond, start) = (rim * stride, -((rim * stride) as isize));
            let frame = frame.continued(start, start, w + 2 * beyond, h + 2 * beyond);
            let codes: Tensor<3, Int> = self.vqgan.encode(frame.to_tensor(&self.device));
            let codes = codes.narrow(1, rim, h / stride).narrow(2, rim, w / stride);
            let codes = codes.into_data().convert::<i32>();
            codes.try_to_vec::<i32>().expect("converted to i32")
        };
        let expected: Vec<u16> = frames
            .iter()
            .flat_map(tokens)
            .map(|code| u16::try_from(code).expect("a small code"))
            .collect();
        assert!(
            expected.iter().any(|&code| code != expected[0]),
            "one code only"
        );
        assert_eq!(self.sample(record).tokens, expected, "record {record}");
    }
}

const TOKENIZE: &str = "tokenize --vqgan @run --device cpu";

#[test]
fn a_split_is_stored_with_the_ids_of_its_captions() {
    let place = place();
    place.done("prepare synthetic --out @data --count 9 --size 40x24 --test 4 --quiet");
    let (text, log) = place.done(&format!(
        "{TOKENIZE} @data --out @store --split test --text ids"
    ));
    let told = "done; 4 pictures, 4 crops, 960 tokens, ";
    assert!(text.contains(told), "{text}");
    assert!(
        text.contains("of 64 codes in use (perplexity ") && text.contains(", 0 left out, "),
        "{text}"
    );
    assert!(log.contains("4 of 4 pictures"), "{log}");
    let stored = store(&place, "store");
    assert_eq!(stored.store.spec().tokens, [1, 12, 20]);
    let length = CONTEXT_LENGTH;
    assert_eq!(stored.store.spec().text, Some(TextSpec::Ids { length }));
    assert_eq!(stored.store.n_records(), 4);
    let records = records(&place, "data");
    let of_test = (0..).zip(&records);
    let of_test = of_test.filter(|(_, record)| record.split == Split::Test);
    for (index, (key, record)) in of_test.enumerate() {
        let sample = stored.sample(index);
        assert_eq!((sample.key, sample.crop), (key, 0));
        let picture = Picture::read(&place.path("data").join(&record.file)).expect("a picture");
        stored.check(index, &[picture]);
        let caption = record.caption.as_ref().expect("a true caption");
        let ids = ClipTokenizer::new().tokenize(caption).map(|id| id as u16);
        assert_eq!(sample.text, Some(Text::Ids(ids.to_vec())));
    }
    drop(stored);
    let (again, _) = place.done(&format!(
        "{TOKENIZE} @data --out @store --split test --text ids --quiet"
    ));
    assert!(again.contains(told), "{again}");
}

#[test]
fn clips_are_stored_frame_by_frame() {
    let place = place();
    place.done("prepare synthetic --out @data --count 3 --size 24x16 --frames 3 --test 0 --quiet");
    for (more, frames) in [("", 3), ("--frames 2", 2)] {
        let (text, _) = place.done(&format!("{TOKENIZE} @data --out @store{frames} {more}"));
        assert!(text.contains("3 pictures, 3 crops, "), "{text}");
        let stored = store(&place, &format!("store{frames}"));
        assert_eq!(stored.store.spec().tokens, [frames, 8, 12]);
        assert_eq!(stored.store.spec().text, None);
        for (index, record) in records(&place, "data").iter().enumerate() {
            let clip = video::read_clip(&place.path("data").join(&record.file)).expect("a clip");
            assert_eq!(clip.len(), 3);
            assert!(clip[0] != clip[1], "it moves");
            stored.check(index, &clip[..frames]);
            assert_eq!(stored.sample(index).text, None);
        }
    }
    place.refused(
        &format!("{TOKENIZE} @data --out @store4 --frames 4"),
        1,
        "no picture could be used",
    );
}

#[test]
fn pictures_of_a_folder_are_brought_to_one_size() {
    let place = place();
    place.picture("in/a.png", 33, 21, 1);
    place.picture("in/b.png", 70, 30, 2);
    place.picture("in/d.png", 10, 40, 3);
    fs::write(place.path("in/c.png"), "no picture").expect("written");
    fs::write(place.path("in/d.txt"), "a small picture").expect("written");
    for (more, crops) in [("", 1), ("--crops 3 --seed 5", 3)] {
        let out = format!("store{crops}");
        let words = format!("{TOKENIZE} @in --out @{out} --text @clip --quiet {more}");
        let (text, log) = place.done(&words);
        let told = format!("3 pictures, {} crops, ", 3 * crops);
        assert!(
            text.contains(&told) && text.contains(", 1 left out, "),
            "{text}"
        );
        assert!(
            log.contains("left out c.png: ") && log.contains("is not a PNG"),
            "{log}"
        );
        let list = place.path(&out).join(SKIPPED);
        let skipped = manifest::read_skipped(&list).expect("a list");
        assert_eq!(skipped.len(), 1);
        assert_eq!(skipped[0].item, "c.png");
        assert!(skipped[0].reason.contains("is not a PNG"), "{skipped:?}");
        let stored = store(&place, &out);
        // The first picture, in whole tokens.
        assert_eq!(stored.store.spec().tokens, [1, 10, 16]);
        let framing = Framing {
            w: 32,
            h: 20,
            crops,
            seed: 5,
        };
        for (index, (key, name)) in [(0, "a"), (1, "b"), (3, "d")].into_iter().enumerate() {
            let picture = Picture::read(&place.path(&format!("in/{name}.png")));
            let frames = framing.crops(key, &[picture.expect("a picture")]);
            for (crop, frame) in frames.into_iter().enumerate() {
                let record = index * crops + crop;
                stored.check(record, &[frame]);
                let sample = stored.sample(record);
                assert_eq!((sample.key, sample.crop), (key, crop));
                assert_eq!(sample.text, (name == "d").then(|| states(&place)));
            }
        }
    }
}

fn states(place: &Place) -> Text {
    let device = Device::flex();
    let (tower, _, _) =
        checkpoint::load::<ClipText>(&place.path("clip"), &device).expect("the tower");
    let ids = ClipTokenizer::new().batch(&["a small picture"], &device);
    let states = tower.forward(ids).into_data();
    Text::States(states.try_into_vec().expect("32 bits"))
}

/// All files of a store.
#[cfg(unix)]
fn contents(store: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(store)
        .expect("a store")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            (name.into_owned(), fs::read(&path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

/// Waits until something is stored.
#[cfg(unix)]
fn begun(child: &mut Child, store: &Path) {
    let start = Instant::now();
    let bytes = || fs::metadata(store.join("tokens.bin")).map_or(0, |it| it.len());
    while bytes() == 0 {
        let ended = child.try_wait().expect("it can be asked");
        assert!(
            ended.is_none() && start.elapsed() < Duration::from_secs(120),
            "nothing is stored"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn cut_off_anyhow_it_ends_with_the_same_store() {
    let place = place();
    // Few tokens of large pictures: they fill batches and cost little.
    place.vqgan("deep", 4);
    for index in 0..24 {
        place.picture(&format!("in/{index:02}.png"), 256, 192, index);
        if index % 5 == 0 {
            let text = format!("picture number {index}");
            fs::write(place.path(&format!("in/{index:02}.txt")), text).expect("written");
        }
    }
    for name in ["in/00-broken.png", "in/20-broken.png", "in/99.png"] {
        fs::write(place.path(name), "no picture").expect("written");
    }
    let words = "tokenize @in --vqgan @deep --device cpu --text @clip --crops 2 --quiet";
    let (text, _) = place.done(&format!("{words} --out @whole"));
    assert!(text.contains("24 pictures, 48 crops"), "{text}");
    let whole = contents(&place.path("whole"));
    let names: Vec<&str> = whole.iter().map(|(name, _)| &**name).collect();
    let expected = "skipped.jsonl store.json texts.bin tokenize.json tokens.bin";
    assert_eq!(names.join(" "), expected);
    let same = |name: &str| {
        let (text, _) = place.done(&format!("{words} --out @{name}"));
        assert!(text.contains("24 pictures, 48 crops"), "{text}");
        assert!(text.contains(", 3 left out, "), "{text}");
        for (found, expected) in contents(&place.path(name)).iter().zip(&whole) {
            assert!(found == expected, "{name}: {} differs", expected.0);
        }
        assert_eq!(contents(&place.path(name)).len(), whole.len());
    };
    let start = |name: &str| {
        let mut command = place.command(&format!("{words} --out @{name}"));
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        begun(&mut child, &place.path(name));
        child
    };
    let is_part = |name: &str| {
        let bytes = fs::metadata(place.path(name).join("tokens.bin")).expect("tokens");
        assert!(bytes.len() < whole[4].1.len() as u64, "{name} is whole");
    };

    let mut child = start("killed");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    is_part("killed");
    same("killed");

    let child = start("interrupted");
    let signal = ["-INT", &child.id().to_string()].map(str::to_owned);
    let sent = Command::new("kill").args(signal).status();
    assert!(sent.expect("a signal").success());
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let last = error.lines().last().unwrap_or_default();
    assert!(
        last.contains("stopped after ") && last.ends_with("the same command goes on"),
        "{error}"
    );
    is_part("interrupted");
    same("interrupted");

    // In the middle of a record, of the last line of what was left out, and of a batch.
    let torn = |name: &str, share: usize| {
        let path = place.path("killed").join(name);
        let bytes = fs::read(&path).expect("a file");
        fs::write(&path, &bytes[..bytes.len() * share / 100]).expect("written");
    };
    torn("tokens.bin", 57);
    torn("skipped.jsonl", 95);
    same("killed");
    torn("texts.bin", 70);
    same("killed");
}

#[test]
fn a_store_made_otherwise_is_refused_with_what_differs() {
    let place = place();
    place.picture("in/a.png", 16, 16, 1);
    place.picture("in/b.png", 16, 16, 2);
    place.done(&format!("{TOKENIZE} @in --out @store --quiet"));
    let before = fs::read(place.path("store/tokens.bin")).expect("tokens");
    let refused = |more: &str, why: &str| {
        place.refused(&format!("{TOKENIZE} @in --out @store {more}"), 1, why);
        let after = fs::read(place.path("store/tokens.bin")).expect("tokens");
        assert!(before == after, "{more}");
    };
    refused("--crops 2", "made otherwise: crops 1 and not 2");
    refused("--size 16x8", "made otherwise: size 16x16 and not 16x8;");
    refused("--text ids", "made otherwise: text none and not ids;");
    // Nothing is random in a crop from the middle.
    place.done(&format!("{TOKENIZE} @in --out @store --quiet --seed 1"));
    place.vqgan("other", 2);
    place.refused(
        "tokenize --vqgan @other --device cpu @in --out @store",
        1,
        "made otherwise: vqgan ",
    );
    place.picture("in/c.png", 16, 16, 3);
    refused("", "made otherwise: data ");
}

#[test]
fn bad_requests_name_what_is_wrong() {
    let place = place();
    place.picture("in/a.png", 16, 16, 1);
    let refused = |words: &str, code, why: &str| {
        place.refused(&format!("tokenize --device cpu {words}"), code, why);
    };
    refused("@in --out @x", 2, "--vqgan");
    refused(
        "@in --vqgan @run --out @x --size 15x16",
        2,
        "whole tokens of 2",
    );
    refused("@in --vqgan @run --out @x --size 16", 2, "WIDTHxHEIGHT");
    refused("@in --vqgan @run --out @x --crops 0", 2, "crops");
    refused("@in --vqgan @run --out @x --frames 0", 2, "frames");
    refused("@in --vqgan @run --out @x --split test", 2, "no manifest");
    refused("@in --vqgan @run --out @x --split some", 2, "some");
    refused("@no --vqgan @run --out @x --split all", 1, "no");
    refused("@in --vqgan @clip --out @x", 1, "clip-text");
    refused("@in --vqgan @in --out @x", 1, "config.json");
    refused("@in --vqgan @run --out @x --text @run/vqgan", 1, "vqgan");
    refused("@run --vqgan @run --out @x", 1, "holds no PNG");
    place.picture("dot/a.png", 1, 1, 1);
    refused("@dot --vqgan @run --out @x", 1, "a token has 2x2");
    fs::create_dir(place.path("broken")).expect("created");
    fs::write(place.path("broken/a.png"), "no picture").expect("written");
    refused("@broken --vqgan @run --out @x", 1, "can be read");
    assert!(
        !place.path("x").exists(),
        "a refused request leaves nothing"
    );
    refused(
        "@in --vqgan @run --out @in",
        1,
        "something else than a store",
    );
    refused("@in --vqgan @run --out @in/a.png", 1, "a.png");
    place.done("prepare synthetic --out @data --count 2 --size 16x16 --test 0 --quiet");
    refused(
        "@data --vqgan @run --out @x --split test",
        1,
        "no picture to measure with",
    );
}
