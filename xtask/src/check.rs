//! The checks: what has to pass before a change goes in.

use crate::cargo::{Target, cargo, printed, root, shared_features, succeed};
use crate::tidy;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What the tests that are meant for every backend have in their name.
const SMOKE: &str = "smoke";

/// Runs all tests on the CPU, or the smoke tests on another backend. `arguments` go to the test
/// programs, in place of the choice by name.
pub(crate) fn test(backend: Target, arguments: &[OsString]) -> Result<ExitCode> {
    if backend == Target::Cpu {
        let mut command = cargo(["test", "--workspace"]);
        command.args(shared_features(backend));
        if !arguments.is_empty() {
            command.arg("--").args(arguments);
        }
        succeed(&mut command)?;
        return Ok(ExitCode::SUCCESS);
    }
    let tests = |arguments: &[OsString]| -> Result<Command> {
        // All members are selected for the same reason as in the demo.
        let mut command = cargo(["test", "--workspace", "--lib", "--test", "e2e"]);
        command
            .args(shared_features(backend))
            .arg("--")
            .args(arguments);
        command.env("NUWA_TEST_BACKEND", backend.name());
        if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
            // Mesa complains on every start without one.
            command.env("XDG_RUNTIME_DIR", runtime_folder()?);
        }
        Ok(command)
    };
    if !arguments.is_empty() {
        succeed(&mut tests(arguments)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    // A filter that fits nothing passes: make sure that there is something to run.
    let listed = printed(&mut tests(&[SMOKE.into(), "--list".into()])?)?;
    if !listed.lines().any(|line| line.ends_with(": test")) {
        bail!("no test has '{SMOKE}' in its name");
    }
    succeed(&mut tests(&[SMOKE.into()])?)?;
    Ok(ExitCode::SUCCESS)
}

fn runtime_folder() -> Result<PathBuf> {
    let folder = root().join("target/runtime");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The standard asks that nobody else may enter.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot close {} to others", folder.display()))?;
    }
    Ok(folder)
}

/// Runs every check, stopping at the first that fails.
pub(crate) fn ci(skip_tests: bool) -> Result<ExitCode> {
    step("format", || {
        succeed(&mut cargo(["fmt", "--all", "--", "--check"]))
    })?;
    step("tidy", || tidy().map(drop))?;
    step("lints", lints)?;
    step("documentation", || {
        let mut command = cargo(["doc", "--workspace", "--no-deps"]);
        command
            .args(shared_features(Target::Cpu))
            .env("RUSTDOCFLAGS", "-D warnings");
        succeed(&mut command)
    })?;
    if !skip_tests {
        step("tests", || test(Target::Cpu, &[]).map(drop))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn lints() -> Result<()> {
    let mut command = cargo(["clippy", "--workspace", "--all-targets"]);
    command
        .args(shared_features(Target::Cpu))
        .args(["--", "-D", "warnings"]);
    succeed(&mut command)
}

fn step(name: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("== {name}");
    let start = Instant::now();
    check().with_context(|| format!("the step '{name}' failed"))?;
    eprintln!("== {name}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Checks tidiness and prints what is not.
pub(crate) fn tidy() -> Result<ExitCode> {
    let found = tidy::problems(&root())?;
    for problem in &found {
        println!("{problem}");
    }
    match found.len() {
        0 => Ok(ExitCode::SUCCESS),
        count => bail!("{count} untidy places"),
    }
}
