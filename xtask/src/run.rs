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
    succeed(release(target).arg("--bins"))?;
    Ok(ExitCode::SUCCESS)
}

/// Builds a program for speed and runs it in the caller's folder.
pub(crate) fn program(name: &str, target: Target, arguments: Vec<OsString>) -> Result<ExitCode> {
    succeed(release(target).args(["--bin", name]))?;
    let mut command = Command::new(built(name, "release")?);
    command.args(with_device(target, arguments));
    command.current_dir(std::env::current_dir().context("the current folder is gone")?);
    replace_with(&mut command)
}

/// A build for speed. Both programs are selected whichever is asked for: Cargo compiles what they
/// share with the features of what is selected, so one at a time would compile Burn once for each.
fn release(target: Target) -> Command {
    let mut command = cargo(["build", "--release"]);
    command.args(["--package", "nuwa-train", "--package", "nuwa-infer"]);
    command.args(features(target));
    command
}

/// Commands of both programs that compute on a device.
const ON_DEVICE: [&str; 13] = [
    "animate",
    "captions",
    "decode",
    "edit",
    "info",
    "one-shot",
    "outpaint",
    "paint",
    "pg-vqgan",
    "reconstruct",
    "render",
    "tokenize",
    "vqgan",
];

/// The arguments with `--device` for the target, unless they name one, ask for help, or nothing is
/// computed.
fn with_device(target: Target, mut arguments: Vec<OsString>) -> Vec<OsString> {
    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let command = match &words[..] {
        // What is planned takes the arguments of the task.
        [plan, task, ..] if plan == "plan" => task,
        [command, ..] => command,
        [] => return arguments,
    };
    let is_settled = words.iter().any(|word| {
        let names_device = *word == "--device" || word.starts_with("--device=");
        names_device || ["-h", "--help"].contains(&&**word)
    });
    if !is_settled && ON_DEVICE.contains(&&**command) {
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
    let mut command = Command::new(built("nuwa-infer", "debug")?);
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
        check(Target::Cpu, "plan paint", "plan paint --device cpu");
    }

    #[test]
    fn what_computes_nothing_takes_no_device() {
        for typed in [
            "",
            "--help",
            "-V",
            "weights inspect a",
            "config t2ihd",
            "prepare synthetic --out a",
            "copy-distance --image a --source b",
            "completions bash",
            "paint --help",
            "plan",
        ] {
            check(Target::Cpu, typed, typed);
        }
    }
}
