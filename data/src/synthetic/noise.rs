//! Random numbers and smooth noise from a seed alone.
//!
//! Own code, and not a generator of `rand`: a dataset is named by its seeds, so the numbers have
//! to stay the same with every version of every crate.

/// SplitMix64: one well mixed number for each number.
pub(super) fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A share in 0..1 of a mixed number.
fn share(mixed: u64) -> f64 {
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// A row of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// The row of a seed; another `purpose` gives a row that has nothing to do with it.
    pub(super) fn new(seed: u64, purpose: u64) -> Self {
        Self(mixed(
            mixed(seed) ^ purpose.wrapping_mul(0xa076_1d64_78bd_642f),
        ))
    }

    /// Any number, a seed for what follows.
    pub(super) fn seed(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mixed(self.0)
    }

    /// Evenly from `low..high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * share(self.seed())
    }

    /// One of several, each as likely.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub(super) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.seed() % choices.len() as u64) as usize]
    }
}

/// Value noise, one bump per unit of length, in -1..1.
pub(super) fn noise(seed: u64, x: f64, y: f64) -> f64 {
    let (column, row) = (x.floor(), y.floor());
    let corner = |dx: i64, dy: i64| {
        let (column, row) = (column as i64 + dx, row as i64 + dy);
        let place =
            (column as u64).wrapping_mul(0x8cb9_2ba7_2f3d_8dd7) ^ (row as u64).rotate_left(32);
        2.0 * share(mixed(seed ^ place)) - 1.0
    };
    let ease = |t: f64| t * t * t * (t * (t * 6.0 - 15.0) + 10.0);
    let (across, down) = (ease(x - column), ease(y - row));
    let upper = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * across;
    let lower = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * across;
    upper + (lower - upper) * down
}

/// Noise on noise, each octave half as large and half as strong; in -1..1.
pub(super) fn rough(seed: u64, x: f64, y: f64, octaves: u32) -> f64 {
    let (mut sum, mut most, mut scale) = (0.0, 0.0, 1.0);
    for octave in 0..octaves {
        let seed = seed.wrapping_add(u64::from(octave));
        // Shifted, so that the lattices do not meet at the origin.
        let shift = 17.3 * f64::from(octave);
        sum += noise(seed, x * scale + shift, y * scale - shift) / scale;
        most += 1.0 / scale;
        scale *= 2.0;
    }
    sum / most
}

/// 0 below `low`, 1 above `high`, smooth between; `low` may be above `high`.
pub(super) fn smooth(low: f64, high: f64, at: f64) -> f64 {
    let t = ((at - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_what_they_are() {
        // The first number that SplitMix64 of the seed 0 gives, as published with it.
        assert_eq!(mixed(0), 0xe220_a839_7b1d_cdaf);
        let mut dice = Dice::new(7, 0);
        let first: Vec<u64> = (0..3).map(|_| dice.seed()).collect();
        let mut again = Dice::new(7, 0);
        assert_eq!(first, [again.seed(), again.seed(), again.seed()]);
        assert_ne!(Dice::new(7, 1).seed(), first[0]);
        assert_ne!(Dice::new(8, 0).seed(), first[0]);
    }

    #[test]
    fn dice_are_even() {
        let mut dice = Dice::new(1, 1);
        let n = 6000;
        let mean = (0..n).map(|_| dice.between(2.0, 4.0)).sum::<f64>() / f64::from(n);
        assert!((mean - 3.0).abs() < 0.03, "{mean}");
        let ones = (0..n).filter(|_| dice.one_of(&[1, 2, 3]) == 1).count();
        assert!((1850..2150).contains(&ones), "{ones}");
    }

    #[test]
    fn noise_is_smooth_and_within_its_range() {
        let at = |i: i32| rough(3, f64::from(i) / 100.0, 0.37, 4);
        for i in -500..500 {
            assert!(at(i).abs() <= 1.0);
            assert!((at(i + 1) - at(i)).abs() < 0.1, "a jump at {i}");
        }
        let (low, high) = (-500..500).fold((1.0_f64, -1.0_f64), |(low, high), i| {
            (low.min(at(i)), high.max(at(i)))
        });
        assert!(low < -0.3 && high > 0.3, "{low} {high}");
    }
}
