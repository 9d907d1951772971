//! The queries of one head that are worked on at once.

use super::rows::Back;
use super::{Pairs, ROWS, Shape};
use crate::attend::WIDTH;
use crate::product::{Before, Matrix, product};
use crate::simd::dispatch;

/// Keys or values.
type Which = for<'a> fn(&Pairs<'a>) -> &'a [f32];

/// Keys and values of one place, of which some are seen.
struct Seen<'a> {
    /// Which of the places it is.
    at: usize,
    pairs: Pairs<'a>,
    /// Keys of the places before it.
    first: usize,
    /// How many of its own are seen, from the first on.
    count: usize,
}

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
    fn head<'a>(&self, states: &'a [f32], tokens: usize, first: usize, count: usize) -> Matrix<'a> {
        let stride = self.shape.heads * WIDTH;
        let (picture, head) = (self.row / self.shape.heads, self.row % self.shape.heads);
        let at = (picture * tokens + first) * stride + head * WIDTH;
        Matrix::of_rows(&states[at..], count, WIDTH, stride)
    }

    /// Gives what is seen of the head's keys or values.
    fn part<'a>(&self, seen: &Seen<'a>, which: Which) -> Matrix<'a> {
        self.head(which(&seen.pairs), seen.pairs.count, 0, seen.count)
    }

    fn own<'a>(&self, states: &'a [f32]) -> Matrix<'a> {
        self.head(states, self.shape.queries, self.first, self.count)
    }

    /// Gives the pairs of which any query sees something.
    fn seen<'a>(&self, pairs: &[Pairs<'a>]) -> Vec<Seen<'a>> {
        let mut first = 0;
        let each = pairs.iter().enumerate().map(|(at, pairs)| {
            let count = pairs.count.min(self.seen.saturating_sub(first));
            first += pairs.count;
            Seen {
                at,
                pairs: *pairs,
                first: first - pairs.count,
                count,
            }
        });
        each.filter(|seen| seen.count > 0).collect()
    }

    /// Writes the products of queries, or what has their shape, with keys or values, `[count, seen]`.
    fn products(&self, queries: &[f32], pairs: &[Pairs], which: Which, output: &mut [f32]) {
        for seen in self.seen(pairs) {
            let keys = self.part(&seen, which).transposed();
            let (output, queries) = (&mut output[seen.first..], self.own(queries));
            product(output, self.seen, queries, keys, Before::Replaced);
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
        which: Which,
        output: &mut [f32],
    ) {
        let mut before = Before::Replaced;
        for seen in self.seen(pairs) {
            let weights = &weights[seen.first..];
            let weights = Matrix::of_rows(weights, self.count, seen.count, self.seen);
            let values = self.part(&seen, which);
            product(output, WIDTH, weights, values, before);
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
        for of in self.seen(pairs) {
            let [of_keys, of_values] = &mut of_pairs[of.at];
            let sums = [(of_values, &weights, gradient), (of_keys, &pulls, queries)];
            for (output, rows, states) in sums {
                let rows = Matrix::of_rows(&rows[of.first..], count, of.count, seen).transposed();
                let states = self.own(states);
                product(output, WIDTH, rows, states, Before::Added);
            }
        }
    }
}
