//! Which device runs the networks: what the user asked for, matched with what this program was
//! built for and what the machine has.
//!
//! Asking is cheap for the CPU and touches no driver. No tensor is created here: the first tensor fixes a device's default number types, and
//! those are the caller's to set.

mod found;

use self::found::{BackendKind, Found, cpu_devices, found_devices, listing, part_name, start};
use burn::tensor::Device;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// Every device that was opened, for [`settle`].
static OPENED: Mutex<Vec<Device>> = Mutex::new(Vec::new());

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
                Ok(()) => {
                    let device = &found[index].device;
                    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
                    if !opened.contains(device) {
                        opened.push(device.clone());
                    }
                    return Ok(device.clone());
                }
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

/// Waits until every opened device has done what this thread gave it.
///
/// The last thing a program does. What nobody waits for, such as an update of weights that were
/// already written, may still be at work on a driver's own threads, and a driver that compiles there
/// (Mesa's software rasterizer) crashes when the process ends under it.
pub fn settle() {
    let opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    for device in opened.iter() {
        // The work itself has been judged where its results were read.
        let _ = device.sync();
    }
}

/// Tells whether a device computes in the memory and at the pace of the host, because it is the host.
pub fn is_host(device: &Device) -> bool {
    description(device).starts_with("cpu")
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

/// Gives the memory that this program has taken of a device, in bytes: what its tensors hold, and what is
/// kept for the next ones. None where the device has none of its own. It waits for what the device was
/// given to do.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub fn reserved_bytes(device: &Device) -> Option<u64> {
    if is_host(device) {
        return None;
    }
    // Burn's devices have no accessor for this; their tensors lead to it.
    let device = device.clone().without_autodiff();
    let tensor = crate::render::raw(burn::tensor::Tensor::<1>::zeros([1], &device));
    let report = tensor.client.memory_report(cubecl::MemoryScope::Device);
    Some(report.usage().bytes_reserved)
}

/// Gives none: the devices this was built for have no memory of their own.
#[cfg(not(any(feature = "wgpu", feature = "cuda")))]
pub fn reserved_bytes(_: &Device) -> Option<u64> {
    None
}

/// Gives the memory that this process holds, in bytes, where the system tells (Linux).
pub fn resident_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

/// Gives the most memory that this process has held, in bytes, where the system tells (Linux).
pub fn peak_resident_bytes() -> Option<u64> {
    status_bytes("VmHWM:")
}

fn status_bytes(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
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

    /// On the device that `NUWA_TEST_BACKEND` names.
    #[test]
    fn smoke_the_memory_of_a_device_is_at_least_what_its_tensors_take() {
        let name = std::env::var("NUWA_TEST_BACKEND").unwrap_or_else(|_| "cpu".into());
        let choice: DeviceChoice = name.parse().unwrap();
        let device = choice.open().unwrap();
        if is_host(&device) {
            assert_eq!(reserved_bytes(&device), None);
            return;
        }
        let large = vec![1.0; 16 << 20];
        let large = burn::tensor::Tensor::<1>::from_data(&large[..], &device);
        assert_eq!(large.clone().narrow(0, 5, 1).into_scalar::<f32>(), 1.0);
        let reserved = reserved_bytes(&device).unwrap();
        assert!(reserved >= 64 << 20, "{reserved}");
        drop(large);
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
}
