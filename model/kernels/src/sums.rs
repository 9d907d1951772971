//! Sums of many numbers: side by side in single precision, and runs of them in double.

/// Numbers that are summed side by side.
const LANES: usize = 32;

/// Numbers that are summed in single precision before the sum goes on in double.
const RUN: usize = 4096;

/// Gives the mean, and one over the deviation.
#[inline(always)]
pub(crate) fn moments(values: &[f32], epsilon: f64) -> (f32, f32) {
    let count = values.len() as f64;
    let mean = sum(values.iter().copied()) / count;
    let around = mean as f32;
    let variance = sum(values
        .iter()
        .map(|value| (value - around) * (value - around)))
        / count;
    (around, (variance + epsilon).sqrt().recip() as f32)
}

/// Adds up numbers, side by side in single precision, and runs of them in double.
#[inline(always)]
pub(crate) fn sum(mut values: impl ExactSizeIterator<Item = f32>) -> f64 {
    let mut total = 0.0;
    while values.len() >= LANES {
        let mut lanes = [0.0; LANES];
        for _ in 0..(values.len() / LANES).min(RUN / LANES) {
            for lane in &mut lanes {
                *lane += values.next().expect("counted above");
            }
        }
        total += across(&lanes);
    }
    total + values.map(f64::from).sum::<f64>()
}

/// Adds up lanes. Kept apart, so that it does not shape the loop before it.
#[inline(never)]
fn across(lanes: &[f32; LANES]) -> f64 {
    lanes.iter().copied().map(f64::from).sum()
}
