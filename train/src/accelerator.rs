//! What accelerators can do, as their maker states it.

use clap::ValueEnum;
use nuwa_model::render::Precision;

/// Accelerators by memory and peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Accelerator {
    #[value(name = "rtx4090")]
    Rtx4090,
    #[value(name = "a100-40g")]
    A100Of40,
    #[value(name = "a100-80g")]
    A100Of80,
    #[value(name = "h100-80g")]
    H100,
    #[value(name = "h200")]
    H200,
}

impl Accelerator {
    /// Finds one in the description of a device.
    pub fn of_description(text: &str) -> Option<Self> {
        let named = [
            ("RTX 4090", Self::Rtx4090),
            ("A100", Self::A100Of80),
            ("H100", Self::H100),
            ("H200", Self::H200),
        ];
        let found = named.into_iter().find(|(name, _)| text.contains(name));
        found.map(|(_, accelerator)| match accelerator {
            Self::A100Of80 if text.contains("40GB") => Self::A100Of40,
            other => other,
        })
    }

    /// Gives its memory in bytes.
    pub(crate) fn memory(self) -> f64 {
        self.data().0
    }

    /// Gives how many bytes a second its memory is read with.
    pub fn bandwidth(self) -> f64 {
        self.data().2
    }

    /// Gives its operations a second, of dense matrix products in a precision; f32 are taken as TF32.
    pub(crate) fn peak(self, precision: Precision) -> f64 {
        match precision {
            Precision::F32 => self.data().1,
            Precision::Bf16 => 2.0 * self.data().1,
        }
    }

    /// Bytes, operations a second of dense matrix products of TF32, and bytes a second, as NVIDIA states
    /// them (of A100 and H100 the SXM kind). Of bf16 operations are twice as many on each.
    fn data(self) -> (f64, f64, f64) {
        const GIB: f64 = (1_u64 << 30) as f64;
        match self {
            Self::Rtx4090 => (24.0 * GIB, 82.6e12, 1.008e12),
            Self::A100Of40 => (40.0 * GIB, 156e12, 1.555e12),
            Self::A100Of80 => (80.0 * GIB, 156e12, 2.039e12),
            Self::H100 => (80.0 * GIB, 494e12, 3.35e12),
            Self::H200 => (141.0 * GIB, 494e12, 4.8e12),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_what_they_call_themselves() {
        let of = Accelerator::of_description;
        for (text, expected) in [
            ("cuda (NVIDIA A100-SXM4-40GB)", Some(Accelerator::A100Of40)),
            ("cuda (NVIDIA A100 80GB PCIe)", Some(Accelerator::A100Of80)),
            ("cuda (NVIDIA H100 80GB HBM3)", Some(Accelerator::H100)),
            ("cuda (NVIDIA H200)", Some(Accelerator::H200)),
            ("wgpu (NVIDIA GeForce RTX 4090)", Some(Accelerator::Rtx4090)),
            ("wgpu (llvmpipe (LLVM 19.1.7, 256 bits))", None),
            ("cpu (Burn flex)", None),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
        assert_eq!(Accelerator::H200.peak(Precision::Bf16), 988e12);
        assert_eq!(Accelerator::H200.bandwidth(), 4.8e12);
    }
}
