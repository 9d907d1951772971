//! Random numbers that depend on what they are for, and not on when they are drawn: whatever is
//! drawn for number 7 of something is the same in any order, on any thread, after any interruption.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// A generator of its own for each of up to three numbers after the seed.
///
/// # Panics
///
/// If there are more than three.
#[must_use]
pub fn rng(seed: u64, numbers: &[u64]) -> StdRng {
    assert!(numbers.len() <= 3, "{} numbers", numbers.len());
    let mut key = [0; 32];
    for (place, number) in key.chunks_exact_mut(8).zip([&[seed], numbers].concat()) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    StdRng::from_seed(key)
}
