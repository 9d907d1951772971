//! The `nuwa-infer` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A thread of the pool hands work on without waking another one first, which saves an eighth of
    // a small model's training step on the CPU.
    ExitCode::from(rayon::scope(|_| nuwa_infer::run(std::env::args_os())))
}
