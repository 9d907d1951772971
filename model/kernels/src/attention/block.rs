//! The queries of one head that are worked on at once.

use super::rows::Back;
use super::{Pairs, ROWS, Shape};
use crate::attend::WIDTH;
use crate::product::{Before, Matrix, Threads, product};
use crate::simd::dispatch;

/// Some successive queries of one head.
#[derive(Clone, Copy)]
pub(super) struct Block {
    shape: Shape,
    keys: usize,
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
    pub(super) fn new(shape: Shape, keys: usize, row: usize, block: usize) -> Self {
        let first = block * ROWS;
        let count = ROWS.min(shape.queries - first);
        let mut of = Self {
            shape,
            keys,
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
        match self.shape.causal {
            true => self.keys - self.shape.queries + self.first + n + 1,
            false => self.keys,
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

    /// Gives the pairs that any of the queries sees: which they are, how many keys come before, and how many are seen.
    fn seen<'a, 'b>(
        &self,
        pairs: &'b [Pairs<'a>],
    ) -> impl Iterator<Item = (usize, Pairs<'a>, usize, usize)> + use<'a, 'b> {
        let (mut before, seen) = (0, self.seen);
        let each = pairs.iter().enumerate().map(move |(at, pairs)| {
            let first = before;
            before += pairs.count;
            (
                at,
                *pairs,
                first,
                pairs.count.min(seen.saturating_sub(first)),
            )
        });
        each.filter(|(_, _, _, count)| *count > 0)
    }

    /// Writes the products of queries, or what has their shape, with keys or values, `[count, seen]`.
    fn products(
        &self,
        queries: &[f32],
        pairs: &[Pairs],
        which: for<'a> fn(&Pairs<'a>) -> &'a [f32],
        output: &mut [f32],
    ) {
        for (_, pairs, first, count) in self.seen(pairs) {
            let keys = self.head(which(&pairs), pairs.count, 0, count).transposed();
            let (output, queries) = (&mut output[first..], self.own(queries));
            product(
                output,
                self.seen,
                queries,
                keys,
                Before::Replaced,
                Threads::One,
            );
        }
    }

    /// Writes QKᵀ, `[count, seen]`.
    pub(super) fn scores(&self, queries: &[f32], pairs: &[Pairs], output: &mut [f32]) {
        self.products(queries, pairs, |pairs| pairs.keys, output);
    }

    /// Writes the sums of values, or keys, by weights `[count, seen]`.
    pub(super) fn average(
        &self,
        weights: &[f32],
        pairs: &[Pairs],
        which: for<'a> fn(&Pairs<'a>) -> &'a [f32],
        output: &mut [f32],
    ) {
        let mut before = Before::Replaced;
        for (_, pairs, first, count) in self.seen(pairs) {
            let weights = Matrix::of_rows(&weights[first..], self.count, count, self.seen);
            let values = self.head(which(&pairs), pairs.count, 0, count);
            product(output, WIDTH, weights, values, before, Threads::One);
            before = Before::Added;
        }
    }

    /// Writes the gradient of the queries and adds to those of keys and values.
    pub(super) fn back(
        &self,
        [queries, gradient]: [&[f32]; 2],
        pairs: &[Pairs],
        totals: &[f32],
        found: &mut [f32],
        of_pairs: &mut [[Vec<f32>; 2]],
    ) {
        let (count, seen) = (self.count, self.seen);
        let mut weights = vec![0.0; count * seen];
        let mut pulls = vec![0.0; count * seen];
        self.scores(queries, pairs, &mut weights);
        self.products(gradient, pairs, |pairs| pairs.values, &mut pulls);
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
        self.average(&pulls, pairs, |pairs| pairs.keys, found);
        for (at, _, first, theirs) in self.seen(pairs) {
            let [of_keys, of_values] = &mut of_pairs[at];
            let sums = [(of_values, &weights, gradient), (of_keys, &pulls, queries)];
            for (output, rows, states) in sums {
                let rows = Matrix::of_rows(&rows[first..], count, theirs, seen).transposed();
                let states = self.own(states);
                product(output, WIDTH, rows, states, Before::Added, Threads::One);
            }
        }
    }
}
