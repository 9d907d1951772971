//! Configs by layers: the defaults, then a file, then `key=value` pairs over them. Keys that the
//! defaults lack are refused.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Lays a file, if there is one, and then pairs over a config.
///
/// # Errors
/// Those of [`lay_file`] and [`overlay`].
pub fn lay<C: Serialize + DeserializeOwned>(
    base: &C,
    file: Option<&Path>,
    pairs: &[String],
) -> Result<C, String> {
    match file {
        Some(file) => overlay(&lay_file(base, file)?, pairs),
        None => overlay(base, pairs),
    }
}

/// Lays `a.b=value` pairs over a config. Values are TOML; a bare word is a string.
///
/// # Errors
/// Names the key that is unknown, or the value that does not fit.
pub fn overlay<C: Serialize + DeserializeOwned>(base: &C, pairs: &[String]) -> Result<C, String> {
    let mut table = Table::try_from(base).map_err(|e| e.to_string())?;
    for pair in pairs {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("{pair:?} is not KEY=VALUE"))?;
        let place = find(&mut table, key.trim(), key.trim())?;
        *place = read(value.trim(), place);
    }
    let text = toml::to_string(&table).map_err(|e| e.to_string())?;
    toml::from_str(&text).map_err(|e| e.message().to_owned())
}

/// Lays a TOML file over a config; it holds only what differs.
///
/// # Errors
/// Names the file, and the key that is unknown or the value that does not fit.
pub fn lay_file<C: Serialize + DeserializeOwned>(base: &C, file: &Path) -> Result<C, String> {
    let named = |error: String| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
    let layer: Table = toml::from_str(&text).map_err(|e| named(e.message().to_owned()))?;
    let mut table = Table::try_from(base).map_err(|e| named(e.to_string()))?;
    lay_table(&mut table, layer, "").map_err(named)?;
    let text = toml::to_string(&table).map_err(|e| named(e.to_string()))?;
    toml::from_str(&text).map_err(|e| named(e.message().to_owned()))
}

fn lay_table(table: &mut Table, layer: Table, within: &str) -> Result<(), String> {
    for (key, value) in layer {
        let whole = format!("{within}{key}");
        let unknown = unknown(table, &key, &whole);
        match (table.get_mut(&key), value) {
            (None, _) => return Err(unknown),
            (Some(Value::Table(table)), Value::Table(layer)) => {
                lay_table(table, layer, &format!("{whole}."))?;
            }
            (Some(place @ Value::Float(_)), Value::Integer(n)) => *place = Value::Float(n as f64),
            (Some(place), value) => *place = value,
        }
    }
    Ok(())
}

/// Says that a key is unknown, and which one may have been meant.
fn unknown(table: &Table, part: &str, whole: &str) -> String {
    let near = |key: &&String| strsim::jaro_winkler(key, part);
    let nearest = table.keys().max_by(|a, b| near(a).total_cmp(&near(b)));
    match nearest.filter(|key| near(key) > 0.8) {
        Some(key) => format!("unknown key {part:?} of {whole:?}; did you mean {key:?}?"),
        None => {
            let known: Vec<&str> = table.keys().map(String::as_str).collect();
            format!(
                "unknown key {part:?} of {whole:?}; there are {}",
                known.join(", ")
            )
        }
    }
}

/// Gives the place of a key, which is the rest of a whole one.
fn find<'a>(table: &'a mut Table, key: &str, whole: &str) -> Result<&'a mut Value, String> {
    let (first, rest) = key
        .split_once('.')
        .map_or((key, None), |(a, b)| (a, Some(b)));
    let unknown = unknown(table, first, whole);
    let place = table.get_mut(first).ok_or(unknown)?;
    match (rest, place) {
        (None, place) => Ok(place),
        (Some(rest), Value::Table(table)) => find(table, rest, whole),
        (Some(_), _) => Err(format!("{first:?} of {whole:?} has no parts")),
    }
}

fn read(text: &str, old: &Value) -> Value {
    let parsed = format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"));
    match (parsed, old) {
        (Some(Value::Integer(n)), Value::Float(_)) => Value::Float(n as f64),
        (Some(value), _) => value,
        (None, _) => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use nuwa_model::render::Decoding;

    use super::*;
    use crate::one_shot::OneShotConfig;

    fn lay(pairs: &[&str]) -> Result<OneShotConfig, String> {
        let pairs: Vec<String> = pairs.iter().map(|&p| p.to_owned()).collect();
        overlay(&OneShotConfig::new(Decoding::Ar), &pairs)
    }

    #[test]
    fn known_keys_change_and_nothing_else_does() {
        let config = lay(&[
            "stage_two.batch=3",
            "stage_one.peak_rate = 1",
            "renderer.decoding=pnar",
        ]);
        let mut expected = OneShotConfig::new(Decoding::Pnar);
        expected.stage_two.batch = 3;
        expected.stage_one.peak_rate = 1.0;
        assert_eq!(config, Ok(expected));
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_named() {
        for (pair, part) in [
            (
                "stage_two.bach=3",
                "unknown key \"bach\" of \"stage_two.bach\"; did you mean \"batch\"?",
            ),
            ("nothing=1", "nothing"),
            ("seed.x=1", "seed"),
            ("stage_two.batch=many", "usize"),
            ("stage_two.batch", "KEY=VALUE"),
        ] {
            let error = lay(&[pair]).expect_err(pair);
            assert!(error.contains(part), "{pair}: {error}");
        }
    }

    #[test]
    fn a_file_holds_what_differs_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("small.toml");
        let lay = |text: &str| {
            std::fs::write(&file, text).expect("written");
            lay_file(&OneShotConfig::new(Decoding::Ar), &file)
        };
        let mut expected = OneShotConfig::new(Decoding::Ar);
        (
            expected.seed,
            expected.stage_two.batch,
            expected.stage_two.peak_rate,
        ) = (7, 3, 1.0);
        let found = lay("seed = 7\n[stage_two]\nbatch = 3\npeak_rate = 1");
        assert_eq!(found, Ok(expected));
        for (text, part) in [
            (
                "[stage_two]\nsmothing = 0.1",
                "small.toml: unknown key \"smothing\" of \"stage_two.smothing\"; did you mean \"smoothing\"?",
            ),
            ("weather = 1", "there are"),
            ("seed = \"x\"", "small.toml"),
            ("seed =", "small.toml"),
        ] {
            let error = lay(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
