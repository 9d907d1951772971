//! Attention of single queries, which is what a token does while it is written:
//! softmax(q·Kᵀ/√w + bias) V.
//!
//! Keys and values lie in buffers with room for tokens that are not written yet. Only what is
//! written is read, and nothing is copied. A query gets the same bits whether it comes alone or with
//! those after it.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::exp;

/// Width of a head.
pub const WIDTH: usize = 64;

/// Registers of the output that are summed in one pass over the values.
const REGISTERS: usize = 4;

/// Multiplications below which a second thread costs more than it brings.
const WORTH_SHARING: usize = 1 << 16;

/// The sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Buffers of keys and values: pictures times heads.
    pub rows: usize,
    /// Queries of each of them.
    pub queries: usize,
    /// Places for which the buffers have room.
    pub places: usize,
    /// Places that the first query looks at, from the first on; at least one.
    pub seen: usize,
    /// How many more each later query looks at.
    pub more: usize,
    /// Rows of the bias, each for as many successive buffers as the others; 0 for none.
    pub bias_rows: usize,
}

/// Gives `[rows, queries, 64]` for queries of that shape, `keys` and `values` `[rows, places, 64]` and
/// `bias` `[bias_rows, places]`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn forward(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    bias: &[f32],
    shape: Shape,
) -> Vec<f32> {
    let Shape {
        rows,
        queries: n,
        places,
        seen,
        more,
        bias_rows,
    } = shape;
    let most = seen + more * n.saturating_sub(1);
    assert_eq!(queries.len(), rows * n * WIDTH, "queries");
    assert_eq!(keys.len(), rows * places * WIDTH, "keys");
    assert_eq!(values.len(), keys.len(), "values");
    assert_eq!(bias.len(), bias_rows * places, "bias");
    assert!(seen >= 1 && most <= places, "{seen} to {most} of {places}");
    assert!(rows.is_multiple_of(bias_rows.max(1)), "rows of the bias");
    let mut output = vec![0.0; rows * n * WIDTH];
    let attend = |(at, output): (usize, &mut [f32])| {
        let (row, seen) = (at / n, seen + at % n * more);
        let buffer = row * places * WIDTH..(row * places + seen) * WIDTH;
        let mut scores = vec![0.0; seen];
        if bias_rows > 0 {
            scores.copy_from_slice(&bias[row * bias_rows / rows * places..][..seen]);
        }
        Arch::new().dispatch(Row {
            query: &queries[at * WIDTH..][..WIDTH],
            keys: &keys[buffer.clone()],
            values: &values[buffer],
            scores,
            output,
        });
    };
    if rows * n * most * WIDTH < WORTH_SHARING {
        output.chunks_mut(WIDTH).enumerate().for_each(attend);
    } else {
        output.par_chunks_mut(WIDTH).enumerate().for_each(attend);
    }
    output
}

/// One query.
struct Row<'a> {
    query: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    /// What its scores begin with.
    scores: Vec<f32>,
    output: &'a mut [f32],
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut query = [0.0; WIDTH];
        for (scaled, query) in query.iter_mut().zip(self.query) {
            *scaled = query / (WIDTH as f32).sqrt();
        }
        let (query, _) = S::as_simd_f32s(&query);
        let mut scores = self.scores;
        for (score, key) in scores.iter_mut().zip(self.keys.chunks_exact(WIDTH)) {
            let (key, _) = S::as_simd_f32s(key);
            let mut sum = simd.splat_f32s(0.0);
            for (query, key) in query.iter().zip(key) {
                sum = simd.mul_add_e_f32s(*query, *key, sum);
            }
            *score += simd.reduce_sum_f32s(sum);
        }
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0;
        for score in &mut scores {
            *score = if S::F32_LANES > 1 {
                exp::<true>(*score - highest)
            } else {
                exp::<false>(*score - highest)
            };
        }
        for score in &scores {
            total += f64::from(*score);
        }
        let scale = simd.splat_f32s((1.0 / total) as f32);
        let part = REGISTERS * S::F32_LANES;
        for (n, output) in self.output.chunks_exact_mut(part).enumerate() {
            let mut sums = [simd.splat_f32s(0.0); REGISTERS];
            for (score, value) in scores.iter().zip(self.values.chunks_exact(WIDTH)) {
                let score = simd.splat_f32s(*score);
                let (value, _) = S::as_simd_f32s(&value[n * part..][..part]);
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = simd.mul_add_e_f32s(score, *value, *sum);
                }
            }
            let (output, _) = S::as_mut_simd_f32s(output);
            for (output, sum) in output.iter_mut().zip(sums) {
                *output = simd.mul_f32s(sum, scale);
            }
        }
    }
}
