//! The front door: how this project is built, checked, run and measured.
//!
//! `cargo xtask` only spawns cargo and the programs it builds. It imports none of the crates, so
//! it is ready in seconds and works while they do not compile.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "results go to stdout, progress to stderr"
)]

mod bench;
mod cargo;
mod check;
mod memory;
mod run;
mod tidy;

use crate::cargo::Target;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Build, check, run and measure the project"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the painter and paint two pictures with the shipped weights, on the CPU.
    Demo,
    /// Run all tests on the CPU, or those named `smoke` on a GPU backend.
    Test {
        /// Where the networks of the tests run.
        #[arg(long, value_enum, default_value_t = Target::Cpu)]
        backend: Target,
        /// Arguments for the test programs, such as a part of a test's name.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Check format, lints, documentation and tidiness, then run all tests.
    Ci {
        /// Leave out the tests.
        #[arg(long)]
        skip_tests: bool,
    },
    /// Check what the compiler does not: names, file lengths, forbidden imports, the README map.
    Tidy,
    /// Build both programs for speed.
    Build {
        /// What they run on.
        #[arg(long, value_enum)]
        target: Target,
    },
    /// Build the trainer for speed and run it.
    Train {
        /// What it runs on.
        #[arg(long, value_enum)]
        target: Target,
        /// Arguments of nuwa-train.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Build the painter for speed and run it.
    Infer {
        /// What it runs on.
        #[arg(long, value_enum)]
        target: Target,
        /// Arguments of nuwa-infer.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Paint a short and a long scroll and print the memory they take, as a Markdown table.
    Memory {
        /// Folder of a trained run.
        #[arg(long)]
        model: PathBuf,
        /// What is written: png, or nuwa for the tokens only.
        #[arg(long, default_value = "png")]
        ending: String,
    },
    /// Measure the speed of training, decoding and the VQGAN, as a Markdown table.
    Bench {
        /// What to measure on.
        #[arg(long, value_enum, default_value_t = Target::Cpu)]
        backend: Target,
        /// Measure another implementation in the same run and give the ratio.
        #[arg(long, value_enum, requires = "peer_script")]
        peer: Option<bench::Peer>,
        /// The peer's program: takes a task and its settings, prints a JSON line with `seconds`.
        #[arg(long, value_name = "PATH")]
        peer_script: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo => run::demo(),
        Command::Test { backend, arguments } => check::test(backend, &arguments),
        Command::Ci { skip_tests } => check::ci(skip_tests),
        Command::Tidy => check::tidy(),
        Command::Build { target } => run::build(target),
        Command::Train { target, arguments } => run::program("nuwa-train", target, arguments),
        Command::Infer { target, arguments } => run::program("nuwa-infer", target, arguments),
        Command::Memory { model, ending } => memory::memory(&model, &ending),
        Command::Bench {
            backend,
            peer,
            peer_script,
        } => bench::bench(backend, peer.zip(peer_script)),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
