//! The queries of one head that are worked on at once.

use super::rows::Back;
use super::{ROWS, Shape};
use crate::attend::WIDTH;
use crate::product::{Before, Matrix, Threads, product};
use crate::simd::dispatch;

/// Some successive queries of one head.
#[derive(Clone, Copy)]
pub(super) struct Block {
    shape: Shape,
    /// Picture and head: b · heads + head.
    row: usize,
    /// First query.
    first: usize,
    /// Queries.
    pub(super) count: usize,
    /// Keys that any of them sees, from the first on.
    pub(super) seen: usize,
}

impl Block {
    pub(super) fn new(shape: Shape, row: usize, block: usize) -> Self {
        let first = block * ROWS;
        let count = ROWS.min(shape.queries - first);
        let mut of = Self {
            shape,
            row,
            first,
            count,
            seen: 0,
        };
        of.seen = of.sees(count - 1);
        of
    }

    /// Gives how many keys the `n`-th query sees.
    pub(super) fn sees(&self, n: usize) -> usize {
        let Shape {
            queries,
            keys,
            causal,
            ..
        } = self.shape;
        if causal {
            keys - queries + self.first + n + 1
        } else {
            keys
        }
    }

    /// Gives the head's part of states, `count` tokens from `first` on, as rows of 64.
    pub(super) fn head<'a>(
        &self,
        states: &'a [f32],
        tokens: usize,
        first: usize,
        count: usize,
    ) -> Matrix<'a> {
        let stride = self.shape.heads * WIDTH;
        let (picture, head) = (self.row / self.shape.heads, self.row % self.shape.heads);
        let at = (picture * tokens + first) * stride + head * WIDTH;
        Matrix::of_rows(&states[at..], count, WIDTH, stride)
    }

    fn own<'a>(&self, states: &'a [f32]) -> Matrix<'a> {
        self.head(states, self.shape.queries, self.first, self.count)
    }

    /// Writes QKᵀ, `[count, seen]`.
    pub(super) fn scores(&self, queries: &[f32], keys: &[f32], output: &mut [f32]) {
        let keys = self.head(keys, self.shape.keys, 0, self.seen).transposed();
        let queries = self.own(queries);
        product(
            output,
            self.seen,
            queries,
            keys,
            Before::Replaced,
            Threads::One,
        );
    }

    /// Writes the gradient of the queries and adds to those of keys and values.
    pub(super) fn back(
        &self,
        [queries, keys, values, gradient]: [&[f32]; 4],
        totals: &[f32],
        found: &mut [f32],
        [of_keys, of_values]: &mut [Vec<f32>; 2],
    ) {
        let (count, seen) = (self.count, self.seen);
        let mut weights = vec![0.0; count * seen];
        let mut pulls = vec![0.0; count * seen];
        self.scores(queries, keys, &mut weights);
        let values = self.head(values, self.shape.keys, 0, seen).transposed();
        let own = self.own(gradient);
        product(
            &mut pulls,
            seen,
            own,
            values,
            Before::Replaced,
            Threads::One,
        );
        let rows = weights
            .chunks_exact_mut(seen)
            .zip(pulls.chunks_exact_mut(seen));
        for (n, (weights, pulls)) in rows.enumerate() {
            let total = totals[self.row * self.shape.queries + self.first + n];
            let seen = self.sees(n);
            dispatch(Back {
                weights,
                pulls,
                total,
                seen,
            });
        }
        let weights = Matrix::of_rows(&weights, count, seen, seen);
        let pulls = Matrix::of_rows(&pulls, count, seen, seen);
        let keys = self.head(keys, self.shape.keys, 0, seen);
        let (replaced, added, one) = (Before::Replaced, Before::Added, Threads::One);
        product(found, WIDTH, pulls, keys, replaced, one);
        product(of_values, WIDTH, weights.transposed(), own, added, one);
        product(
            of_keys,
            WIDTH,
            pulls.transposed(),
            self.own(queries),
            added,
            one,
        );
    }
}
