//! Writing, reading, tearing and mixing up stores.

use super::*;
use burn::data::dataset::Dataset;

fn spec() -> StoreSpec {
    StoreSpec {
        fingerprint: "abc".to_owned(),
        tokens: [1, 3, 4],
        text: Some(TextSpec::States {
            length: 2,
            width: 5,
        }),
        crops: 2,
    }
}

fn spec_of_ids() -> StoreSpec {
    StoreSpec {
        text: Some(TextSpec::Ids { length: 7 }),
        ..spec()
    }
}

fn tokens(key: u64, crop: usize) -> Vec<u16> {
    (0..12)
        .map(|at| (key * 997 + crop as u64 * 31 + at * 5000) as u16)
        .collect()
}

/// Every third picture has no text.
fn text(key: u64) -> Option<Text> {
    let states = || (0..10).map(|at| key as f32 + at as f32 / 7.0).collect();
    (key % 3 != 1).then(|| Text::States(states()))
}

fn append(writer: &mut TokenWriter, key: u64) {
    let crops = [tokens(key, 0), tokens(key, 1)];
    let crops: Vec<&[u16]> = crops.iter().map(Vec::as_slice).collect();
    writer.append(key, &crops, text(key).as_ref()).unwrap();
}

fn fill(folder: &Path, keys: std::ops::Range<u64>) {
    let mut writer = TokenWriter::open(folder, &spec()).unwrap();
    keys.for_each(|key| append(&mut writer, key));
    writer.finish().unwrap();
}

fn check(folder: &Path, keys: std::ops::Range<u64>) {
    let store = TokenStore::open(folder, "abc").unwrap();
    let expected = keys.flat_map(|key| [(key, 0), (key, 1)]);
    assert_eq!(Dataset::len(&store), expected.clone().count());
    for (index, (key, crop)) in expected.enumerate() {
        let expected = TokenSample {
            key,
            crop,
            tokens: tokens(key, crop),
            text: text(key),
        };
        assert_eq!(store.get(index).unwrap(), expected);
    }
}

#[test]
fn what_is_stored_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    check_empty(folder.path());
    fill(folder.path(), 0..7);
    check(folder.path(), 0..7);
    fill(folder.path(), 7..9);
    check(folder.path(), 0..9);
}

fn check_empty(folder: &Path) {
    fill(folder, 0..0);
    check(folder, 0..0);
}

#[test]
fn a_writer_cut_off_anywhere_goes_on_with_whole_pictures() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..4);
    let files = [tokens_path(folder.path()), texts_path(folder.path())];
    let whole = files.each_ref().map(|path| fs::read(path).unwrap());
    let picture = 2 * spec().token_bytes();
    let texts_of = |pictures: u64| (0..pictures).filter(|&key| text(key).is_some()).count();
    // Texts are written first; the tokens of the last picture may be there in part.
    for length in 0..=whole[0].len() {
        fs::write(&files[0], &whole[0][..length]).unwrap();
        fs::write(&files[1], &whole[1]).unwrap();
        let writer = TokenWriter::open(folder.path(), &spec()).unwrap();
        let pictures = length / picture;
        assert_eq!(writer.n_pictures(), pictures, "{length}");
        assert_eq!(
            writer.last_key(),
            (pictures as u64).checked_sub(1),
            "{length}"
        );
        drop(writer);
        let texts = fs::metadata(&files[1]).unwrap().len() as usize / spec().text_bytes();
        assert_eq!(texts, texts_of(pictures as u64), "{length}");
        fill(folder.path(), pictures as u64..6);
        check(folder.path(), 0..6);
    }
    // Texts that the disk has lost take their pictures with them.
    fs::write(&files[0], &whole[0]).unwrap();
    fs::write(&files[1], &whole[1][..spec().text_bytes() + 3]).unwrap();
    let writer = TokenWriter::open(folder.path(), &spec()).unwrap();
    assert_eq!(writer.n_pictures(), 2);
}

/// The pictures of a text that is lost go with it, though pictures without one come after them.
#[test]
fn lost_texts_take_their_pictures_with_them() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..8);
    let files = [tokens_path(folder.path()), texts_path(folder.path())];
    let whole = files.each_ref().map(|path| fs::read(path).unwrap());
    // Pictures 0, 2, 3, 5 and 6 have texts.
    for (texts, pictures) in [(0, 0), (1, 2), (2, 3), (3, 5), (4, 6), (5, 8)] {
        for is_zero in [false, true] {
            let mut bytes = whole[1].clone();
            bytes.truncate(texts * spec().text_bytes() + 3 * usize::from(texts < 5));
            if is_zero {
                bytes.resize(whole[1].len(), 0);
            }
            fs::write(&files[0], &whole[0]).unwrap();
            fs::write(&files[1], bytes).unwrap();
            let writer = TokenWriter::open(folder.path(), &spec()).unwrap();
            assert_eq!(writer.n_pictures(), pictures, "{texts} texts");
            drop(writer);
            fill(folder.path(), pictures as u64..9);
            check(folder.path(), 0..9);
        }
    }
}

#[test]
fn zeros_at_the_end_are_no_pictures() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..3);
    let path = tokens_path(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes.resize(bytes.len() + 4 * spec().token_bytes(), 0);
    fs::write(&path, bytes).unwrap();
    fill(folder.path(), 3..5);
    check(folder.path(), 0..5);
}

