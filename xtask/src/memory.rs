//! Memory that a scroll takes, by its length.

use crate::cargo::{Target, built, cargo, root, shared_features, succeed};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Lengths that are compared, in pixels.
const LENGTHS: [usize; 2] = [10_000, 200_000];
/// Height of the scrolls, in pixels.
const HEIGHT: usize = 512;
/// Rows of the table.
const POINTS: usize = 10;

/// What was seen while a scroll was painted.
#[derive(Debug, Default)]
struct Curve {
    /// Share painted, and resident bytes then.
    points: Vec<(f64, u64)>,
    /// Most caches in the pool.
    pool: u64,
    /// Most resident bytes, decoding and writing with them.
    peak: u64,
    seconds: f64,
}

impl Curve {
    fn see(&mut self, event: &Value) {
        let number = |name: &str| event[name].as_u64();
        match event["event"].as_str() {
            Some("patches") => {
                let done = number("done").unwrap_or(0) as f64 / number("of").unwrap_or(1) as f64;
                self.points.push((done, number("rss_bytes").unwrap_or(0)));
                self.pool = self.pool.max(number("pool").unwrap_or(0));
            }
            Some("done") => {
                self.peak = number("peak_rss_bytes").unwrap_or(0);
                self.seconds = event["seconds"].as_f64().unwrap_or(0.0);
            }
            _ => {}
        }
    }

    /// Resident bytes when a share was painted.
    fn at(&self, share: f64) -> u64 {
        let at = self.points.iter().find(|(done, _)| *done >= share);
        at.or(self.points.last()).map_or(0, |(_, bytes)| *bytes)
    }
}

/// Paints a short and a long scroll, one patch at a time and with the least pool, and prints what
/// they held as a Markdown table.
pub(crate) fn memory(model: &Path, ending: &str) -> Result<ExitCode> {
    let mut command = cargo(["build", "--workspace", "--bin", "nuwa-infer"]);
    succeed(command.args(shared_features(Target::Cpu)))?;
    let folder = root().join("runs/memory");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let curves = LENGTHS.map(|length| paint(length, model, ending));
    let [short, long] = curves;
    println!("{}", table(&short?, &long?));
    Ok(ExitCode::SUCCESS)
}

fn paint(length: usize, model: &Path, ending: &str) -> Result<Curve> {
    let size = format!("{length}x{HEIGHT}");
    let out = format!("runs/memory/{length}.{ending}");
    let mut command = Command::new(built("nuwa-infer", "debug")?);
    command
        .args(["paint", "--device", "cpu", "--seed", "0", "--model"])
        .arg(model);
    command.args([
        "--force",
        "--json",
        "--parallel",
        "1",
        "--size",
        &size,
        "--out",
        &out,
    ]);
    command.current_dir(root()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start nuwa-infer")?;
    let lines = child.stdout.take().context("no output to read")?;
    let mut curve = Curve::default();
    for line in BufReader::new(lines).lines() {
        if let Ok(event) = serde_json::from_str(&line.context("cannot read the events")?) {
            curve.see(&event);
        }
    }
    let status = child.wait().context("cannot wait for nuwa-infer")?;
    if !status.success() {
        bail!("painting {size} failed ({status})");
    }
    Ok(curve)
}

fn table(short: &Curve, long: &Curve) -> String {
    let mib = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
    let mut text = format!(
        "| painted | {} px, MiB | {} px, MiB |\n| ---: | ---: | ---: |\n",
        LENGTHS[0], LENGTHS[1]
    );
    let row =
        |name: String, values: [String; 2]| format!("| {name} | {} | {} |\n", values[0], values[1]);
    for point in 1..=POINTS {
        let share = point as f64 / POINTS as f64;
        let values = [short, long].map(|curve| mib(curve.at(share)));
        text += &row(format!("{:.0} %", 100.0 * share), values);
    }
    let both = [short, long];
    text += &row(
        "peak of the program".into(),
        both.map(|curve| mib(curve.peak)),
    );
    text += &row(
        "caches at most".into(),
        both.map(|curve| curve.pool.to_string()),
    );
    text += &row(
        "seconds".into(),
        both.map(|curve| format!("{:.0}", curve.seconds)),
    );
    let growth = 100.0 * (long.peak as f64 / short.peak.max(1) as f64 - 1.0);
    format!("{text}\nThe longer one takes {growth:+.1} % at its peak.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_curve_is_read_from_the_events_of_a_painting() {
        let mut curve = Curve::default();
        for event in [
            json!({"event": "start", "patches": 4}),
            json!({"event": "patches", "done": 1, "of": 4, "pool": 1, "rss_bytes": 1 << 20}),
            json!({"event": "patches", "done": 4, "of": 4, "pool": 3, "rss_bytes": 3 << 20}),
            json!({"event": "done", "seconds": 1.5, "peak_rss_bytes": 8 << 20}),
        ] {
            curve.see(&event);
        }
        assert_eq!(
            [curve.at(0.1), curve.at(0.5), curve.at(1.0)],
            [1, 3, 3].map(|n| n << 20)
        );
        let mut long = Curve::default();
        long.see(&json!({"event": "done", "seconds": 30.0, "peak_rss_bytes": 9 << 20}));
        let text = table(&curve, &long);
        assert!(text.contains("| 100 % | 3 | 0 |\n"), "{text}");
        assert!(text.contains("| caches at most | 3 | 0 |\n"), "{text}");
        assert!(text.ends_with("takes +12.5 % at its peak."), "{text}");
    }
}
