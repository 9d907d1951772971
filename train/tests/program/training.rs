//! Trainings that are watched from outside, and killed.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::place::Place;

/// Fields of the log that depend on the clock or the memory at hand.
const TIMED: [&str; 6] = [
    "seconds",
    "rss_bytes",
    "tflop_per_second",
    "tokens_per_second",
    "crops_per_second",
    "data_wait",
];

/// What was logged, without what differs from run to run.
pub(super) fn losses(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("log.jsonl")).expect("a log");
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        let fields = line.as_object_mut().expect("an object");
        fields.retain(|name, _| !TIMED.contains(&name.as_str()));
        line
    };
    text.lines().map(line).collect()
}

pub(super) fn checkpoints(run: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.expect("readable").file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

pub(super) fn start(place: &Place, words: &str) -> Child {
    let mut command = place.command(words);
    command.stderr(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("the program starts")
}

/// Waits until the run has a newer checkpoint, or the program is over.
pub(super) fn wait_for_next(child: &mut Child, run: &Path, last: Option<&String>) -> bool {
    let began = Instant::now();
    loop {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "nothing happens"
        );
        if let Some(status) = child.try_wait().expect("a child") {
            assert!(status.success(), "{status}");
            return false;
        }
        if checkpoints(run).last() > last {
            return true;
        }
        sleep(Duration::from_millis(2));
    }
}

/// Begins a run, kills it some time after each new checkpoint, and goes on with it until it is over;
/// three kills at least.
pub(super) fn kill_until_over(place: &Place, begin: &str, go_on: &str, run: &str) {
    let folder = place.path(run);
    let mut words = begin;
    let mut kills = 0;
    for moment in (0..).map(|n| n * 37 % 90) {
        let last = checkpoints(&folder).last().cloned();
        let mut child = start(place, words);
        if !wait_for_next(&mut child, &folder, last.as_ref()) {
            break;
        }
        // Any moment: between two updates, in one, while a checkpoint is written.
        sleep(Duration::from_millis(moment));
        let over = child.try_wait().expect("a child").is_some();
        child.kill().expect("killed");
        child.wait().expect("reaped");
        kills += usize::from(!over);
        words = go_on;
    }
    assert!(kills >= 3, "only {kills} kills");
}
