//! The real program: datasets, interrupted and whole, and what it refuses.

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::place::Place;
use nuwa_data::Picture;
use nuwa_data::manifest::{self, MANIFEST, SKIPPED};

fn done(place: &Place, words: &str, says: &str) {
    let (text, _) = place.done(&format!("prepare {words}"));
    assert!(
        text.contains(says),
        "{words}: {text:?} does not say {says:?}"
    );
}

fn refused(place: &Place, words: &str, code: i32, why: &str) {
    place.refused(&format!("prepare {words}"), code, why);
}

fn picture(place: &Place, name: &str, shade: u8) {
    let path = place.path(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    Picture::filled(40, 30, [shade, 90, 10])
        .write(&path)
        .expect("written");
}

/// Starts the program, kills it once some items are done, and says how many were.
#[cfg(unix)]
fn killed(place: &Place, words: &str, out: &str) -> usize {
    let mut child = place
        .command(&format!("prepare {words}"))
        .spawn()
        .expect("the program starts");
    let start = Instant::now();
    let lines = || fs::read(place.path(out).join("journal.jsonl")).unwrap_or_default();
    let done = || {
        lines()
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            .saturating_sub(1)
    };
    while done() < 3 {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "nothing is ever done"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    done()
}

#[cfg(unix)]
#[test]
fn killed_and_started_again_it_ends_with_the_same_dataset() {
    let place = Place::new();
    for index in 0..40 {
        picture(&place, &format!("in/{index:02}.png"), index);
    }
    fs::write(place.path("in/07.txt"), "a flat color").expect("written");
    fs::write(place.path("in/broken.jpg"), "no picture").expect("written");
    for (words, total, says) in [
        (
            "synthetic --count 40 --size 160x128 --test 4 --quiet",
            40,
            "36 to learn from, 4 to",
        ),
        (
            "folder @in --size 24x24 --test 5 --seed 1 --source mine --licence CC0-1.0 --quiet",
            40,
            "35 to learn from, 5 to measure with, 1 left out",
        ),
    ] {
        let name = words.split(' ').next().expect("a word");
        let (once, twice) = (format!("{name}-once"), format!("{name}-twice"));
        done(&place, &format!("{words} --out @{once}"), says);
        let again = format!("{words} --out @{twice}");
        let kept = killed(&place, &again, &twice);
        assert!(kept >= 3, "{name}: {kept}");
        done(&place, &again, says);
        for list in [MANIFEST, SKIPPED] {
            let read = |out: &str| fs::read_to_string(place.path(out).join(list)).expect("a list");
            assert_eq!(read(&once), read(&twice), "{name}");
        }
        let records = manifest::read(&place.path(&twice).join(MANIFEST)).expect("a manifest");
        assert_eq!(records.len(), total);
        for record in records {
            let file = place.path(&twice).join(&record.file);
            let picture = Picture::read(&file).expect("a whole picture");
            assert_eq!((picture.w(), picture.h()), (record.w, record.h));
        }
    }
    let list = place.path("folder-twice").join(SKIPPED);
    let skipped = manifest::read_skipped(&list).expect("a list");
    assert_eq!(skipped[0].item, "broken.jpg");
}

/// A program called ffmpeg that gives gray frames, as many as it is asked for or else twelve.
#[cfg(unix)]
fn with_ffmpeg(place: &Place, words: &str) -> Output {
    let script = "#!/bin/sh\nn=12\nfor word; do [ \"$last\" = -frames:v ] && n=$word; last=$word; done\n\
                  head -c $((n * 3 * 16 * 8)) /dev/zero | tr '\\0' '\\200'\n";
    let write = "mkdir -p \"$0\" && printf '%s' \"$1\" > \"$0/ffmpeg\" && chmod +x \"$0/ffmpeg\"";
    let tools = place.path("tools");
    let done = Command::new("sh")
        .args(["-c", write])
        .arg(&tools)
        .arg(script)
        .status();
    assert!(done.expect("a shell").success());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(tools).chain(std::env::split_paths(&path));
    let mut command = place.command(&format!("prepare {words}"));
    command.env("PATH", std::env::join_paths(paths).expect("paths"));
    command.output().expect("the program starts")
}

#[cfg(unix)]
#[test]
fn films_become_clips() {
    let place = Place::new();
    fs::create_dir(place.path("in")).expect("created");
    for name in ["a.mp4", "b.mkv"] {
        fs::write(place.path("in").join(name), "a film").expect("written");
    }
    let srt = "1\n00:00:01,000 --> 00:00:02,000\na pig\n\n2\n00:00:02,000 --> 00:00:03,000\nN/A\n\n\
               3\n00:00:04,000 --> 00:00:05,000\n<i>two pigs</i>\n";
    fs::write(place.path("in/a.srt"), srt).expect("written");
    fs::write(place.path("found.json"), "{\"b.mkv\": [\"car\"]}").expect("written");
    for (words, says, captions) in [
        (
            "peppapig @in --out @pigs --size 16x8 --quiet",
            "2 to learn from, 0 to measure with, 1 left out",
            [Some("a pig"), Some("two pigs")],
        ),
        (
            "lhqv @in --out @land --size 16x8 --detections @found.json --quiet",
            "2 to learn from, 0 to measure with, 1 left out",
            [None, None],
        ),
    ] {
        let output = with_ffmpeg(&place, words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words}: {error}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(says), "{words}: {text}");
        let out = place.path(words.split(['@', ' ']).nth(5).expect("a folder"));
        let records = manifest::read(&out.join(MANIFEST)).expect("a manifest");
        let told: Vec<_> = records
            .iter()
            .map(|record| record.caption.as_deref())
            .collect();
        assert_eq!(told, captions, "{words}");
        for record in &records {
            assert_eq!((record.w, record.h, record.frames), (16, 8, 5));
            let clip = nuwa_data::video::read_clip(&out.join(&record.file)).expect("a clip");
            assert_eq!(clip, [(); 5].map(|()| Picture::filled(16, 8, [128; 3])));
        }
    }
}

#[test]
fn bad_requests_name_what_is_wrong() {
    let place = Place::new();
    refused(&place, "", 2, "Usage");
    refused(&place, "poems --out @x", 2, "poems");
    refused(&place, "synthetic", 2, "--out");
    refused(&place, "synthetic --out @x --size 64", 2, "WIDTHxHEIGHT");
    refused(&place, "synthetic --out @x --size 0x64", 2, "WIDTHxHEIGHT");
    refused(&place, "synthetic --out @x --frames 0", 2, "frames");
    refused(&place, "folder @no --out @x", 1, "no");
    fs::create_dir(place.path("empty")).expect("created");
    refused(&place, "folder @empty --out @x", 1, "holds no PNG");
    refused(&place, "shards @empty --out @x", 1, "holds no .tar shard");
    refused(&place, "peppapig @empty --out @x", 1, "holds no video");
    picture(&place, "small.png", 1);
    refused(&place, "rqf @small.png --out @x --count 0", 2, "count");
    refused(
        &place,
        "rqf @small.png --out @x",
        1,
        "2048x2048 were asked for",
    );
    refused(
        &place,
        "folder @empty --captions @no.csv --out @x",
        1,
        "no.csv",
    );
    fs::write(place.path("empty/film.mp4"), "").expect("written");
    refused(
        &place,
        "folder @empty --out @x",
        2,
        "how large its frames shall be (--size)",
    );
    assert!(
        !place.path("x").exists(),
        "a refused request leaves nothing"
    );
    done(
        &place,
        "synthetic --out @full --count 2 --size 16x16",
        "2 to learn from",
    );
    refused(
        &place,
        "synthetic --out @full --count 3 --size 16x16",
        1,
        "other settings",
    );
    refused(&place, "synthetic --out @small.png", 1, "small.png");
}
