//! Whole datasets from small files, made here.

use super::*;
use crate::Picture;
use crate::manifest::{read, read_skipped};
use std::fs;

fn origin() -> Origin {
    Origin {
        source: "a test".to_owned(),
        licence: "CC0-1.0".to_owned(),
    }
}

fn noise(w: usize, h: usize, seed: usize) -> Picture {
    let byte = |index: usize| ((index + 7 * seed).wrapping_mul(0x9e37_79b9) >> 13) as u8;
    Picture::new(w, h, (0..3 * w * h).map(byte).collect())
}

/// Runs to the end, or until `most` items are done.
fn run_until(
    most: usize,
    prepare: impl FnOnce(Watch<'_>) -> Result<Outcome, DataError> + Send,
) -> Result<Outcome, DataError> {
    let stop = AtomicBool::new(false);
    let seen = AtomicUsize::new(0);
    let report = |_| {
        if seen.fetch_add(1, Ordering::Relaxed) + 1 >= most {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let watch = Watch {
        report: &report,
        stop: &stop,
    };
    // Two threads on any machine: more could do all items before any of them hears of the stop.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .unwrap();
    pool.install(|| prepare(watch))
}

fn run(prepare: impl FnOnce(Watch<'_>) -> Result<Outcome, DataError> + Send) -> Outcome {
    run_until(usize::MAX, prepare).unwrap()
}

fn records(out: &Path) -> Vec<Record> {
    read(&out.join(MANIFEST)).unwrap()
}

fn skipped(out: &Path) -> Vec<(String, String)> {
    let skipped = read_skipped(&out.join(SKIPPED)).unwrap();
    skipped.into_iter().map(|it| (it.item, it.reason)).collect()
}

fn folder_of(path: &Path) -> Folder {
    Folder {
        folder: path.to_owned(),
        captions: None,
        size: None,
        frames: 5,
        sizes: Sizes::all_train(),
        origin: origin(),
    }
}

#[test]
fn synthetic_pictures_show_what_the_manifest_tells() {
    let folder = tempfile::tempdir().unwrap();
    let synthetic = Synthetic {
        n: 8,
        w: 64,
        h: 64,
        frames: 1,
        seed: 100,
        test: 2,
    };
    let outcome = run(|watch| synthetic.prepare(folder.path(), watch));
    assert_eq!((outcome.train, outcome.test, outcome.skipped), (6, 2, 0));
    let records = records(folder.path());
    assert_eq!(records.len(), 8);
    assert_eq!(records[0].file, "files/00000100.png");
    for record in &records {
        let picture = Picture::read(&folder.path().join(&record.file)).unwrap();
        let told: crate::synthetic::Attributes = record.caption.as_ref().unwrap().parse().unwrap();
        assert_eq!(crate::synthetic::recover(&picture), told, "{record:?}");
        assert_eq!((record.w, record.h, record.frames), (64, 64, 1));
    }
}

#[test]
fn a_run_that_was_stopped_ends_with_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let synthetic = Synthetic {
        n: 9,
        w: 16,
        h: 12,
        frames: 2,
        seed: 0,
        test: 3,
    };
    let (once, twice) = (folder.path().join("once"), folder.path().join("twice"));
    run(|watch| synthetic.prepare(&once, watch));
    let outcome = run_until(2, |watch| synthetic.prepare(&twice, watch)).unwrap();
    let n = outcome.train + outcome.test;
    assert!(outcome.stopped && (2..9).contains(&n), "{outcome:?}");
    assert!(!twice.join(MANIFEST).exists());
    // Of one more item the file is lost, and of another it is left half written.
    let journal = fs::read_to_string(twice.join("journal.jsonl")).unwrap();
    let done: serde_json::Value = serde_json::from_str(journal.lines().nth(1).unwrap()).unwrap();
    fs::remove_file(twice.join(done["records"][0]["file"].as_str().unwrap())).unwrap();
    fs::write(twice.join("files/.nuwa-9-9.part"), "half").unwrap();
    let outcome = run(|watch| synthetic.prepare(&twice, watch));
    assert_eq!(
        (outcome.train, outcome.test, outcome.stopped),
        (6, 3, false)
    );
    for name in [MANIFEST, SKIPPED] {
        assert_eq!(
            fs::read(once.join(name)).unwrap(),
            fs::read(twice.join(name)).unwrap()
        );
    }
    let names = |out: &Path| {
        let entries = fs::read_dir(out.join("files")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&once), names(&twice));
    // Done is done: another run has nothing to do.
    let nothing = run_until(0, |watch| synthetic.prepare(&twice, watch)).unwrap();
    assert_eq!(nothing, outcome);
    let other = Synthetic { n: 10, ..synthetic };
    let error = run_until(1, |watch| other.prepare(&twice, watch)).unwrap_err();
    assert!(
        matches!(error, DataError::OtherPreparation { .. }),
        "{error:?}"
    );
}

#[test]
fn a_folder_keeps_its_pictures_bit_for_bit_and_lists_what_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let (from, out) = (folder.path().join("in"), folder.path().join("in/out"));
    fs::create_dir_all(from.join("sub")).unwrap();
    for (index, name) in ["b.png", "sub/a.jpg", "c.TIFF"].iter().enumerate() {
        noise(30, 20, index).write(&from.join(name)).unwrap();
    }
    fs::write(from.join("b.txt"), "a flat\ncolor\n").unwrap();
    fs::write(from.join("broken.png"), "no picture").unwrap();
    fs::write(from.join("notes.md"), "no picture either").unwrap();
    let outcome = run(|watch| folder_of(&from).prepare(&out, watch));
    assert_eq!((outcome.train, outcome.test, outcome.skipped), (3, 0, 1));
    let found = records(&out);
    let files: Vec<&str> = found.iter().map(|record| record.file.as_str()).collect();
    assert_eq!(files, ["files/b.png", "files/c.TIFF", "files/sub/a.jpg"]);
    assert_eq!(found[0].caption.as_deref(), Some("a flat color"));
    assert_eq!(found[1].caption, None);
    for record in &found {
        let name = record.file.strip_prefix("files/").unwrap();
        assert_eq!(
            fs::read(out.join(&record.file)).unwrap(),
            fs::read(from.join(name)).unwrap()
        );
    }
    let [(item, reason)] = &skipped(&out)[..] else {
        panic!("one is broken")
    };
    assert!(
        item == "broken.png" && reason.contains("is not a PNG"),
        "{item}: {reason}"
    );
    // Repaired, it is taken.
    noise(30, 20, 9).write(&from.join("broken.png")).unwrap();
    let outcome = run(|watch| folder_of(&from).prepare(&out, watch));
    assert_eq!((outcome.train, outcome.skipped), (4, 0));
    assert_eq!(records(&out)[1].file, "files/broken.png");
}

#[test]
fn pictures_are_brought_to_size_and_captions_listed() {
    let folder = tempfile::tempdir().unwrap();
    let (from, out) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir_all(&from).unwrap();
    noise(40, 20, 0).write(&from.join("wide.png")).unwrap();
    noise(9, 50, 1).write(&from.join("thin.png")).unwrap();
    let csv = "file,caption\nwide.png,wide\ngone.png,gone\n";
    fs::write(from.join("captions.csv"), csv).unwrap();
    let sized = Folder {
        size: Some((10, 10)),
        ..folder_of(&from)
    };
    run(|watch| sized.prepare(&out, watch));
    let [record] = &records(&out)[..] else {
        panic!("one is large enough")
    };
    assert_eq!(
        (record.w, record.h, record.caption.as_deref()),
        (10, 10, Some("wide"))
    );
    let expected = noise(40, 20, 0).resize(20, 10).crop(5, 0, 10, 10);
    assert_eq!(Picture::read(&out.join(&record.file)).unwrap(), expected);
    let items: Vec<String> = skipped(&out).into_iter().map(|(item, _)| item).collect();
    assert_eq!(items, ["gone.png", "thin.png"]);
    fs::write(from.join("film.mp4"), "").unwrap();
    let unsized_ = folder_of(&from);
    let error = run_until(1, |watch| unsized_.prepare(&out.join("x"), watch)).unwrap_err();
    assert!(matches!(error, DataError::NoFrameSize { .. }), "{error:?}");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let error = run_until(1, |watch| folder_of(&empty).prepare(&out.join("y"), watch)).unwrap_err();
    assert!(
        matches!(error, DataError::NothingToPrepare { .. }),
        "{error:?}"
    );
}

/// Adds a file to a shard.
fn add(shard: &mut tar::Builder<fs::File>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    shard.append_data(&mut header, name, bytes).unwrap();
}

#[test]
fn shards_give_their_samples() {
    let folder = tempfile::tempdir().unwrap();
    let (from, out) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir_all(&from).unwrap();
    let png = from.join("a.png");
    noise(12, 8, 0).write(&png).unwrap();
    let png = fs::read(&png).unwrap();
    for name in ["1.tar", "0.tar"] {
        let mut shard = tar::Builder::new(fs::File::create(from.join(name)).unwrap());
        add(&mut shard, "x/001.png", &png);
        add(&mut shard, "x/001.txt", b"one\n");
        add(&mut shard, "x/002.seg.json", b"{}");
        add(&mut shard, "x/002.json", br#"{"caption": "two"}"#);
        add(&mut shard, "x/002.png", &png);
        add(&mut shard, "x/003.txt", b"no picture");
        add(&mut shard, "x/004.png", b"broken");
        shard.finish().unwrap();
    }
    // The second one is cut off in its second picture.
    let bytes = fs::read(from.join("1.tar")).unwrap();
    let cut = bytes.windows(5).position(|name| name == b"x/003").unwrap();
    fs::write(from.join("1.tar"), &bytes[..cut - 700]).unwrap();
    let shards = Shards {
        path: from.clone(),
        size: None,
        sizes: Sizes::all_train(),
        origin: origin(),
    };
    run(|watch| shards.prepare(&out, watch));
    let found = records(&out);
    let told: Vec<_> = found
        .iter()
        .map(|it| (&*it.file, it.caption.as_deref()))
        .collect();
    let expected = [
        ("files/0.tar/x/001.png", Some("one")),
        ("files/0.tar/x/002.png", Some("two")),
        ("files/1.tar/x/001.png", Some("one")),
    ];
    assert_eq!(told, expected);
    assert_eq!(fs::read(out.join(&found[1].file)).unwrap(), png);
    let items: Vec<String> = skipped(&out).into_iter().map(|(item, _)| item).collect();
    assert_eq!(
        items,
        ["1.tar", "0.tar/x/003", "0.tar/x/004", "1.tar/x/002"]
    );
}

#[test]
fn a_painting_is_cut_into_squares_from_edge_to_edge() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for name in ["scroll.png", "scroll.tif"] {
        let path = folder.path().join(name);
        let scroll = noise(900, 60, 0).resize(450, 90);
        scroll.write(&path).unwrap();
        let rqf = Rqf {
            picture: path,
            px: 40,
            n: 7,
            origin: origin(),
        };
        let out = out.join(name);
        run(|watch| rqf.prepare(&out, watch));
        let records = records(&out);
        assert_eq!(records.len(), 7);
        let whole = scroll.resize(200, 40);
        for (index, record) in records.iter().enumerate() {
            let square = Picture::read(&out.join(&record.file)).unwrap();
            let left = (index as f64 * 160.0 / 6.0).round() as usize;
            let psnr = square.psnr(&whole.crop(left, 0, 40, 40));
            assert!(psnr > 48.0, "{name} {index}: {psnr:.1} dB");
        }
        let more = Rqf { px: 91, ..rqf };
        let error = run_until(1, |watch| more.prepare(&out.join("x"), watch)).unwrap_err();
        assert!(matches!(error, DataError::TooSmall { .. }), "{error:?}");
    }
}

#[test]
fn lhqc_measures_with_what_the_list_or_the_seed_says() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("in");
    fs::create_dir_all(&from).unwrap();
    for index in 0..20 {
        noise(8, 8, index)
            .write(&from.join(format!("{index:02}.png")))
            .unwrap();
    }
    let list = folder.path().join("test.txt");
    fs::write(&list, "03.png\n\n 11.png\n").unwrap();
    let by_seed = Lhqc {
        folder: from,
        captions: None,
        size: None,
        sizes: Lhqc::sizes(1),
        test_list: None,
        origin: origin(),
    };
    // The share of the paper: one of eighteen.
    let outcome = run(|watch| by_seed.prepare(&folder.path().join("a"), watch));
    assert_eq!((outcome.train, outcome.test), (19, 1));
    let listed = Lhqc {
        test_list: Some(list),
        ..by_seed
    };
    let out = folder.path().join("b");
    run(|watch| listed.prepare(&out, watch));
    let records = records(&out);
    let test = records.iter().filter(|record| record.split == Split::Test);
    let test: Vec<&str> = test.map(|record| record.file.as_str()).collect();
    assert_eq!(test, ["files/03.png", "files/11.png"]);
}

#[test]
fn lhqv_drops_videos_by_what_is_seen_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let detections = folder.path().join("found.json");
    let text = r#"{"a.mp4": ["sky", "Person"], "b.mp4": ["tree"], "c.mp4": []}"#;
    fs::write(&detections, text).unwrap();
    for name in ["a.mp4", "d.mp4"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let lhqv = Lhqv {
        folder: folder.path().to_owned(),
        detections: Some(detections.clone()),
        labels: LABELS.map(str::to_owned).to_vec(),
        size: (8, 8),
        frames: 5,
        sizes: Lhqv::sizes(0),
        origin: origin(),
    };
    // Only the other one is left, which is no video.
    fs::remove_file(folder.path().join("d.mp4")).unwrap();
    noise(8, 8, 0).write(&folder.path().join("d.png")).unwrap();
    let out = folder.path().join("out");
    run(|watch| lhqv.prepare(&out, watch));
    assert_eq!(
        skipped(&out),
        [("a.mp4".to_owned(), "it shows: Person".to_owned())]
    );
    assert_eq!(records(&out).len(), 1);
    fs::write(&detections, "[1, 2]").unwrap();
    let error = run_until(1, |watch| lhqv.prepare(&out, watch)).unwrap_err();
    assert!(matches!(error, DataError::Line { .. }), "{error:?}");
}

#[test]
fn films_without_subtitles_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::write(folder.path().join("a.mp4"), "").unwrap();
    fs::write(folder.path().join("b.mkv"), "").unwrap();
    fs::write(
        folder.path().join("a.srt"),
        "1\n00:00:01,0 --> 00:00:02,0\nN/A\n",
    )
    .unwrap();
    let pig = PeppaPig {
        folder: folder.path().to_owned(),
        size: (8, 8),
        frames: 5,
        sizes: PeppaPig::sizes(0),
        origin: origin(),
    };
    let outcome = run(|watch| pig.prepare(&out, watch));
    assert_eq!((outcome.train, outcome.test, outcome.skipped), (0, 0, 1));
    let [(item, reason)] = &skipped(&out)[..] else {
        panic!("one has no subtitles")
    };
    assert!(
        item == "b.mkv" && reason.contains("b.srt"),
        "{item}: {reason}"
    );
}
