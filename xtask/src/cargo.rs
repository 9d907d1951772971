//! Spawning cargo: where the workspace is, which features make which build.

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a build runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// The processor.
    Cpu,
    /// Any GPU, or the processor where there is none: the default features.
    Wgpu,
    /// NVIDIA GPUs.
    Cuda,
}

impl Target {
    /// The name, which is also the value of `--device`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    /// The Cargo features of a build for this target only; the CPU is in all of them.
    fn features(self) -> &'static str {
        match self {
            Self::Cpu => "flex",
            Self::Wgpu => "flex,wgpu",
            Self::Cuda => "flex,cuda",
        }
    }
}

/// The workspace: the folder above this crate's.
pub(crate) fn root() -> PathBuf {
    // Set by `cargo run`, so that a moved checkout is found; the built-in path is for the rest.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let mut path = PathBuf::from(own);
    path.pop();
    path
}

/// A cargo command with its arguments, run in the workspace.
pub(crate) fn cargo<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// The options that select the features of a build for one target.
pub(crate) fn features(target: Target) -> [&'static str; 3] {
    ["--no-default-features", "--features", target.features()]
}

/// The options that select the features of the build that checks, tests, demo and benchmark share:
/// none, and so the default features, unless there are kernels for CUDA to be built. One set of
/// features compiles Burn once, and is what plain `cargo test` builds.
pub(crate) fn shared_features(target: Target) -> &'static [&'static str] {
    match target {
        Target::Cpu | Target::Wgpu => &[],
        Target::Cuda => &["--no-default-features", "--features", "flex,cuda"],
    }
}

/// A program that cargo built, by the folder of its profile: that lies beside the one this program
/// is in.
pub(crate) fn built(name: &str, profile: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program's own path")?;
    let target = own
        .ancestors()
        .nth(2)
        .context("this program lies in no folder of cargo's")?;
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    Ok(target.join(profile).join(name))
}

/// Runs a command to its end.
///
/// # Errors
///
/// If it cannot be started or does not succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let name = describe(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// Runs a command to its end and gives what it printed to stdout.
///
/// # Errors
///
/// If it cannot be started or does not succeed.
pub(crate) fn printed(command: &mut Command) -> Result<String> {
    let name = describe(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name} failed ({})", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as one would type it.
fn describe(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = [program].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}
