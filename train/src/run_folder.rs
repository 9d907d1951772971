//! What every run has: its effective config in its folder, and an ear for interruptions.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nuwa_data::pending::PendingFile;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Name of the effective config. A folder that has it is a run.
pub const CONFIG: &str = "run.toml";

/// Reads the effective config of a run.
///
/// # Errors
/// When there is none, or it is not one of this kind; the file is named.
pub fn read_config<C: DeserializeOwned>(run: &Path) -> anyhow::Result<C> {
    let path = run.join(CONFIG);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let understood = toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}", error.message()));
    understood.with_context(|| path.display().to_string())
}

/// Writes the effective config of a run, whose folder is created where needed.
///
/// # Errors
/// When the disk refuses.
pub fn write_config<C: Serialize>(run: &Path, config: &C) -> anyhow::Result<()> {
    let path = run.join(CONFIG);
    fs::create_dir_all(run).with_context(|| run.display().to_string())?;
    let mut file = PendingFile::create(&path)?;
    file.write_all(toml::to_string_pretty(config)?.as_bytes())
        .with_context(|| path.display().to_string())?;
    Ok(file.commit()?)
}

/// Says in weights what they were trained on: the name of its folder only, because weights are given
/// away, and where it lay is nobody's business.
pub fn trained_on(data: &Path) -> String {
    let name = data.file_name().unwrap_or_default().to_string_lossy();
    format!("trained on {name}")
}

/// Copies the files of a network into a run. Those that lie there already stay.
///
/// # Errors
/// When they cannot be read or written.
pub fn copy_network(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = fs::create_dir_all(to).and_then(|()| {
        // A file that is copied onto itself is emptied first.
        if fs::canonicalize(from)? == fs::canonicalize(to)? {
            return Ok(());
        }
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    });
    copied.with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

/// How long after the first interruption another one is the same: `timeout` and batch systems signal a
/// process and then its group, so that it hears of one wish twice.
const SAME: Duration = Duration::from_secs(1);

/// Gives a flag that the first interruption (SIGINT, SIGTERM) sets; another one, later than a second, does
/// not wait and ends the process.
///
/// A second program in one process keeps the first handler; its own flag is then never set.
pub fn stop_flag() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let on_signal = stop.clone();
    let mut first: Option<Instant> = None;
    let _ = ctrlc::set_handler(move || {
        on_signal.store(true, Ordering::Relaxed);
        if first.get_or_insert_with(Instant::now).elapsed() > SAME {
            std::process::exit(130);
        }
    });
    stop
}
