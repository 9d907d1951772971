//! What is learned from and what is measured with.

use super::Item;
use crate::manifest::Split;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

/// How many items go where.
///
/// Which ones is decided by the seed and their names alone: neither their order nor a missing one
/// changes where another goes, as long as the numbers hold. Of fewer items than both numbers
/// together, the same share is for measuring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Items to learn from; none for all that are not measured with.
    pub train: Option<usize>,
    /// Items to measure with.
    pub test: usize,
    /// Decides which.
    pub seed: u64,
}

impl Sizes {
    /// Everything is learned from.
    #[must_use]
    pub fn all_train() -> Self {
        Self {
            train: None,
            test: 0,
            seed: 0,
        }
    }

    /// Items with their split, in the order they came in; those beyond the numbers are left out.
    pub(super) fn split<T>(&self, all: Vec<(String, T)>) -> Vec<Item<T>> {
        self.split_with(all, None)
    }

    /// As [`Sizes::split`], with a list of what is measured with.
    pub(super) fn split_with<T>(
        &self,
        all: Vec<(String, T)>,
        listed: Option<&HashSet<String>>,
    ) -> Vec<Item<T>> {
        let mut ranked: Vec<&str> = all.iter().map(|(id, _)| id.as_str()).collect();
        ranked.sort_by_cached_key(|id| self.rank(id));
        let test: HashSet<String> = match listed {
            Some(listed) => listed.clone(),
            None => {
                let test = ranked.iter().take(self.n_test(all.len()));
                test.map(|&id| id.to_owned()).collect()
            }
        };
        let train: HashSet<String> = ranked
            .iter()
            .filter(|&&id| !test.contains(id))
            .take(self.train.unwrap_or(usize::MAX))
            .map(|&id| id.to_owned())
            .collect();
        let item = |(id, what): (String, T)| {
            let split = match (test.contains(&id), train.contains(&id)) {
                (true, _) => Split::Test,
                (_, true) => Split::Train,
                _ => return None,
            };
            Some(Item { id, split, what })
        };
        all.into_iter().filter_map(item).collect()
    }

    fn n_test(&self, n: usize) -> usize {
        match self.train {
            Some(train) if train + self.test > n => {
                (n as f64 * self.test as f64 / (train + self.test) as f64).round() as usize
            }
            _ => self.test.min(n),
        }
    }

    fn rank(&self, id: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(id.as_bytes());
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<(String, usize)> {
        (0..n).map(|i| (format!("{i}.png"), i)).collect()
    }

    fn sizes(train: Option<usize>, test: usize) -> Sizes {
        Sizes {
            train,
            test,
            seed: 3,
        }
    }

    fn count<T>(items: &[Item<T>], split: Split) -> usize {
        items.iter().filter(|item| item.split == split).count()
    }

    #[test]
    fn numbers_are_kept_and_shares_where_there_is_less() {
        let check = |n, train, test, expected: (usize, usize)| {
            let items = sizes(train, test).split(names(n));
            let found = (count(&items, Split::Train), count(&items, Split::Test));
            assert_eq!(found, expected, "{n} {train:?} {test}");
            assert!(items.is_sorted_by_key(|item| item.what));
        };
        check(100, Some(85), 5, (85, 5));
        check(90, Some(85), 5, (85, 5));
        check(18, Some(85), 5, (17, 1));
        check(10, None, 3, (7, 3));
        check(2, None, 3, (0, 2));
        check(0, Some(85), 5, (0, 0));
    }

    #[test]
    fn a_name_keeps_its_side_when_others_go() {
        let of = |all: Vec<(String, usize)>| -> HashSet<String> {
            let items = sizes(None, 20).split(all);
            let test = items.into_iter().filter(|item| item.split == Split::Test);
            test.map(|item| item.id).collect()
        };
        let all = of(names(100));
        let mut fewer = names(100);
        fewer.retain(|(id, _)| all.contains(id) || id.len() > 5);
        fewer.reverse();
        assert_eq!(of(fewer), all);
        let other = Sizes {
            seed: 4,
            ..sizes(None, 20)
        };
        let other = other.split(names(100));
        assert!(
            other
                .iter()
                .any(|item| item.split == Split::Test && !all.contains(&item.id))
        );
    }

    #[test]
    fn a_list_decides() {
        let listed = HashSet::from(["3.png".to_owned(), "8.png".to_owned()]);
        let items = sizes(Some(4), 1).split_with(names(10), Some(&listed));
        let test: Vec<&str> = items
            .iter()
            .filter(|item| item.split == Split::Test)
            .map(|item| item.id.as_str())
            .collect();
        assert_eq!(
            (test, count(&items, Split::Train)),
            (vec!["3.png", "8.png"], 4)
        );
    }
}
