//! The rank of a token, found by its value: a cube for each picture.

use cubecl::ir::ElemType;
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

/// Where the logits of a picture lie, and what makes a height of one.
#[derive(CubeType, Clone, Copy)]
struct Row {
    start: usize,
    v: usize,
    /// Where those lie that were told what is not wanted, and how far the others go away from them.
    negative: usize,
    scale: f32,
    /// The highest logit, and the sum of weights relative to it.
    top: f32,
    sum: f32,
    /// What smoothing gave every code, and the highest logarithm of what is left.
    floor: f32,
    highest: f32,
    temperature: f32,
}

/// What is done to logits; a constant of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Done {
    pub(super) guided: bool,
    pub(super) smoothed: bool,
}

/// Gives a logit, with guidance away from another one.
#[cube]
fn guided(logits: &[f32], at: usize, negative: usize, scale: f32, #[comptime] done: Done) -> f32 {
    let mut logit = logits[at];
    if comptime!(done.guided) {
        logit = logits[negative] + (logit - logits[negative]) * scale;
    }
    logit
}

/// Gives how far the logit of a code lies below the highest, as it is drawn from: 0 to [`LOWEST`].
#[cube]
fn height(logits: &[f32], row: &Row, code: usize, #[comptime] done: Done) -> f32 {
    let logit = guided(
        logits,
        row.start + code,
        row.negative + code,
        row.scale,
        done,
    );
    let mut below = logit - row.top;
    if comptime!(done.smoothed) {
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
    #[comptime] done: Done,
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
            let height = height(logits, row, code, done);
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
pub(super) fn draw_kernel<F: Float>(
    logits: &[f32],
    uniforms: &[f32],
    given: &[i32],
    codes: &[f32],
    places: &[f32],
    chosen: &mut [i32],
    tokens: &mut [u32],
    states: &mut [F],
    v: u32,
    stride: u32,
    m: u32,
    d: u32,
    pictures: u32,
    scale: f32,
    top_k: f32,
    top_p: f32,
    temperature: f32,
    floor: f32,
    #[comptime] done: Done,
    #[comptime] ranked: bool,
    #[comptime] nucleus: bool,
    #[define(F)] _precision: ElemType,
) {
    let unit = UNIT_POS as usize;
    let (v, stride, m, d) = (v as usize, stride as usize, m as usize, d as usize);
    let mut numbers = Shared::<[f32]>::new_slice(UNITS);
    let mut found_code = Shared::<[u32]>::new_slice(1usize);

    let (picture, pictures) = (CUBE_POS, pictures as usize);
    let copies = comptime!(if done.guided { 2usize } else { 1usize });
    let own_row = picture / pictures * pictures * copies + picture % pictures;
    let negative_row = own_row + pictures * (copies - 1);
    let token = tokens[own_row] as usize;
    let (start, negative) = (own_row * stride, negative_row * stride);

    let mut own = BENEATH.runtime();
    for code in range_stepped(unit, v, UNITS) {
        let logit = guided(logits, start + code, negative + code, scale, done);
        own = larger(own, logit);
    }
    let top = largest_of_all(&mut numbers, own);
    let mut own = 0.0f32;
    if comptime!(done.smoothed) {
        for code in range_stepped(unit, v, UNITS) {
            let logit = guided(logits, start + code, negative + code, scale, done);
            own += (logit - top).exp();
        }
    }
    let sum = sum_of_all(&mut numbers, own);
    let mut highest = 0.0f32;
    if comptime!(done.smoothed) {
        highest = larger(1.0f32 / sum - floor, LEAST_PROBABILITY).ln();
    }
    let row = Row {
        start,
        v,
        negative,
        scale,
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
        least = threshold(logits, &row, target, least, &mut numbers, false, done);
    }
    let mut whole = weight_above(logits, &row, least, &mut numbers, done);
    if comptime!(nucleus) {
        let target = whole * top_p;
        least = threshold(logits, &row, target, least, &mut numbers, true, done);
        whole = weight_above(logits, &row, least, &mut numbers, done);
    }
    let target = whole * uniforms[picture * m + token];
    let found = threshold(logits, &row, target, least, &mut numbers, true, done);
    // Rounding may put the target beyond all of them; what was cut off is not drawn even then.
    let found = larger(found, least);

    // The lowest above the threshold is the one; of codes that are equal, the target says which, as all
    // of them have the same weight.
    let mut own = 1.0f32;
    for code in range_stepped(unit, v, UNITS) {
        let height = height(logits, &row, code, done);
        if height > found {
            own = -larger(-own, -height);
        }
    }
    let lowest = -largest_of_all(&mut numbers, -own);
    let higher = weight_above(logits, &row, lowest, &mut numbers, done);
    let rank = larger(((target - higher) / lowest.exp()).floor(), 0.0f32);

    // In the order of codes, every thread looks through a stretch.
    let stretch = v.div_ceil(UNITS);
    let from = unit * stretch;
    let to = select(from + stretch < v, from + stretch, v);
    let mut own = 0.0f32;
    for code in from..to {
        if height(logits, &row, code, done) == lowest {
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
    if unit == 0 {
        found_code[0] = 0;
    }
    sync_cube();
    if rank >= before && rank < before + own {
        let mut at = before;
        for code in from..to {
            if height(logits, &row, code, done) == lowest {
                if at == rank {
                    found_code[0] = code as u32;
                }
                at += 1.0f32;
            }
        }
    }
    sync_cube();

    // What is given stays, and becomes the next state as well.
    let mut code = found_code[0] as i32;
    let wanted = given[picture * m + token];
    if wanted >= 0 {
        code = wanted;
    }
    let (from, to) = (code as usize * d, (own_row * m + token) * d);
    for at in range_stepped(unit, d, UNITS) {
        let state = F::cast_from(codes[from + at] + places[to + at]);
        states[own_row * d + at] = state;
        if comptime!(done.guided) {
            states[negative_row * d + at] = state;
        }
    }
    if unit == 0 {
        chosen[picture * m + token] = code;
        tokens[own_row] = (token + 1) as u32;
        if comptime!(done.guided) {
            tokens[negative_row] = (token + 1) as u32;
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
    #[comptime] done: Done,
) -> f32 {
    let mut own = 0.0f32;
    for code in range_stepped(UNIT_POS as usize, row.v, UNITS) {
        let height = height(logits, row, code, done);
        if height > least {
            own += height.exp();
        }
    }
    sum_of_all(numbers, own)
}
