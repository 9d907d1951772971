//! Where the numbers of a preset come from, key by key.

use nuwa_model::preset::Size;
use toml::{Table, Value};

use super::config::RenderRunConfig;

/// What the papers say nothing of.
const OURS: &str = "ours";
const TABLE_1: &str = "[P] Tab. 1";
/// Keys that are no numbers.
const FOLDERS: [&str; 3] = ["tokens", "valid", "init_from"];

/// Writes a config as TOML, behind each number where it comes from; `told` are the keys of numbers
/// that somebody chose. The folders that it has are left out.
pub(crate) fn annotated(config: &RenderRunConfig, size: Size, told: &[String]) -> String {
    let text = toml::to_string(config).expect("a config is a table");
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        }
        let Some((name, _)) = line.split_once(" = ") else {
            lines.push(line.to_owned());
            continue;
        };
        let key = format!("{section}{name}");
        if FOLDERS.contains(&&*key) {
            continue;
        }
        let source = match told.contains(&key) {
            true => "yours",
            false => source(&key, size, config).expect("every number has a source"),
        };
        lines.push(format!("{line:<32} # {source}"));
    }
    lines.join("\n")
}

/// Gives the keys of all numbers in a table.
pub(crate) fn keys(table: &Table, within: &str) -> Vec<String> {
    let of = |(key, value): (&String, &Value)| match value {
        Value::Table(table) => keys(table, &format!("{within}{key}.")),
        _ => vec![format!("{within}{key}")],
    };
    table.iter().flat_map(of).collect()
}

/// Gives where a preset's number comes from. \[P\] and \[N\] are the texts that ARCHITECTURE.md names.
fn source(key: &str, size: Size, config: &RenderRunConfig) -> Option<&'static str> {
    let unless_tiny = |source| if size == Size::Tiny { OURS } else { source };
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let source = match (section, name) {
        ("", "seed") | ("tower", _) => OURS,
        ("renderer", "decoding") => TABLE_1,
        ("renderer", "d_model" | "n_layers") => unless_tiny("[P] Tab. 7b"),
        ("renderer", "n_codes") => unless_tiny("VQGAN f16 of \"Taming Transformers\""),
        ("renderer", "feed" | "transfer") => "[P] Tab. 6",
        ("renderer", "d_text") if config.tower.is_some() => "tower.hidden_size",
        ("renderer", "d_text") => "CLIP ViT-B/32",
        ("renderer", name) if name.starts_with("patch.") => unless_tiny(TABLE_1),
        ("renderer", name) if name.starts_with("extent.") => TABLE_1,
        ("stage_two", "batch" | "peak_rate") => unless_tiny(TABLE_1),
        ("stage_two", "warmup") => TABLE_1,
        ("stage_two", "updates") => "patches times batches, in the epochs of [P] Tab. 1",
        ("stage_two", "optimize") => "[N] Alg. 1",
        ("stage_two", "smoothing") => "[P], for pictures and clips",
        ("stage_two", "corruption" | "context_dropout" | "one_order_until") => {
            "ours; 0 is the papers'"
        }
        (
            "stage_two",
            "part" | "checkpointing" | "precision" | "clip" | "average" | "caption_dropout"
            | "know_codes" | "checkpoint_every" | "keep" | "patience" | "log_every"
            | "sample_every" | "sample_prompt",
        ) => OURS,
        _ => return None,
    };
    Some(source)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nuwa_data::store::{StoreSpec, TextSpec};
    use nuwa_model::preset::Preset;

    use super::*;

    #[test]
    fn every_number_of_every_preset_has_a_source_and_comes_back() {
        let ids = TextSpec::Ids { length: 77 };
        let states = TextSpec::States {
            length: 77,
            width: 512,
        };
        for (preset, text) in Preset::ALL
            .into_iter()
            .flat_map(|preset| [None, Some(&ids), Some(&states)].map(|text| (preset, text)))
        {
            for size in Size::ALL {
                let spec = StoreSpec {
                    fingerprint: String::new(),
                    tokens: [5, 64, 64],
                    text: text.copied(),
                    crops: 1,
                };
                let (tokens, what) = (Path::new("tokens"), (preset, size));
                let config =
                    RenderRunConfig::effective(what, tokens, (&spec, 9), |_| (), (None, &[]));
                let config = config.expect("nothing was told");
                let text = annotated(&config, size, &[]);
                let table: Table = text.parse().expect("TOML");
                let mut expected = Table::try_from(&config).expect("a table");
                assert!(expected.remove("tokens").is_some());
                assert_eq!(table, expected);
                assert_eq!(
                    keys(&table, "").len(),
                    text.matches(" # ").count(),
                    "{text}"
                );
            }
        }
    }
}
