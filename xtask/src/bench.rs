//! Speed, measured and put beside another implementation's in the same run.

use crate::cargo::{Target, cargo, printed, root, shared_features};
use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use serde_json::{Map, Value};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Another implementation to be measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// PyTorch, with the interpreter in `NUWA_PYTHON` or `python3`.
    Python,
}

/// Runs a script as if it were called, and tells how much memory it held.
const WITH_PEAK: &str = "import os, resource, runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name='__main__')
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print('{\"peak_mib\": %d}' % peak)";

/// Settings of a measurement that the peer is given as options of the same name.
const SETTINGS: [&str; 5] = ["config", "batch", "grid", "pixels", "dtype"];

/// One line of a measuring program: a task, its settings and what it took.
#[derive(Debug, Clone, PartialEq)]
struct Measurement(Map<String, Value>);

impl Measurement {
    fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            value => Some(value.to_string()),
        }
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }
}

/// Measures every task and prints a Markdown table.
pub(crate) fn bench(backend: Target, peer: Option<(Peer, PathBuf)>) -> Result<ExitCode> {
    if let Some((_, script)) = peer.as_ref().filter(|(_, script)| !script.is_file()) {
        bail!("there is no {}", script.display());
    }
    let mut command = cargo([
        "bench",
        "--profile",
        "dev",
        "--workspace",
        "--bench",
        "speed",
    ]);
    command
        .args(shared_features(backend))
        .args(["--", "--json"]);
    if backend != Target::Cpu {
        command.args(["--device", backend.name()]);
    }
    let ours = measurements(&printed(&mut command)?);
    if ours.is_empty() {
        bail!("the benchmark printed no measurement");
    }
    let peers = match &peer {
        Some((Peer::Python, script)) => python(&ours, script, backend),
        None => vec![None; ours.len()],
    };
    println!("{}, {}, commit {}\n", machine(), backend.name(), commit());
    print!("{}", table(&ours, &peers));
    Ok(ExitCode::SUCCESS)
}

/// The measurements among the lines of a program's output.
fn measurements(output: &str) -> Vec<Measurement> {
    let lines = output.lines().map(serde_json::from_str);
    let maps = lines.filter_map(|line: serde_json::Result<Map<String, Value>>| line.ok());
    let measured = maps
        .map(Measurement)
        .filter(|line| line.number("seconds").is_some());
    measured.collect()
}

/// Measures the same tasks with the Python peer, one after the other, where PyTorch is installed.
fn python(ours: &[Measurement], script: &Path, backend: Target) -> Vec<Option<Measurement>> {
    let interpreter = std::env::var_os("NUWA_PYTHON").unwrap_or("python3".into());
    let has_torch = Command::new(&interpreter)
        .args(["-c", "import torch"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !has_torch.is_ok_and(|status| status.success()) {
        let name = interpreter.to_string_lossy();
        eprintln!("{name} has no PyTorch: the peer is left out (set NUWA_PYTHON to one that has)");
        return vec![None; ours.len()];
    }
    // The CPU is the peer's place for wgpu, too: PyTorch has no such backend.
    let device = if backend == Target::Cuda {
        "cuda"
    } else {
        "cpu"
    };
    let measure = |line: &Measurement| -> Result<Option<Measurement>> {
        if line.0.get("peer") == Some(&Value::Bool(false)) {
            return Ok(None);
        }
        let mut command = Command::new(&interpreter);
        command.args(["-c", WITH_PEAK]).arg(script);
        command.args(peer_arguments(line, device)?);
        let output = printed(&mut command)?;
        let last = measurements(&output).pop();
        let mut last = last.context("the peer printed no measurement")?;
        if let Some(peak) = peak(&output) {
            last.0.insert("peak_mib".into(), peak);
        }
        Ok(Some(last))
    };
    // What was measured before is not lost with it.
    let or_none = |measured: Result<_>| {
        measured.unwrap_or_else(|error| {
            eprintln!("the peer is left out: {error:#}");
            None
        })
    };
    ours.iter().map(measure).map(or_none).collect()
}

/// How much memory the peer says it held.
fn peak(output: &str) -> Option<Value> {
    let lines = output.lines().rev();
    let mut lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find_map(|line| line.get("peak_mib").cloned())
}

/// What the peer is told to do what a measurement of ours did.
fn peer_arguments(line: &Measurement, device: &str) -> Result<Vec<OsString>> {
    let task = line.text("task").context("a measurement names no task")?;
    let mut arguments = vec![task, "--device".to_owned(), device.to_owned()];
    for name in SETTINGS {
        if let Some(value) = line.text(name) {
            arguments.extend([format!("--{name}"), value]);
        }
    }
    Ok(arguments.into_iter().map(OsString::from).collect())
}

/// The table, with the peer's columns where there is any. The ratio is ours over the peer's:
/// below 1 we are faster. Of GPUs it says how many kernels a token is, and how near it comes to what
/// memory allows.
fn table(ours: &[Measurement], peers: &[Option<Measurement>]) -> String {
    let with_peer = peers.iter().any(Option::is_some);
    let on_gpu = ours.iter().any(|line| line.number("kernels").is_some());
    let mut text = String::from("| task | config | batch | seconds | per second | MiB |");
    let mut rule = String::from("| --- | --- | ---: | ---: | ---: | ---: |");
    if with_peer {
        text.push_str(" peer seconds | ratio | peer MiB | ratio |");
        rule.push_str(" ---: | ---: | ---: | ---: |");
    }
    if on_gpu {
        text.push_str(" kernels | of the limit |");
        rule.push_str(" ---: | ---: |");
    }
    text = format!("{text}\n{rule}\n");
    for (line, peer) in ours.iter().zip(peers) {
        let word = |name| line.text(name).unwrap_or_default();
        let seconds = line.number("seconds").unwrap_or(f64::NAN);
        let rate = line.number("items_per_s").map(|rate| format!("{rate:.1}"));
        let rate = format!("{} {}", rate.unwrap_or_default(), word("item"));
        let config = [word("config"), word("dtype")].join(" ");
        let (task, config, batch) = (word("task"), config.trim(), word("batch"));
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "| {task} | {config} | {batch} | {seconds:.4} | {} | {} |",
            rate.trim(),
            word("peak_mib")
        );
        let theirs = |name| peer.as_ref().and_then(|peer| peer.number(name));
        let mut beside = |ours: Option<f64>, theirs: Option<f64>, digits: usize| {
            let _ = match (ours, theirs) {
                (Some(ours), Some(theirs)) => {
                    write!(text, " {theirs:.digits$} | {:.2} |", ours / theirs)
                }
                _ => write!(text, " | |"),
            };
        };
        if with_peer {
            beside(Some(seconds), theirs("seconds"), 4);
            beside(line.number("peak_mib"), theirs("peak_mib"), 0);
        }
        if on_gpu {
            let share = line.number("of_limit");
            let share = share.map(|share| format!("{:.0} %", 100.0 * share));
            let share = share.unwrap_or_default();
            let _ = write!(text, " {} | {share} |", word("kernels"));
        }
        text.push('\n');
    }
    text
}

/// The processor and its cores.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    format!("{model}, {cores} cores")
}

