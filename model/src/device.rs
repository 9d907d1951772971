//! Which device runs the networks: what the user asked for, matched with what this program was
//! built for and what the machine has.
//!
//! Asking is cheap for the CPU and touches no driver. GPU drivers are asked behind a panic
//! guard, because some of them are reached through libraries that panic when they are missing or
//! broken. No tensor is created here: the first tensor fixes a device's default number types, and
//! those are the caller's to set.

use burn::tensor::Device;
#[cfg(any(feature = "wgpu", feature = "cuda"))]
use burn::tensor::DeviceType;
use std::fmt;
use std::str::FromStr;

/// A family of devices that share one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BackendKind {
    /// The processor, through Burn's `flex` backend.
    Cpu,
    /// Any GPU reached through Vulkan, Metal, DirectX 12 or OpenGL.
    Wgpu,
    /// An NVIDIA GPU reached through CUDA.
    Cuda,
}

impl BackendKind {
    /// Whether this program was built with the backend.
    fn is_compiled_in(self) -> bool {
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

/// The device a user asked for: `auto`, `cpu`, `wgpu`, `wgpu:N`, `cuda` or `cuda:N`.
///
/// `auto` takes CUDA, then a hardware wgpu adapter, then the CPU. A software rasterizer (llvmpipe,
/// lavapipe, SwiftShader, WARP) is slower than the CPU backend and runs only when named: by its
/// number, or as plain `wgpu` where it is the only adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The fastest device that works.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The wgpu adapter of that number, or the best one.
    Wgpu(Option<usize>),
    /// The CUDA device of that number, or the first one.
    Cuda(Option<usize>),
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown {
            found: text.to_owned(),
        };
        let (backend, number) = match text.split_once(':') {
            None => (text, None),
            Some((backend, digits)) => {
                // `parse` alone would also take "+1".
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                let number = digits.parse().ok().filter(|_| plain).ok_or_else(unknown)?;
                (backend, Some(number))
            }
        };
        match (backend, number) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("wgpu", number) => Ok(Self::Wgpu(number)),
            ("cuda", number) => Ok(Self::Cuda(number)),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Wgpu(None) => formatter.write_str("wgpu"),
            Self::Cuda(None) => formatter.write_str("cuda"),
            Self::Wgpu(Some(number)) => write!(formatter, "wgpu:{number}"),
            Self::Cuda(Some(number)) => write!(formatter, "cuda:{number}"),
        }
    }
}

/// Why a device could not be opened, in one line that lists those that can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The text names no device.
    #[error("device '{found}' is not one of auto, cpu, wgpu, wgpu:N, cuda, cuda:N")]
    Unknown {
        /// What was typed.
        found: String,
    },
    /// The backend is not part of this program.
    #[error("device {wanted} is not compiled into this program; available: {available}")]
    NotCompiledIn {
        /// What was asked for.
        wanted: DeviceChoice,
        /// The devices that can be asked for instead.
        available: String,
    },
    /// The machine has no such device.
    #[error("device {wanted} is not on this machine; available: {available}")]
    NotThere {
        /// What was asked for.
        wanted: DeviceChoice,
        /// The devices that can be asked for instead.
        available: String,
    },
    /// The device is there, but its driver refused it.
    #[error("device {wanted} does not start ({cause}); available: {available}")]
    DoesNotStart {
        /// What was asked for.
        wanted: DeviceChoice,
        /// The driver's own words, on one line.
        cause: String,
        /// The devices that were found, this one among them.
        available: String,
    },
}

impl DeviceChoice {
    /// Opens the device: its driver has answered when this returns.
    ///
    /// `auto` passes over a GPU that is listed but does not start.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] if the device is not compiled in, not there, or does not start.
    pub fn open(&self) -> Result<Device, DeviceError> {
        let missing = match self.backend() {
            Some(backend) => !backend.is_compiled_in(),
            None => false,
        };
        if missing {
            let available = listing(&found_devices());
            return Err(DeviceError::NotCompiledIn {
                wanted: *self,
                available,
            });
        }
        // The CPU needs no look at the drivers, some of which take a second to answer.
        let found = match self {
            Self::Cpu => cpu_devices(),
            _ => found_devices(),
        };
        let mut refusal = None;
        for index in self.candidates(&found) {
            match start(&found[index]) {
                Ok(()) => return Ok(found[index].device.clone()),
                Err(cause) => refusal = Some(cause),
            }
        }
        let available = listing(&found);
        Err(match refusal {
            Some(cause) => DeviceError::DoesNotStart {
                wanted: *self,
                cause,
                available,
            },
            None => DeviceError::NotThere {
                wanted: *self,
                available,
            },
        })
    }

