//! Processor kernels for the two things a VQGAN spends its time on: 3 × 3 convolutions, and group
//! normalization followed by swish. Slices in, vectors out, no tensors.
//!
//! A crate of its own so that it is optimized in every profile. All maps are `[b, c, h, w]`,
//! row-major. Loops are written over fixed-size arrays, which the compiler turns into vector
//! registers; [`pulp`] runs them with the instruction set of the processor at hand.

pub mod conv3x3;
pub mod norm_swish;

/// Multiplies and adds, in one instruction where the processor has one.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}
