//! The `nuwa-infer` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(nuwa_infer::run(std::env::args_os()))
}
