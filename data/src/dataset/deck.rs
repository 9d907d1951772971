//! The order in which a training sees its data.

use crate::keyed;
use rand::RngExt as _;

/// Says which item each sample of a training is: all items in a random order, then all of them in
/// another one, and so on.
///
/// The order of an epoch depends on the seed and on its number alone, so a training that is
/// interrupted after `position` samples needs nothing else to go on with the same ones. One epoch
/// is kept at a time, 8 bytes for each item.
#[derive(Debug, Clone)]
pub struct Deck {
    seed: u64,
    epoch: u64,
    order: Vec<usize>,
}

impl Deck {
    /// A deck of `n` items.
    ///
    /// # Panics
    ///
    /// If there is no item.
    #[must_use]
    pub fn new(n: usize, seed: u64) -> Self {
        assert!(n > 0, "a deck of no items");
        Self {
            seed,
            epoch: 0,
            order: shuffled(n, seed, 0),
        }
    }

    /// Number of items, which is the number of samples of an epoch.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always an item")]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The item, below [`Deck::len`], that sample number `position` is, counted from the start of
    /// the training. Asking for positions in their order shuffles once for each epoch.
    pub fn at(&mut self, position: u64) -> usize {
        let n = self.order.len() as u64;
        let epoch = position / n;
        if epoch != self.epoch {
            self.order = shuffled(self.order.len(), self.seed, epoch);
            self.epoch = epoch;
        }
        self.order[(position % n) as usize]
    }
}

/// The numbers below `n` in the order of an epoch (Fisher and Yates).
fn shuffled(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut rng = keyed::rng(seed, &[epoch]);
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        // Of 64 bits, so that machines of any word size draw the same.
        let other = rng.random_range(0..=last as u64) as usize;
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(n: usize, seed: u64, samples: u64) -> Vec<usize> {
        let mut deck = Deck::new(n, seed);
        (0..samples).map(|position| deck.at(position)).collect()
    }

    #[test]
    fn every_epoch_has_each_item_once_and_an_order_of_its_own() {
        let samples = walk(50, 3, 200);
        let epochs: Vec<&[usize]> = samples.chunks(50).collect();
        for (number, epoch) in epochs.iter().enumerate() {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..50).collect::<Vec<_>>(), "epoch {number}");
            assert!(!epochs[..number].contains(epoch), "epoch {number}");
            assert_ne!(sorted, *epoch, "epoch {number} is not shuffled");
        }
        assert_ne!(walk(50, 4, 50), epochs[0]);
        assert_eq!(walk(1, 9, 5), [0; 5]);
    }

    #[test]
    fn each_order_of_an_epoch_is_as_likely_as_any_other() {
        let mut counts = std::collections::HashMap::new();
        for seed in 0..1200 {
            *counts.entry(walk(3, seed, 3)).or_insert(0) += 1;
        }
        // Of six orders each is expected 200 times, give or take 13.
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|n| (140..260).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_jump_leads_where_a_walk_does() {
        let samples = walk(7, 1, 70);
        let mut deck = Deck::new(7, 1);
        for step in 0..70_u64 {
            // All positions, forwards and backwards over the borders of epochs.
            let position = step * 33 % 70;
            assert_eq!(deck.at(position), samples[position as usize]);
            let fresh = Deck::new(7, 1).at(position);
            assert_eq!(fresh, samples[position as usize]);
        }
        // Far away, too.
        assert!(deck.at(u64::MAX) < 7);
    }

    #[test]
    fn the_last_batch_of_an_epoch_runs_on_into_the_next() {
        let samples = walk(10, 5, 20);
        let mut deck = Deck::new(10, 5);
        let batch: Vec<usize> = (8..12).map(|position| deck.at(position)).collect();
        assert_eq!(batch, samples[8..12]);
    }
}
