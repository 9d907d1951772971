//! What the threads of a cube know, in one number for all of them.

use cubecl::prelude::*;

use super::UNITS;

/// How often they are halved until one is left.
const HALVINGS: usize = UNITS.ilog2() as usize;

/// Adds up a number of each thread.
#[cube]
pub(super) fn sum_of_all(numbers: &mut Shared<[f32]>, own: f32) -> f32 {
    gathered(numbers, own, false)
}

/// Gives the largest of a number of each thread.
#[cube]
pub(super) fn largest_of_all(numbers: &mut Shared<[f32]>, own: f32) -> f32 {
    gathered(numbers, own, true)
}

#[cube]
fn gathered(numbers: &mut Shared<[f32]>, own: f32, #[comptime] largest: bool) -> f32 {
    let unit = UNIT_POS as usize;
    sync_cube();
    numbers[unit] = own;
    sync_cube();
    #[unroll]
    for halving in 0..HALVINGS {
        let reach = comptime!(UNITS >> (halving + 1));
        if unit < reach {
            if comptime!(largest) {
                numbers[unit] = larger(numbers[unit], numbers[unit + reach]);
            } else {
                numbers[unit] += numbers[unit + reach];
            }
        }
        sync_cube();
    }
    numbers[0]
}

#[cube]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    select(a > b, a, b)
}
