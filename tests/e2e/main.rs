//! Whole programs and golden parity, as one test binary.

mod golden;
mod smoke;
mod tasks;
mod tiled;

use std::sync::{Mutex, MutexGuard, PoisonError};

use nuwa_model::device::DeviceChoice;

/// Gives what `NUWA_TEST_BACKEND` says, the CPU by default.
fn backend() -> String {
    std::env::var("NUWA_TEST_BACKEND").unwrap_or_else(|_| "cpu".into())
}

/// Gives the device of [`backend`].
fn test_device() -> burn::tensor::Device {
    let choice: DeviceChoice = backend().parse().expect("NUWA_TEST_BACKEND names a device");
    choice
        .open()
        .expect("the device of NUWA_TEST_BACKEND is there")
}

/// Waits until no other test draws. The generator of initial weights belongs to the whole process:
/// with two tests at it, neither gets what its seed says.
fn drawing_alone() -> MutexGuard<'static, ()> {
    static DRAWING: Mutex<()> = Mutex::new(());
    DRAWING.lock().unwrap_or_else(PoisonError::into_inner)
}