    /// The backend this choice insists on; `auto` insists on none.
    fn backend(&self) -> Option<BackendKind> {
        match self {
            Self::Auto => None,
            Self::Cpu => Some(BackendKind::Cpu),
            Self::Wgpu(_) => Some(BackendKind::Wgpu),
            Self::Cuda(_) => Some(BackendKind::Cuda),
        }
    }

    /// Indices into `found` of the devices that satisfy this choice, best first.
    fn candidates<D>(&self, found: &[Found<D>]) -> Vec<usize> {
        let pick = |backend: BackendKind, software: bool| {
            let matching =
                move |entry: &Found<D>| entry.backend == backend && entry.is_software == software;
            (0..found.len()).filter(move |&index| matching(&found[index]))
        };
        let numbered = |backend: BackendKind, number: usize| {
            (0..found.len())
                .filter(|&index| found[index].backend == backend)
                .skip(number)
                .take(1)
                .collect()
        };
        match *self {
            Self::Auto => pick(BackendKind::Cuda, false)
                .chain(pick(BackendKind::Wgpu, false))
                .chain(pick(BackendKind::Cpu, false))
                .collect(),
            Self::Cpu => pick(BackendKind::Cpu, false).collect(),
            Self::Wgpu(Some(number)) => numbered(BackendKind::Wgpu, number),
            Self::Cuda(Some(number)) => numbered(BackendKind::Cuda, number),
            Self::Wgpu(None) => pick(BackendKind::Wgpu, false)
                .chain(pick(BackendKind::Wgpu, true))
                .take(1)
                .collect(),
            Self::Cuda(None) => pick(BackendKind::Cuda, false).take(1).collect(),
        }
    }
}

/// What a device is, for logs: its backend, and the part's name where the driver gives one.
#[must_use]
pub fn description(device: &Device) -> String {
    // Burn has no accessor for the backend of a device; its debug text names it.
    let text = format!("{device:?}");
    if text.contains("Flex") {
        return "cpu (Burn flex)".to_owned();
    }
    let backend = if text.contains("Cuda") {
        BackendKind::Cuda
    } else {
        BackendKind::Wgpu
    };
    match part_name(device) {
        Ok(Some(name)) => format!("{backend} ({name})"),
        Ok(None) | Err(_) => backend.to_string(),
    }
}

/// A device that was listed by its backend, not yet opened.
struct Found<D = Device> {
    backend: BackendKind,
    is_software: bool,
    device: D,
}

