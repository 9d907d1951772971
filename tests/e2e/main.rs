//! Whole programs and golden parity, as one test binary.

mod golden;
mod smoke;
mod tiled;

use nuwa_model::device::DeviceChoice;

/// Gives the device that `NUWA_TEST_BACKEND` names, the CPU by default.
fn test_device() -> burn::tensor::Device {
    let name = std::env::var("NUWA_TEST_BACKEND").unwrap_or_else(|_| "cpu".into());
    let choice: DeviceChoice = name.parse().expect("NUWA_TEST_BACKEND names a device");
    choice
        .open()
        .expect("the device of NUWA_TEST_BACKEND is there")
}
