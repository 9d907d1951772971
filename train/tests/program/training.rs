//! Trainings that are watched from outside, and killed.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
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

/// Begins a run and interrupts it after its first checkpoint.
pub(super) fn interrupt(place: &Place, words: &str, run: &str) {
    let mut child = start(place, words);
    assert!(wait_for_next(&mut child, &place.path(run), None));
    let id = child.id().to_string();
    let told = Command::new("kill").args(["-INT", &id]).status();
    assert!(told.expect("there is a kill").success());
    assert!(child.wait().expect("reaped").success());
}

/// Goes on with a run that is over, at a rate that no weights survive: it stops before the update, names
/// what is not finite, and keeps what it had.
pub(super) fn expect_stop_before_ruin(place: &Place, run: &str, go_on: &str) {
    let folder = place.path(run);
    let kept = checkpoints(&folder);
    assert!(!kept.is_empty());
    let path = folder.join("run.toml");
    let text = fs::read_to_string(&path).expect("a config");
    let line = |line: &str| match line.split_once(" = ") {
        Some(("updates", updates)) => format!("updates = {updates}0\n"),
        Some(("peak_rate", _)) => "peak_rate = 1e30\n".to_owned(),
        _ => format!("{line}\n"),
    };
    let text: String = text.lines().map(line).collect();
    fs::write(&path, text).expect("written");
    let output = place.run(go_on);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    let causes: Vec<&str> = error
        .lines()
        .filter(|line| line.contains("was not made") && line.contains("is not finite"))
        .collect();
    assert_eq!(causes.len(), 1, "{error}");
    assert!(causes[0].starts_with("nuwa-train: run "), "{error}");
    assert_eq!(checkpoints(&folder), kept);
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