/// The commit, marked where the tree has changes on top of it.
fn commit() -> String {
    let mut command = Command::new("git");
    command.args(["describe", "--always", "--dirty", "--exclude", "*"]);
    let name = printed(command.current_dir(root()));
    name.map_or("unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Timer precision: 20 ns\n\
        {\"task\":\"train_step\",\"config\":\"tiny\",\"batch\":1,\"grid\":\"4x4\",\
         \"seconds\":0.03,\"items_per_s\":2133.3,\"item\":\"tokens\",\"peak_mib\":300}\n\
        {\"note\":\"no measurement\"}\n\
        {\"task\":\"vqgan_decode\",\"config\":\"f16\",\"pixels\":256,\"seconds\":1.5}\n";

    #[test]
    fn measurements_are_found_among_other_lines() {
        let found = measurements(OUTPUT);
        let tasks: Vec<_> = found.iter().filter_map(|line| line.text("task")).collect();
        assert_eq!(tasks, ["train_step", "vqgan_decode"]);
        assert!(measurements("").is_empty());
        assert_eq!(peak("no measurement\n"), None);
        let told = format!("{OUTPUT}{{\"peak_mib\": 900}}\n");
        assert_eq!(peak(&told), Some(900.into()));
        assert_eq!(measurements(&told).len(), 2);
    }

    #[test]
    fn the_peer_is_asked_for_the_same_settings() {
        let found = measurements(OUTPUT);
        let asked = peer_arguments(&found[0], "cpu").unwrap();
        let expected = "train_step --device cpu --config tiny --batch 1 --grid 4x4";
        assert_eq!(
            asked,
            expected.split(' ').map(OsString::from).collect::<Vec<_>>()
        );
        let asked = peer_arguments(&found[1], "cuda").unwrap();
        let expected = "vqgan_decode --device cuda --config f16 --pixels 256";
        assert_eq!(
            asked,
            expected.split(' ').map(OsString::from).collect::<Vec<_>>()
        );
    }

    #[test]
    fn the_table_has_the_ratio_where_there_is_a_peer() {
        let ours = measurements(OUTPUT);
        let alone = table(&ours, &[None, None]);
        assert!(
            alone.contains("| train_step | tiny | 1 | 0.0300 | 2133.3 tokens | 300 |\n"),
            "{alone}"
        );
        let peer = measurements("{\"seconds\":0.02,\"peak_mib\":600}").pop();
        let both = table(&ours, &[peer, None]);
        assert!(
            both.contains("| 2133.3 tokens | 300 | 0.0200 | 1.50 | 600 | 0.50 |\n"),
            "{both}"
        );
        assert!(
            both.contains("| vqgan_decode | f16 |  | 1.5000 |  |  | | | | |\n"),
            "{both}"
        );
        let gpu = OUTPUT.replace(
            "\"seconds\":0.03",
            "\"seconds\":0.03,\"kernels\":22,\"of_limit\":0.418",
        );
        let gpu = table(&measurements(&gpu), &[None, None]);
        assert!(
            gpu.contains("| 2133.3 tokens | 300 | 22 | 42 % |\n"),
            "{gpu}"
        );
        assert!(gpu.contains("| 1.5000 |  |  |  |  |\n"), "{gpu}");
    }
}
