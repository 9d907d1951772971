//! The four orders of the Arbitrary Direction Controller (\[P\] §3.2, \[N\] §3.1.3).

use serde::{Deserialize, Serialize};

use super::{GridSize, PatchIndex};

/// Order in which the patches of a grid, and the tokens of a patch, are written.
///
/// Frames are always the slowest axis and go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Order {
    /// Columns from the left, each from the top. ω (↓→) in \[P\], Down-Right-Forward in \[N\].
    DownRight,
    /// Columns from the right, each from the top. ω* (↓←) in \[P\], Down-Left-Forward in \[N\].
    DownLeft,
    /// Rows from the top, each from the left. ζ (→↓) in \[P\], Right-Down-Forward in \[N\].
    RightDown,
    /// Rows from the bottom, each from the left. ζ* (→↑) in \[P\], Right-Up-Forward in \[N\].
    RightUp,
}

impl Order {
    /// All orders, at the row each has in the order embedding.
    pub const ALL: [Order; 4] = [
        Order::DownRight,
        Order::DownLeft,
        Order::RightDown,
        Order::RightUp,
    ];

    /// Gives this order's row in the order embedding (page §7).
    pub fn row(self) -> usize {
        self as usize
    }

    /// Gives the 0-based time at which a place of the grid is reached: T(i, j, k, r) of \[P\] Eq. 6.
    ///
    /// # Panics
    /// When the place lies outside the grid.
    pub fn rank(self, index: PatchIndex, grid: GridSize) -> usize {
        assert!(grid.contains(index), "{index:?} lies outside {grid:?}");
        let PatchIndex { f, h, w } = index;
        let within_frame = match self {
            Order::DownRight => w * grid.h + h,
            Order::DownLeft => (grid.w - 1 - w) * grid.h + h,
            Order::RightDown => h * grid.w + w,
            Order::RightUp => (grid.h - 1 - h) * grid.w + w,
        };
        f * grid.h * grid.w + within_frame
    }

    /// Gives the place reached at a time: the inverse of [`Order::rank`].
    ///
    /// # Panics
    /// When `rank` is not below the number of places.
    pub fn index(self, rank: usize, grid: GridSize) -> PatchIndex {
        assert!(rank < grid.count(), "rank {rank} is not in {grid:?}");
        let (f, rest) = (rank / (grid.h * grid.w), rank % (grid.h * grid.w));
        let (h, w) = match self {
            Order::DownRight => (rest % grid.h, rest / grid.h),
            Order::DownLeft => (rest % grid.h, grid.w - 1 - rest / grid.h),
            Order::RightDown => (rest / grid.w, rest % grid.w),
            Order::RightUp => (grid.h - 1 - rest / grid.w, rest % grid.w),
        };
        PatchIndex { f, h, w }
    }

    /// Gives every place of a box in the order it is written. The same order walks the patches of
    /// a grid and the tokens inside a patch (\[P\] Fig. 6).
    pub fn walk(self, grid: GridSize) -> impl Iterator<Item = PatchIndex> {
        (0..grid.count()).map(move |rank| self.index(rank, grid))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// \[P\] Fig. 6, training orders: the numbers written on a 2 × 3 grid, row by row, from 1.
    #[test]
    fn figure_6_training_orders() {
        let grid = GridSize { f: 1, h: 2, w: 3 };
        let numbers = |order: Order| -> Vec<usize> {
            Order::RightDown
                .walk(grid)
                .map(|index| order.rank(index, grid) + 1)
                .collect()
        };
        assert_eq!(numbers(Order::DownRight), [1, 3, 5, 2, 4, 6]);
        assert_eq!(numbers(Order::DownLeft), [5, 3, 1, 6, 4, 2]);
        assert_eq!(numbers(Order::RightDown), [1, 2, 3, 4, 5, 6]);
        assert_eq!(numbers(Order::RightUp), [4, 5, 6, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn rank_and_index_are_inverse(f in 1usize..5, h in 1usize..9, w in 1usize..9, o in 0usize..4) {
            let (grid, order) = (GridSize { f, h, w }, Order::ALL[o]);
            for (rank, index) in order.walk(grid).enumerate() {
                prop_assert_eq!(order.rank(index, grid), rank);
            }
            let mut seen: Vec<_> = order.walk(grid).collect();
            seen.sort();
            seen.dedup();
            prop_assert_eq!(seen.len(), grid.count());
        }
    }
}
