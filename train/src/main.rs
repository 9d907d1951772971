//! The `nuwa-train` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(nuwa_train::run(std::env::args_os()))
}
