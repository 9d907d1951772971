//! Runs loops with the instruction set of the processor at hand.

use pulp::{Arch, Simd, WithSimd};

/// Loops that the compiler turns into vector instructions.
pub(crate) trait Kernel {
    /// What they give.
    type Output;

    /// Runs them; `FUSED` tells whether the processor multiplies and adds in one instruction. Must
    /// be inlined, and so must everything it calls: it is compiled anew for every instruction set.
    fn run<const FUSED: bool>(self) -> Self::Output;
}

/// Runs a kernel with the best instructions there are.
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    Arch::new().dispatch(Dispatched(kernel))
}

struct Dispatched<K>(K);

impl<K: Kernel> WithSimd for Dispatched<K> {
    type Output = K::Output;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> K::Output {
        // Every instruction set with registers of several numbers that pulp knows has it.
        if S::F32_LANES > 1 {
            self.0.run::<true>()
        } else {
            self.0.run::<false>()
        }
    }
}
