//! Building and running the programs.

use crate::cargo::{Target, built, cargo, features, root, shared_features, succeed};
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// The weights and the picture the demo shows, and where it puts what it paints.
const MODEL: &str = "infer/assets/hubble";
const PICTURE: &str = "infer/assets/pictures/hubble_deep_field.jpg";
const DEMO: &str = "runs/demo";

/// Builds both programs for speed.
pub(crate) fn build(target: Target) -> Result<ExitCode> {
    let both = ["--package", "nuwa-train", "--package", "nuwa-infer"];
    let mut command = cargo(["build", "--release"]);
    succeed(command.args(both).args(features(target)))?;
    Ok(ExitCode::SUCCESS)
}

/// Builds a program for speed and runs it in the caller's folder.
pub(crate) fn program(name: &str, target: Target, arguments: Vec<OsString>) -> Result<ExitCode> {
    let manifest = root().join("Cargo.toml");
    let mut command = cargo(["run", "--release", "--manifest-path"]);
    command
        .arg(manifest)
        .args(["--package", name])
        .args(features(target));
    command.arg("--").args(with_device(target, arguments));
    command.current_dir(std::env::current_dir().context("the current folder is gone")?);
    replace_with(&mut command)
}

/// The arguments with `--device` for the target, unless they name one or nothing is computed.
fn with_device(target: Target, mut arguments: Vec<OsString>) -> Vec<OsString> {
    const WITHOUT_DEVICE: [&str; 4] = ["config", "help", "plan", "weights"];
    let Some(first) = arguments.first().and_then(|word| word.to_str()) else {
        return arguments;
    };
    let is_named = arguments.iter().any(|word| {
        let word = word.to_string_lossy();
        word == "--device" || word.starts_with("--device=")
    });
    if !is_named && !first.starts_with('-') && !WITHOUT_DEVICE.contains(&first) {
        arguments.extend(["--device", target.name()].map(OsString::from));
    }
    arguments
}

/// Becomes the command, so that Ctrl-C and the exit code are the program's own.
#[cfg(unix)]
fn replace_with(command: &mut Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec()).context("cannot start cargo")
}

#[cfg(not(unix))]
fn replace_with(command: &mut Command) -> Result<ExitCode> {
    let status = command.status().context("cannot start cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Builds the painter as the tests are built, so that one build serves both, and paints a picture
/// larger than it was and a new one.
pub(crate) fn demo() -> Result<ExitCode> {
    let start = Instant::now();
    // All members are selected, or Cargo would build the dependencies with other features than
    // for the tests, and so twice.
    let mut command = cargo(["build", "--workspace", "--bin", "nuwa-infer"]);
    succeed(command.args(shared_features(Target::Cpu)))?;
    eprintln!("built in {:.0} s", start.elapsed().as_secs_f64());

    let folder = root().join(DEMO);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // At a whole number of patches from the top left corner, so that none is painted for nothing.
    let place = ["--size", "2048x1536", "--at", "512,384"];
    let outpainted = [&["outpaint", "--image", PICTURE], &place[..]].concat();
    let outpainted = paint(&outpainted, folder.join("outpainted.png"))?;
    let strip = paint(&["paint", "--size", "2048x512"], folder.join("strip.png"))?;
    println!("{outpainted}\n{strip}");
    Ok(ExitCode::SUCCESS)
}

/// Paints one picture and says in one line where it is and how long it took.
fn paint(arguments: &[&str], out: PathBuf) -> Result<String> {
    let start = Instant::now();
    let mut command = Command::new(built("nuwa-infer")?);
    command
        .args(arguments)
        // The same seed, so that everyone sees the same pictures.
        .args(["--model", MODEL, "--device", "cpu", "--seed", "0", "--out"])
        .arg(&out)
        // Its own word on where the picture is would come twice.
        .stdout(std::process::Stdio::null())
        .current_dir(root());
    succeed(&mut command)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(format!("{} ({seconds:.0} s)", out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: Target, typed: &str, expected: &str) {
        let words = |line: &str| line.split_whitespace().map(OsString::from).collect();
        let expected: Vec<OsString> = words(expected);
        assert_eq!(with_device(target, words(typed)), expected, "{typed}");
    }

    #[test]
    fn the_device_follows_the_target_unless_it_is_given() {
        check(
            Target::Cpu,
            "paint --size 64x64",
            "paint --size 64x64 --device cpu",
        );
        check(
            Target::Cuda,
            "one-shot a.png",
            "one-shot a.png --device cuda",
        );
        check(
            Target::Wgpu,
            "paint --device wgpu:1",
            "paint --device wgpu:1",
        );
        check(Target::Wgpu, "paint --device=cpu", "paint --device=cpu");
    }

    #[test]
    fn what_computes_nothing_takes_no_device() {
        for typed in [
            "",
            "--help",
            "-V",
            "weights inspect a",
            "config t2ihd",
            "plan",
        ] {
            check(Target::Cpu, typed, typed);
        }
    }
}
