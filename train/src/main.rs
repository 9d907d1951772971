//! The `nuwa-train` program.

use std::process::ExitCode;

/// Gives freed memory back later than the system's: layers allocate and free tensors of a few sizes
/// all the time, and a page that returns must be cleared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A thread of the pool hands work on without waking another one first, which saves an eighth of
    // a small model's training step on the CPU.
    ExitCode::from(rayon::scope(|_| nuwa_train::run(std::env::args_os())))
}
