//! What a token file keeps, and what it says when it is cut or changed anywhere.

use std::fs;
use std::path::PathBuf;

use nuwa_model::patch::{Extent, TokenSize};
use nuwa_model::render::Precision;
use tempfile::TempDir;

use super::*;
use crate::request::{Model, Request, Sampling, Unmask};
use crate::task::{PointPx, RouteKind, SizePx, TaskKind};

fn start() -> Start {
    let header = Header {
        program: "a test".into(),
        model: Model {
            vqgan: "aa".into(),
            renderer: "bb".into(),
            text: None,
            licence: "CC0-1.0".into(),
            stride: 8,
            n_codes: 500,
            patch: TokenSize { f: 1, h: 1, w: 2 },
            extent: Extent { w: 1, h: 1, f: 0 },
        },
        request: Request {
            task: TaskKind::Outpaint,
            size: SizePx { w: 40, h: 8 },
            frames: 1,
            at: Some(PointPx { x: 8, y: 0 }),
            picture: Some("cc".into()),
            picture_size: Some(SizePx { w: 16, h: 8 }),
            mask: None,
            prompt: Some("a lake".into()),
            prompts: Vec::new(),
            negative: None,
            guidance: Some(2.5),
            repainted: Vec::new(),
            route: RouteKind::Paper,
            seed: u64::MAX,
            sampling: Sampling {
                smoothing: 0.0,
                top_k: 3,
                top_p: 0.9,
                temperature: 0.1,
                steps: 16,
                unmask: Unmask::Halton,
            },
            precision: Precision::Bf16,
        },
    };
    Start {
        header,
        picture: Some(b"not really a picture".to_vec()),
        mask: None,
        known: vec![UNKNOWN, 499, 0, UNKNOWN, UNKNOWN, UNKNOWN],
    }
}

fn record(position: usize) -> Record {
    let tokens = vec![position as u16, 300 + position as u16];
    Record { position, tokens }
}

/// A file with three finished patches.
fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.nuwa");
    let mut file = TokenFile::create(&path, &start()).expect("created");
    (0..3).for_each(|position| file.add(&record(position)).expect("added"));
    (folder, path)
}

#[test]
fn what_was_written_is_read_and_gone_on_with() {
    let (_folder, path) = file();
    let found = read(&path).expect("good");
    assert_eq!(found.start, start());
    assert_eq!(found.records, [0, 1, 2].map(record));
    assert_eq!(found.damage, None);
    let mut file = TokenFile::resume(&path, &found).expect("resumed");
    file.add(&record(3)).expect("added");
    drop(file);
    assert_eq!(read(&path).expect("good").records, [0, 1, 2, 3].map(record));
}

#[test]
fn a_file_cut_anywhere_reads_up_to_the_last_whole_patch_and_goes_on_from_there() {
    let (_folder, path) = file();
    let whole = fs::read(&path).expect("readable");
    // A record: 12 bytes around 4 of the position and 2 × 2 of the tokens.
    let first = whole.len() - 3 * 20;
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("writable");
        if length < first {
            let error = read(&path).expect_err("no beginning").to_string();
            let said =
                error.contains("damaged at its beginning") || error.contains("is not a token");
            assert!(said, "{length}: {error}");
            continue;
        }
        let found = read(&path).expect("a beginning");
        let n = (length - first) / 20;
        assert_eq!(found.records.len(), n);
        let is_whole = (length - first) % 20 == 0;
        assert_eq!(found.damage, (!is_whole).then_some(Damage::Cut), "{length}");
        let mut file = TokenFile::resume(&path, &found).expect("resumed");
        (n..3).for_each(|position| file.add(&record(position)).expect("added"));
        drop(file);
        assert_eq!(fs::read(&path).expect("readable"), whole, "{length}");
    }
}

#[test]
fn a_bit_changed_anywhere_is_an_error_or_ends_what_is_read() {
    let (_folder, path) = file();
    let whole = fs::read(&path).expect("readable");
    let first = whole.len() - 3 * 20;
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, &bytes).expect("writable");
        match read(&path) {
            Err(_) => assert!(at < first, "byte {at}"),
            Ok(found) => {
                assert!(at >= first, "byte {at}");
                assert_eq!(found.records.len(), (at - first) / 20, "byte {at}");
                assert!(found.damage.is_some(), "byte {at}");
            }
        }
    }
}

#[test]
fn other_files_and_files_from_the_future_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.nuwa");
    let check = |bytes: &[u8], expected: &str| {
        fs::write(&path, bytes).expect("writable");
        let error = read(&path).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(b"", "is not a token file");
    check(b"\x89PNG\r\n\x1a\n and so on", "is not a token file");
    let newer = [&MAGIC[..], &2u32.to_le_bytes()].concat();
    check(&newer, "has format 2; this program reads up to 1");
    let missing = read(&folder.path().join("b.nuwa")).expect_err("missing");
    assert!(missing.to_string().starts_with("cannot read "), "{missing}");
}

#[test]
fn a_length_that_no_file_has_takes_no_memory() {
    let (_folder, path) = file();
    let mut bytes = fs::read(&path).expect("readable");
    bytes.extend(u32::MAX.to_le_bytes());
    bytes.extend(*b"done and then little");
    fs::write(&path, &bytes).expect("writable");
    let found = read(&path).expect("good so far");
    assert_eq!((found.records.len(), found.damage), (3, Some(Damage::Cut)));
}

#[test]
fn two_programs_do_not_write_one_file() {
    let (_folder, path) = file();
    let found = read(&path).expect("good");
    let _first = TokenFile::resume(&path, &found).expect("free");
    let second = TokenFile::resume(&path, &found).expect_err("taken");
    assert!(matches!(second, TokenFileError::InUse(_)), "{second}");
}

#[test]
fn differences_are_named_with_both_values() {
    let (here, mut asked) = (start().header, start().header);
    asked.program = "another program".into();
    assert_eq!(here.differences(&asked), Vec::<String>::new());
    asked.request.seed = 7;
    asked.request.at = None;
    asked.request.sampling.top_k = 4;
    asked.model.renderer = "bx".into();
    asked.request.size = SizePx { w: 41, h: 8 };
    assert_eq!(
        here.differences(&asked),
        [
            "model renderer: bb, not bx",
            "at: 8,0, not none",
            "sampling top_k: 3, not 4",
            "seed: 18446744073709551615, not 7",
            "size: 40x8, not 41x8",
        ]
    );
}
