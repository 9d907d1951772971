//! Processor kernels for what training and painting spend their time on, with their gradients:
//! matrix products, 3 × 3 convolutions, normalizations, softmax, GEGLU, attention of patches and of
//! tokens that are written one by one, the norm of gradients, and a step of Adam. Slices in, vectors out, no tensors.
//!
//! A crate of its own so that it is optimized in every profile. Maps are `[b, c, h, w]`, states
//! `[b, tokens, width]`, row-major. Loops are written over fixed-size arrays, which the compiler turns into vector
//! registers; [`pulp`] runs them with the instruction set of the processor at hand.

pub mod adam;
pub mod attend;
pub mod attention;
pub mod conv3x3;
pub mod few_rows;
mod fresh;
pub mod geglu;
pub mod layer_norm;
pub mod linear;
pub mod norm_swish;
pub mod product;
mod simd;
pub mod softmax;
pub mod squares;
mod sums;

/// Multiplies and adds, in one instruction where the processor has one.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// e^x to about 2e-7; zero below −87, and e^87 above 87.
#[inline(always)]
fn exp<const FUSED: bool>(x: f32) -> f32 {
    // e^x = 2^n · e^r with |r| ≤ ln 2 / 2. Adding 1.5 · 2^23 rounds to an integer, which then
    // stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let vanishes = x < -87.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = multiply_add::<FUSED>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = multiply_add::<FUSED>(n, -LN_2_HIGH, x);
    let r = multiply_add::<FUSED>(n, -LN_2_LOW, r);
    let mut power = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = multiply_add::<FUSED>(power, r, coefficient);
    }
    let two_to_n = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127)
        << 23;
    if vanishes {
        0.0
    } else {
        power * f32::from_bits(two_to_n)
    }
}
