//! Configs by layers: the defaults, then `key=value` pairs over them. Keys that the defaults lack
//! are refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

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
        let place = find(&mut table, key.trim())?;
        *place = read(value.trim(), place);
    }
    let text = toml::to_string(&table).map_err(|e| e.to_string())?;
    toml::from_str(&text).map_err(|e| e.message().to_owned())
}

fn find<'a>(table: &'a mut Table, key: &str) -> Result<&'a mut Value, String> {
    let known: Vec<String> = table.keys().cloned().collect();
    let unknown = |part: &str| {
        format!(
            "unknown key {part:?} of {key:?}; there are {}",
            known.join(", ")
        )
    };
    let (first, rest) = key
        .split_once('.')
        .map_or((key, None), |(a, b)| (a, Some(b)));
    let place = table.get_mut(first).ok_or_else(|| unknown(first))?;
    match (rest, place) {
        (None, place) => Ok(place),
        (Some(rest), Value::Table(table)) => find(table, rest),
        (Some(_), _) => Err(format!("{first:?} of {key:?} has no parts")),
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
            ("stage_two.bach=3", "bach"),
            ("nothing=1", "nothing"),
            ("seed.x=1", "seed"),
            ("stage_two.batch=many", "usize"),
            ("stage_two.batch", "KEY=VALUE"),
        ] {
            let error = lay(&[pair]).expect_err(pair);
            assert!(error.contains(part), "{pair}: {error}");
        }
    }
}