#[test]
fn a_changed_byte_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..3);
    for (path, at, record) in [
        (tokens_path(folder.path()), spec().token_bytes() + 20, 1),
        (texts_path(folder.path()), 5, 0),
    ] {
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let store = TokenStore::open(folder.path(), "abc").unwrap();
        let error = store.sample(record).unwrap_err();
        assert!(
            matches!(error, DataError::DamagedRecord { .. }),
            "{error:?}"
        );
        assert!(store.sample(2).is_ok());
        drop(store);
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn tokens_of_another_encoder_or_shape_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..1);
    let error = TokenStore::open(folder.path(), "abd").unwrap_err();
    let line = error.to_string();
    assert!(
        line.ends_with("holds tokens of encoder abc, not of encoder abd"),
        "{line}"
    );
    let other = |change: fn(&mut StoreSpec)| {
        let mut spec = spec();
        change(&mut spec);
        let error = TokenWriter::open(folder.path(), &spec).unwrap_err();
        assert!(matches!(error, DataError::OtherTokens { .. }), "{error:?}");
    };
    other(|spec| spec.fingerprint = "abd".to_owned());
    other(|spec| spec.tokens = [1, 4, 3]);
    other(|spec| spec.text = None);
    other(|spec| spec.text = Some(TextSpec::Ids { length: 10 }));
    other(|spec| spec.crops = 1);
    let nothing = TokenStore::open(&folder.path().join("no"), "abc");
    assert!(matches!(nothing, Err(DataError::Read { .. })));
}

#[test]
fn stores_of_another_version_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..1);
    let head = head_path(folder.path());
    let text = fs::read_to_string(&head).unwrap();
    let later = text.replace("\"version\": 2", "\"version\": 3");
    assert_ne!(later, text);
    // As the first version has told its texts.
    let earlier =
        r#"{"version": 1, "fingerprint": "abc", "tokens": [1, 3, 4], "text": [2, 5], "crops": 2}"#;
    for (text, version) in [(later.as_str(), 3), (earlier, 1)] {
        fs::write(&head, text).unwrap();
        let says = format!("holds tokens of version {version}, not of version 2");
        let error = TokenStore::open(folder.path(), "abc").unwrap_err();
        assert!(error.to_string().ends_with(&says), "{error}");
        let error = TokenWriter::open(folder.path(), &spec()).unwrap_err();
        assert!(error.to_string().ends_with(&says), "{error}");
    }
}

#[test]
fn texts_may_be_ids() {
    let folder = tempfile::tempdir().unwrap();
    let ids = |key: u64| Text::Ids((0..7).map(|at| (key * 9000 + at * 49407) as u16).collect());
    let fill = |keys: std::ops::Range<u64>| {
        let mut writer = TokenWriter::open(folder.path(), &spec_of_ids()).unwrap();
        for key in keys {
            let crops = [tokens(key, 0), tokens(key, 1)];
            let text = (key != 2).then(|| ids(key));
            let crops = crops.each_ref().map(Vec::as_slice);
            writer.append(key, &crops, text.as_ref()).unwrap();
        }
        writer.finish().unwrap();
    };
    fill(0..4);
    // The tail that a killed writer leaves, in either file.
    for path in [tokens_path(folder.path()), texts_path(folder.path())] {
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend([7; 11]);
        fs::write(&path, bytes).unwrap();
    }
    fill(4..6);
    let store = TokenStore::open(folder.path(), "abc").unwrap();
    assert_eq!(*store.spec(), spec_of_ids());
    for key in 0..6 {
        let sample = store.sample(2 * key as usize + 1).unwrap();
        assert_eq!(sample.text, (key != 2).then(|| ids(key)));
        assert_eq!(sample.tokens, tokens(key, 1));
    }
    // Five texts of 7 ids of 2 bytes, with their checksums.
    let bytes = fs::metadata(texts_path(folder.path())).unwrap().len();
    assert_eq!(bytes, 5 * (7 * 2 + 4));
    let head = fs::read_to_string(head_path(folder.path())).unwrap();
    assert!(head.contains("\"kind\": \"ids\""), "{head}");
}

#[test]
#[should_panic(expected = "a text of another kind")]
fn ids_in_a_store_of_states_are_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = TokenWriter::open(folder.path(), &spec()).unwrap();
    let _ = writer.append(0, &[&[1; 12], &[1; 12]], Some(&Text::Ids(vec![1; 10])));
}

#[test]
fn many_read_and_one_writes_but_never_both() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..1);
    let readers = [(); 2].map(|()| TokenStore::open(folder.path(), "abc").unwrap());
    let error = TokenWriter::open(folder.path(), &spec()).unwrap_err();
    assert!(matches!(error, DataError::InUse { .. }), "{error:?}");
    drop(readers);
    let writer = TokenWriter::open(folder.path(), &spec()).unwrap();
    let error = TokenStore::open(folder.path(), "abc").unwrap_err();
    assert!(matches!(error, DataError::InUse { .. }), "{error:?}");
    drop(writer);
}

#[test]
#[should_panic(expected = "tokens of a crop")]
fn a_crop_of_another_size_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = TokenWriter::open(folder.path(), &spec()).unwrap();
    let _ = writer.append(0, &[&[1; 12], &[1; 11]], None);
}
