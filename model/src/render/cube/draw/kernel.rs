//! The rank of a token, found by its value: a cube for each row.

use cubecl::prelude::*;

use crate::render::cube::gather::{larger, largest_of_all, sum_of_all};
use crate::render::cube::{BENEATH, UNITS};

/// Thresholds of a round, and rounds: together finer than the spacing of the numbers.
const PARTS: usize = 8;
const ROUNDS: usize = 10;
/// What a logit may be below the highest for its code to be drawn at all: a weight of e⁻⁸⁷, near the least
/// that floats hold.
const LOWEST: f32 = -87.0;
/// What is left of the probability of a code that label smoothing alone explains.
const LEAST_PROBABILITY: f32 = crate::render::sampling::LEAST_PROBABILITY as f32;

/// Where the logits of a row lie, and what makes a height of one.
#[derive(CubeType, Clone, Copy)]
struct Row {
    start: usize,
    v: usize,
    /// The highest logit, and the sum of weights relative to it.
    top: f32,
    sum: f32,
    /// What smoothing gave every code, and the highest logarithm of what is left.
    floor: f32,
    highest: f32,
    temperature: f32,
}

/// Gives how far a logit lies below the highest, as it is drawn from: 0 to [`LOWEST`].
#[cube]
fn height(logit: f32, row: &Row, #[comptime] smoothed: bool) -> f32 {
    let mut below = logit - row.top;
    if comptime!(smoothed) {
        let rest = larger(below.exp() / row.sum - row.floor, LEAST_PROBABILITY);
        below = rest.ln() - row.highest;
    }
    larger(below / row.temperature, LOWEST)
}

/// Gives the highest threshold, or as good as that, above which weights sum to more than `target`: each
/// code counts for 1, or for its weight if that is above `least`.
#[cube]
fn threshold(
    logits: &[f32],
    row: &Row,
    target: f32,
    least: f32,
    numbers: &mut Shared<[f32]>,
    #[comptime] weighed: bool,
    #[comptime] smoothed: bool,
) -> f32 {
    let unit = UNIT_POS as usize;
    // What changes must begin as a number that is written out, or the compiler takes it for a constant.
    let mut found = 0.0f32;
    found += LOWEST;
    let mut width = 0.0f32;
    // Nothing lies above the end, which is a little beyond the highest.
    width += 1e-3f32 - LOWEST;
    for _ in 0..ROUNDS {
        width /= PARTS as f32;
        let mut above = Array::<f32>::new(PARTS);
        #[unroll]
        for part in 0..PARTS {
            above[part] = 0.0f32;
        }
        for code in range_stepped(unit, row.v, UNITS) {
            let height = height(logits[row.start + code], row, smoothed);
            if height > least {
                let mut weight = 1.0f32;
                if comptime!(weighed) {
                    weight = height.exp();
                }
                #[unroll]
                for part in 0..PARTS {
                    if height > found + width * f32::cast_from(part as u32) {
                        above[part] += weight;
                    }
                }
            }
        }
        let mut reached = 0.0f32;
        #[unroll]
        for part in 0..PARTS {
            if sum_of_all(numbers, above[part]) > target {
                reached = f32::cast_from(part as u32);
            }
        }
        found += reached * width;
    }
    found
}

#[cube(launch)]
pub(super) fn draw_kernel(
    logits: &[f32],
    uniforms: &[f32],
    output: &mut [i32],
    v: u32,
    top_k: f32,
    top_p: f32,
    temperature: f32,
    floor: f32,
    #[comptime] ranked: bool,
    #[comptime] nucleus: bool,
    #[comptime] smoothed: bool,
) {
    let unit = UNIT_POS as usize;
    let (start, v) = (CUBE_POS * v as usize, v as usize);
    let mut numbers = Shared::<[f32]>::new_slice(UNITS);

    let mut own = BENEATH.runtime();
    for code in range_stepped(unit, v, UNITS) {
        own = larger(own, logits[start + code]);
    }
    let top = largest_of_all(&mut numbers, own);
    let mut own = 0.0f32;
    if comptime!(smoothed) {
        for code in range_stepped(unit, v, UNITS) {
            own += (logits[start + code] - top).exp();
        }
    }
    let sum = sum_of_all(&mut numbers, own);
    let mut highest = 0.0f32;
    if comptime!(smoothed) {
        highest = larger(1.0f32 / sum - floor, LEAST_PROBABILITY).ln();
    }
    let row = Row {
        start,
        v,
        top,
        sum,
        floor,
        highest,
        temperature,
    };

    // What is not above this is not drawn.
    let mut least = LOWEST.runtime();
    if comptime!(ranked) {
        let target = top_k - 0.5f32;
        least = threshold(logits, &row, target, least, &mut numbers, false, smoothed);
    }
    let mut whole = weight_above(logits, &row, least, &mut numbers, smoothed);
    if comptime!(nucleus) {
        let target = whole * top_p;
        least = threshold(logits, &row, target, least, &mut numbers, true, smoothed);
        whole = weight_above(logits, &row, least, &mut numbers, smoothed);
    }
    let target = whole * uniforms[CUBE_POS];
    let found = threshold(logits, &row, target, least, &mut numbers, true, smoothed);
    // Rounding may put the target beyond all of them; what was cut off is not drawn even then.
    let found = larger(found, least);

    // The lowest above the threshold is the one; of codes that are equal, the target says which, as all
    // of them have the same weight.
    let mut own = 1.0f32;
    for code in range_stepped(unit, v, UNITS) {
        let height = height(logits[start + code], &row, smoothed);
        if height > found {
            own = -larger(-own, -height);
        }
    }
    let lowest = -largest_of_all(&mut numbers, -own);
    let higher = weight_above(logits, &row, lowest, &mut numbers, smoothed);
    let rank = larger(((target - higher) / lowest.exp()).floor(), 0.0f32);

    // In the order of codes, every thread looks through a stretch.
    let stretch = v.div_ceil(UNITS);
    let from = unit * stretch;
    let to = select(from + stretch < v, from + stretch, v);
    let mut own = 0.0f32;
    for code in from..to {
        if height(logits[start + code], &row, smoothed) == lowest {
            own += 1.0f32;
        }
    }
    sync_cube();
    numbers[unit] = own;
    sync_cube();
    let mut before = 0.0f32;
    let mut all = 0.0f32;
    for other in 0..UNITS {
        if other < unit {
            before += numbers[other];
        }
        all += numbers[other];
    }
    let rank = select(rank < all - 1.0f32, rank, all - 1.0f32);
    if rank >= before && rank < before + own {
        let mut at = before;
        for code in from..to {
            if height(logits[start + code], &row, smoothed) == lowest {
                if at == rank {
                    output[CUBE_POS] = code as i32;
                }
                at += 1.0f32;
            }
        }
    }
}

/// Adds up the weights of codes that lie above a height.
#[cube]
fn weight_above(
    logits: &[f32],
    row: &Row,
    least: f32,
    numbers: &mut Shared<[f32]>,
    #[comptime] smoothed: bool,
) -> f32 {
    let mut own = 0.0f32;
    for code in range_stepped(UNIT_POS as usize, row.v, UNITS) {
        let height = height(logits[row.start + code], row, smoothed);
        if height > least {
            own += height.exp();
        }
    }
    sum_of_all(numbers, own)
}
