//! What a source file and a manifest may not hold.

use super::{Problem, problem};
use std::path::Path;

/// Lines of a file before its tests.
const MOST_LINES: usize = 299;
/// Names that say nothing about what is inside.
const FORBIDDEN_NAMES: [&str; 8] = [
    "common", "helper", "helpers", "misc", "types", "util", "utils", "stuff",
];
/// What a room must not know.
struct Room {
    name: &'static str,
    crates: &'static [&'static str],
    paths: &'static [&'static str],
}

const ROOMS: [Room; 5] = [
    Room {
        name: "model",
        crates: &[
            "image",
            "clap",
            "indicatif",
            "nuwa-data",
            "nuwa-train",
            "nuwa-infer",
        ],
        paths: &["burn::optim", "burn::train", "burn::data::"],
    },
    Room {
        name: "data",
        crates: &[
            "clap",
            "indicatif",
            "nuwa-model",
            "nuwa-train",
            "nuwa-infer",
        ],
        paths: &["burn::optim", "burn::train", "burn::nn"],
    },
    Room {
        name: "train",
        crates: &["nuwa-infer", "image"],
        paths: &[],
    },
    Room {
        name: "infer",
        crates: &["nuwa-train", "image"],
        paths: &["burn::optim", "burn::train"],
    },
    Room {
        name: "xtask",
        crates: &[
            "burn",
            "nuwa-model",
            "nuwa-data",
            "nuwa-train",
            "nuwa-infer",
        ],
        paths: &[],
    },
];

/// The checks of one source file.
pub(super) fn source(path: &Path, text: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(problem(path, 1, "does not start with a module head (//!)"));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if FORBIDDEN_NAMES.contains(&&*name) {
        found.push(problem(
            path,
            1,
            format!("'{name}' does not say what is inside"),
        ));
    }
    // Put together here, or this file would break its own rule.
    let words = [
        ["#[", "ignore"].concat(),
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
    ];
    for (index, line) in text.lines().enumerate() {
        for word in words.iter().filter(|word| line.contains(word.as_str())) {
            found.push(problem(
                path,
                index + 1,
                format!("'{word}' has no place here"),
            ));
        }
    }
    if is_test(path) {
        return found;
    }
    let code: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .collect();
    if code.len() > MOST_LINES {
        let what = format!(
            "{} lines before the tests, the most are {MOST_LINES}",
            code.len()
        );
        found.push(problem(path, MOST_LINES + 1, what));
    }
    for forbidden in room(path).map_or(&[][..], |room| room.paths) {
        for (index, line) in code.iter().enumerate() {
            if line.contains(forbidden) && !line.trim_start().starts_with("//") {
                found.push(problem(
                    path,
                    index + 1,
                    format!("{forbidden} is not for this room"),
                ));
            }
        }
    }
    found
}

/// Whether a whole file is tests.
fn is_test(path: &Path) -> bool {
    let in_folder = path.components().any(|part| {
        let part = part.as_os_str();
        part == "tests" || part == "benches"
    });
    in_folder || path.ends_with("tests.rs")
}

fn room(path: &Path) -> Option<&'static Room> {
    ROOMS.iter().find(|room| path.starts_with(room.name))
}

/// No manifest of a room names a crate that the room must not know.
pub(super) fn manifest(path: &Path, text: &str) -> Vec<Problem> {
    let Some(room) = room(path) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in text.lines().enumerate() {
        let name = if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            in_dependencies = section.ends_with("dependencies");
            // `[dependencies.name]` names its crate in the heading.
            section.rsplit_once("dependencies.").map(|(_, name)| name)
        } else if in_dependencies {
            line.split(['.', '=', ' ']).next()
        } else {
            None
        };
        if let Some(name) = name.filter(|name| room.crates.contains(name)) {
            let what = format!("{} must not know {name}", room.name);
            found.push(problem(path, index + 1, what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(found: Vec<Problem>) -> Vec<String> {
        found
            .into_iter()
            .map(|problem| problem.to_string())
            .collect()
    }

    #[test]
    fn a_source_file_has_a_head_a_name_and_an_end() {
        let good = "//! Head.\n\nuse std::fmt;\n";
        assert_eq!(whats(source(Path::new("model/src/a.rs"), good)), [""; 0]);
        let found = whats(source(Path::new("model/src/util.rs"), "use std::fmt;\n"));
        assert_eq!(found.len(), 2, "{found:?}");
        let long = format!("//! Head.\n{}", "//\n".repeat(299));
        let found = whats(source(Path::new("data/src/a.rs"), &long));
        assert_eq!(
            found,
            ["data/src/a.rs:300: 300 lines before the tests, the most are 299"]
        );
        let tested = long.replacen("//\n", "#[cfg(test)]\n", 1);
        assert_eq!(whats(source(Path::new("data/src/a.rs"), &tested)), [""; 0]);
        assert_eq!(whats(source(Path::new("tests/e2e/a.rs"), &long)), [""; 0]);
        let skipped = format!("//! Head.\n{}]\n", ["#[", "ignore"].concat());
        assert_eq!(
            whats(source(Path::new("tests/e2e/a.rs"), &skipped)).len(),
            1
        );
    }

    #[test]
    fn rooms_do_not_know_what_they_must_not() {
        let text = "//! Head.\nuse burn::optim::Adam;\n#[cfg(test)]\nuse burn::optim::Sgd;\n";
        let found = whats(source(Path::new("model/src/a.rs"), text));
        assert_eq!(
            found,
            ["model/src/a.rs:2: burn::optim is not for this room"]
        );
        assert_eq!(whats(source(Path::new("train/src/a.rs"), text)), [""; 0]);

        let text = "[package]\nname = \"nuwa-data\"\n[dependencies]\nnuwa-model.workspace = true\n\
                    image = \"1\"\n[dev-dependencies.clap]\nversion = \"4\"\n";
        let found = whats(manifest(Path::new("data/Cargo.toml"), text));
        assert_eq!(
            found,
            [
                "data/Cargo.toml:4: data must not know nuwa-model",
                "data/Cargo.toml:6: data must not know clap"
            ]
        );
        let found = whats(manifest(Path::new("model/Cargo.toml"), text));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(whats(manifest(Path::new("Cargo.toml"), text)), [""; 0]);
    }
}
