//! What a preset is, and what it takes on a device.

use std::fs;

use super::place::Place;

/// Gives the value of a key in TOML with comments.
fn value(text: &str, section: &str, key: &str) -> toml::Value {
    let table: toml::Table = text.parse().expect("TOML");
    let section = table[section].as_table().expect("a section");
    section[key].clone()
}

#[test]
fn presets_have_the_papers_parameter_counts_and_say_where_numbers_come_from() {
    let place = Place::new();
    for (size, count) in [("large", "(809."), ("base", "(202.")] {
        let (said, _) = place.done(&format!("config t2ihd --size {size}"));
        assert!(said.contains(count) && said.contains("LHQC"), "{said}");
        let source = |key: &str| {
            let mut lines = said.lines();
            let line = lines.find(|line| line.starts_with(key)).expect("a line");
            line.split_once('#').expect("a source").1.trim()
        };
        assert_eq!(source("batch = 512"), "[P] Tab. 1");
        assert_eq!(source("d_model"), "[P] Tab. 7b");
        assert_eq!(source("average"), "ours");
        // 85,000 records, 50 times, 512 at a time, of 16 patches each.
        assert_eq!(
            value(&said, "stage_two", "updates").as_integer(),
            Some(132_816)
        );
    }
}

#[test]
fn a_config_is_what_differs_laid_over_the_preset() {
    let place = Place::new();
    let mine = place.path("mine.toml");
    fs::write(&mine, "[stage_two]\npeak_rate = 3e-4\n").expect("written");
    let words = "config t2ihd --config @mine.toml --set stage_two.batch=500";
    // Held-out records are given to `render`, so they are not missing here.
    let (said, _) = place.done(&format!("{words} --set stage_two.patience=3"));
    let line = |key: &str| said.lines().find(|line| line.starts_with(key)).expect(key);
    for key in ["peak_rate = 0.0003", "batch = 500", "patience = 3"] {
        assert!(line(key).ends_with("# yours"), "{said}");
    }
    // As many epochs, in batches of another size.
    assert_eq!(
        value(&said, "stage_two", "updates").as_integer(),
        Some(8500 * 16)
    );
    // What is printed can be laid over the preset, and says the same.
    fs::write(place.path("all.toml"), &said).expect("written");
    let (again, _) = place.done("config t2ihd --config @all.toml");
    let table = |text: &str| text.parse::<toml::Table>().expect("TOML");
    assert_eq!(table(&again), table(&said));

    let (said, _) = place.done("config t2vhd --size tiny --text ids");
    assert_eq!(
        value(&said, "renderer", "d_text"),
        value(&said, "tower", "hidden_size")
    );
    assert_eq!(value(&said, "stage_two", "batch").as_integer(), Some(8));
}

#[test]
fn what_fits_a_device_is_said_and_what_would() {
    let place = Place::new();
    let (said, _) = place.done("config uighd --size base --for a100-80g");
    assert!(
        said.contains("stage_two.part=") && said.contains("days in all"),
        "{said}"
    );
    place.refused("config t2ihd --for a100-40g", 1, "one record at a time");
    let number_after = |text: &str, words: &str| -> usize {
        let rest = text.split(words).nth(1).expect(words);
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse().expect("a number")
    };
    let refusal = place.run("config t2ihd --for a100-80g");
    let error = String::from_utf8_lossy(&refusal.stderr);
    let batch = number_after(&error, "try --set stage_two.batch=");
    let config = |batch| format!("config t2ihd --for a100-80g --set stage_two.batch={batch}");
    let (said, _) = place.done(&config(batch));
    assert!(said.contains("stage_two.part=1,"), "{batch} fit: {said}");
    let more = config(batch + 1);
    place.refused(&more, 1, "one record at a time");
    place.done(&format!("{more} --set stage_two.precision=bf16"));

    let config = "config uighd --size base --for a100-80g --set stage_two.part=";
    let refusal = place.run(&format!("{config}128"));
    let error = String::from_utf8_lossy(&refusal.stderr);
    let part = number_after(&error, "try --set stage_two.part=");
    place.done(&format!("{config}{part}"));
    place.refused(&format!("{config}{}", part + 1), 1, "records at a time");
}

#[test]
fn what_cannot_be_is_refused() {
    let place = Place::new();
    place.refused("config nothing", 2, "t2ihd");
    place.refused("config t2ihd --size huge", 2, "large");
    place.refused("config t2ihd --set stage_two.precision=f16", 2, "bf16");
    let unknown = "config t2ihd --set renderer.d_modle=64";
    place.refused(unknown, 2, "did you mean \"d_model\"?");
    place.refused(
        "config t2ihd --set renderer.d_model=65",
        2,
        "multiple of 64",
    );
    place.refused("config t2ihd --config @nothing.toml", 2, "nothing.toml");
}
