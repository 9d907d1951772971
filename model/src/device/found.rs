//! The devices this program was built for and the machine has.
//!
//! GPU drivers are asked behind a panic guard, because some of them are reached through libraries
//! that panic when they are missing or broken.

use burn::tensor::Device;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use burn::tensor::DeviceType;
use std::fmt;

/// A family of devices that share one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BackendKind {
    /// The processor, through Burn's `flex` backend.
    Cpu,
    /// Any GPU reached through Vulkan, Metal, DirectX 12 or OpenGL.
    Wgpu,
    /// An NVIDIA GPU reached through CUDA.
    Cuda,
}

impl BackendKind {
    /// Whether this program was built with the backend.
    pub(super) fn is_compiled_in(self) -> bool {
        match self {
            Self::Cpu => cfg!(feature = "flex"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Cuda => cfg!(feature = "cuda"),
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        })
    }
}

/// A device that was listed by its backend, not yet opened.
pub(super) struct Found<D = Device> {
    pub(super) backend: BackendKind,
    pub(super) is_software: bool,
    pub(super) device: D,
}

/// The names by which the found devices can be asked for.
pub(super) fn listing<D>(found: &[Found<D>]) -> String {
    let mut names = Vec::new();
    for backend in [BackendKind::Cuda, BackendKind::Wgpu, BackendKind::Cpu] {
        let of_backend = found.iter().filter(|entry| entry.backend == backend);
        names.extend(
            of_backend
                .enumerate()
                .map(|(number, entry)| match (backend, entry) {
                    (BackendKind::Cpu, _) => backend.to_string(),
                    (
                        _,
                        Found {
                            is_software: true, ..
                        },
                    ) => {
                        format!("{backend}:{number} (software rasterizer)")
                    }
                    _ => format!("{backend}:{number}"),
                }),
        );
    }
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Every device of every backend this program was built with.
pub(super) fn found_devices() -> Vec<Found> {
    [cpu_devices(), wgpu_devices(), cuda_devices()]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(feature = "flex")]
pub(super) fn cpu_devices() -> Vec<Found> {
    vec![Found {
        backend: BackendKind::Cpu,
        is_software: false,
        device: Device::flex(),
    }]
}

#[cfg(not(feature = "flex"))]
pub(super) fn cpu_devices() -> Vec<Found> {
    Vec::new()
}

#[cfg(feature = "wgpu")]
fn wgpu_devices() -> Vec<Found> {
    // Every software rasterizer is reported under this one kind.
    let software = Device::wgpu(burn::tensor::DeviceKind::Cpu);
    let devices = guarded(|| Device::enumerate(DeviceType::Wgpu).into_vec()).unwrap_or_default();
    let found = |device: Device| {
        let is_software = device == software;
        Found {
            backend: BackendKind::Wgpu,
            is_software,
            device,
        }
    };
    devices.into_iter().map(found).collect()
}

#[cfg(not(feature = "wgpu"))]
fn wgpu_devices() -> Vec<Found> {
    Vec::new()
}

#[cfg(feature = "cuda")]
fn cuda_devices() -> Vec<Found> {
    let devices = guarded(|| Device::enumerate(DeviceType::Cuda).into_vec()).unwrap_or_default();
    let found = |device| Found {
        backend: BackendKind::Cuda,
        is_software: false,
        device,
    };
    devices.into_iter().map(found).collect()
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices() -> Vec<Found> {
    Vec::new()
}

/// Brings a device up, so that a driver that refuses does so here and not in the first kernel.
pub(super) fn start(found: &Found) -> Result<(), String> {
    if found.backend == BackendKind::Cpu {
        return Ok(());
    }
    part_name(&found.device).map(|_| ())
}

/// The name the driver gives to the part, if the backend has one. Opens the device.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(super) fn part_name(device: &Device) -> Result<Option<String>, String> {
    let name = guarded(|| {
        let name = device.identity().map(|identity| identity.name);
        device
            .sync()
            .map(|()| name)
            .map_err(|error| error.to_string())
    })?;
    name.map_err(|text| one_line(&text))
}

#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub(super) fn part_name(_device: &Device) -> Result<Option<String>, String> {
    Ok(None)
}

/// Runs `ask` and gives a panic back as its message, without the panic's report on stderr.
#[cfg(any(feature = "wgpu", feature = "cuda", test))]
fn guarded<T>(ask: impl FnOnce() -> T) -> Result<T, String> {
    use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
    use std::sync::{Mutex, PoisonError};

    // The hook is the process's own: two threads that swapped it at once could lose it.
    static HOOK: Mutex<()> = Mutex::new(());
    let _lock = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    // What `ask` touches is a device that is given up when it panics.
    let outcome = catch_unwind(AssertUnwindSafe(ask));
    set_hook(hook);
    outcome.map_err(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        one_line(text.unwrap_or("the driver gave no reason"))
    })
}

/// A driver's message cut to its first line of sense.
#[cfg(any(feature = "wgpu", feature = "cuda", test))]
fn one_line(text: &str) -> String {
    const LONGEST: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_gives_names_that_can_be_typed() {
        use BackendKind::{Cpu, Cuda, Wgpu};
        let entries = [(Cpu, false), (Wgpu, true), (Wgpu, false), (Cuda, false)];
        let all = entries.map(|(backend, is_software)| Found {
            backend,
            is_software,
            device: (),
        });
        assert_eq!(
            listing(&all),
            "cuda:0, wgpu:0 (software rasterizer), wgpu:1, cpu"
        );
        assert_eq!(listing::<()>(&[]), "none");
    }

    #[test]
    fn a_panicking_driver_becomes_one_line() {
        let outcome: Result<(), String> = guarded(|| panic!("no\n  adapter {}", 7));
        assert_eq!(outcome, Err("no adapter 7".to_owned()));
        let long = guarded(|| panic!("{}", "ä".repeat(1000))).unwrap_err() as String;
        assert_eq!(long.chars().count(), 203);
        assert_eq!(guarded(|| 5), Ok(5));
    }
}