/// The names by which the found devices can be asked for.
fn listing<D>(found: &[Found<D>]) -> String {
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
fn found_devices() -> Vec<Found> {
    [cpu_devices(), wgpu_devices(), cuda_devices()]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(feature = "flex")]
fn cpu_devices() -> Vec<Found> {
    vec![Found {
        backend: BackendKind::Cpu,
        is_software: false,
        device: Device::flex(),
    }]
}

#[cfg(not(feature = "flex"))]
fn cpu_devices() -> Vec<Found> {
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
fn start(found: &Found) -> Result<(), String> {
    if found.backend == BackendKind::Cpu {
        return Ok(());
    }
    part_name(&found.device).map(|_| ())
}

/// The name the driver gives to the part, if the backend has one. Opens the device.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn part_name(device: &Device) -> Result<Option<String>, String> {
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
fn part_name(_device: &Device) -> Result<Option<String>, String> {
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

    fn found(entries: &[(BackendKind, bool)]) -> Vec<Found<()>> {
        let entry = |&(backend, is_software)| Found {
            backend,
            is_software,
            device: (),
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn a_choice_reads_back_as_it_is_written() {
        for text in ["auto", "cpu", "wgpu", "wgpu:0", "wgpu:12", "cuda", "cuda:3"] {
            let choice: DeviceChoice = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("wgpu:12".parse(), Ok(DeviceChoice::Wgpu(Some(12))));
        assert_eq!("auto".parse(), Ok(DeviceChoice::default()));
    }

    #[test]
    fn other_words_are_refused_with_the_list_of_choices() {
        for text in [
            "", "gpu", "CPU", "cpu:0", "auto:1", "wgpu:", "wgpu:-1", "cuda:+1", "cuda:x",
        ] {
            let error = text.parse::<DeviceChoice>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("device '{text}' is not one of auto, cpu, wgpu, wgpu:N, cuda, cuda:N")
            );
        }
        assert!(
            "cuda:99999999999999999999999"
                .parse::<DeviceChoice>()
                .is_err()
        );
    }

    #[test]
    fn auto_prefers_cuda_then_hardware_then_the_cpu() {
        use BackendKind::{Cpu, Cuda, Wgpu};
        let all = found(&[(Cpu, false), (Wgpu, true), (Wgpu, false), (Cuda, false)]);
        assert_eq!(DeviceChoice::Auto.candidates(&all), [3, 2, 0]);
        let no_hardware = found(&[(Cpu, false), (Wgpu, true)]);
        assert_eq!(DeviceChoice::Auto.candidates(&no_hardware), [0]);
        let only_software = found(&[(Wgpu, true)]);
        assert!(DeviceChoice::Auto.candidates(&only_software).is_empty());
    }

    #[test]
    fn a_software_rasterizer_is_taken_when_named_or_alone() {
        use BackendKind::{Cpu, Wgpu};
        let both = found(&[(Cpu, false), (Wgpu, true), (Wgpu, false)]);
        assert_eq!(DeviceChoice::Wgpu(None).candidates(&both), [2]);
        assert_eq!(DeviceChoice::Wgpu(Some(0)).candidates(&both), [1]);
        assert_eq!(DeviceChoice::Wgpu(Some(1)).candidates(&both), [2]);
        assert!(DeviceChoice::Wgpu(Some(2)).candidates(&both).is_empty());
        let alone = found(&[(Cpu, false), (Wgpu, true)]);
        assert_eq!(DeviceChoice::Wgpu(None).candidates(&alone), [1]);
        assert!(DeviceChoice::Cuda(None).candidates(&alone).is_empty());
    }

    #[test]
    fn the_listing_gives_names_that_can_be_typed() {
        use BackendKind::{Cpu, Cuda, Wgpu};
        let all = found(&[(Cpu, false), (Wgpu, true), (Wgpu, false), (Cuda, false)]);
        assert_eq!(
            listing(&all),
            "cuda:0, wgpu:0 (software rasterizer), wgpu:1, cpu"
        );
        assert_eq!(listing::<()>(&[]), "none");
    }

    #[cfg(feature = "flex")]
    #[test]
    fn the_cpu_opens_and_says_what_it_is() {
        let device = DeviceChoice::Cpu.open().unwrap();
        assert_eq!(description(&device), "cpu (Burn flex)");
        assert_eq!(description(&device.autodiff()), "cpu (Burn flex)");
    }

    #[cfg(all(feature = "flex", not(feature = "cuda")))]
    #[test]
    fn a_backend_left_out_is_named_with_those_that_are_in() {
        let error = DeviceChoice::Cuda(Some(1)).open().unwrap_err();
        let line = error.to_string();
        let start = "device cuda:1 is not compiled into this program; available: ";
        assert!(line.starts_with(start) && line.ends_with("cpu"), "{line}");
    }

    /// With a GPU backend compiled in, `auto` gives something that works on every machine, and a
    /// device far past the end of the list gives a line rather than a panic.
    #[cfg(feature = "flex")]
    #[test]
    fn auto_always_opens_and_a_number_past_the_end_never_does() {
        assert!(DeviceChoice::Auto.open().is_ok());
        for choice in [
            DeviceChoice::Wgpu(Some(4242)),
            DeviceChoice::Cuda(Some(4242)),
        ] {
            let line = choice.open().unwrap_err().to_string();
            assert!(
                line.starts_with(&format!("device {choice} is not ")),
                "{line}"
            );
            assert!(line.ends_with("cpu"), "{line}");
        }
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
