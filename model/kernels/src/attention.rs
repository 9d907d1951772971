//! Attention of many queries, softmax(QKᵀ/√64) V, and its gradients.
//!
//! Scores exist for a few rows of queries at a time and never leave the cache; the way back
//! computes them once more (Dao et al., "FlashAttention", 2022, without its tiling of keys: a row
//! of scores is short here). States are `[b, tokens, heads · 64]`, as projections leave them.

use rayon::prelude::*;

use crate::attend::WIDTH;
use crate::exp;
use crate::product::{Before, Matrix, Threads, product};
use crate::simd::{Kernel, dispatch};
use crate::sums::sum;

/// Queries whose scores are held at once.
const ROWS: usize = 64;

/// Parts in which the queries of all heads are worked on, each with gradients of its own for the
/// keys. A fixed number: rounding must not depend on how many threads there are.
const PARTS: usize = 8;

/// The sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Pictures.
    pub batch: usize,
    /// Heads.
    pub heads: usize,
    /// Queries.
    pub queries: usize,
    /// Keys.
    pub keys: usize,
    /// Whether the queries are the last keys, and none sees a later one.
    pub causal: bool,
}

/// An output, and what the way back needs to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Output, `[b, queries, heads · 64]`.
    pub output: Vec<f32>,
    /// ln Σ exp of every row of scores, `[b · heads, queries]`.
    pub totals: Vec<f32>,
}

/// Gradients of queries, keys and values, in their shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Gradient of the queries.
    pub queries: Vec<f32>,
    /// Gradient of the keys.
    pub keys: Vec<f32>,
    /// Gradient of the values.
    pub values: Vec<f32>,
}

/// Attends.
///
/// # Panics
/// If a length does not fit `shape`, or it is causal with more queries than keys.
pub fn forward(queries: &[f32], keys: &[f32], values: &[f32], shape: Shape) -> Forward {
    shape.check(queries, keys, values);
    let (rows, heads) = (shape.batch * shape.heads, shape.heads);
    let mut parts = vec![0.0; rows * shape.queries * WIDTH];
    let mut totals = vec![0.0; rows * shape.queries];
    let chunk = shape.queries.max(1);
    let work = parts
        .par_chunks_mut(chunk * WIDTH)
        .zip(totals.par_chunks_mut(chunk));
    work.enumerate().for_each(|(row, (output, totals))| {
        let blocks = output
            .par_chunks_mut(ROWS * WIDTH)
            .zip(totals.par_chunks_mut(ROWS));
        blocks.enumerate().for_each(|(block, (output, totals))| {
            let of = Block::new(shape, row, block);
            let mut scores = vec![0.0; of.count * of.seen];
            of.scores(queries, keys, &mut scores);
            for (n, (row, total)) in scores.chunks_exact_mut(of.seen).zip(totals).enumerate() {
                *total = dispatch(Softmax {
                    scores: row,
                    seen: of.sees(n),
                });
            }
            let scores = Matrix::of_rows(&scores, of.count, of.seen, of.seen);
            let values = of.head(values, shape.keys, 0, of.seen);
            product(
                output,
                WIDTH,
                scores,
                values,
                Before::Replaced,
                Threads::One,
            );
        });
    });
    Forward {
        output: merge(&parts, shape.batch, heads, shape.queries),
        totals,
    }
}

/// Gives the gradients of everything that [`forward`] takes, from that of its output and its
/// `totals`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn gradients(
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    totals: &[f32],
    gradient: &[f32],
    shape: Shape,
) -> Gradients {
    shape.check(queries, keys, values);
    assert_eq!(gradient.len(), queries.len(), "gradient");
    let rows = shape.batch * shape.heads;
    assert_eq!(totals.len(), rows * shape.queries, "totals");
    let blocks = shape.queries.div_ceil(ROWS);
    let parts = PARTS.div_ceil(rows.max(1)).clamp(1, blocks.max(1));
    let share = blocks.div_ceil(parts).max(1);
    let mut of_queries = vec![0.0; rows * shape.queries * WIDTH];
    let pieces: Vec<(usize, usize, &mut [f32])> = of_queries
        .chunks_mut((shape.queries * WIDTH).max(1))
        .enumerate()
        .flat_map(|(row, numbers)| {
            let pieces = numbers.chunks_mut(share * ROWS * WIDTH).enumerate();
            pieces.map(move |(part, numbers)| (row, part * share, numbers))
        })
        .collect();
    let back = |(row, first, found): (usize, usize, &mut [f32])| {
        let mut sums = [vec![0.0; shape.keys * WIDTH], vec![0.0; shape.keys * WIDTH]];
        for (n, found) in found.chunks_mut(ROWS * WIDTH).enumerate() {
            let of = Block::new(shape, row, first + n);
            of.back([queries, keys, values, gradient], totals, found, &mut sums);
        }
        (row, sums)
    };
    let found: Vec<_> = pieces.into_par_iter().map(back).collect();
    let total = |which: usize| {
        let mut total = vec![0.0; rows * shape.keys * WIDTH];
        let all = total
            .par_chunks_mut((shape.keys * WIDTH).max(1))
            .enumerate();
        all.for_each(|(row, total)| {
            for (_, sums) in found.iter().filter(|(of, _)| *of == row) {
                total
                    .iter_mut()
                    .zip(&sums[which])
                    .for_each(|(total, sum)| *total += sum);
            }
        });
        merge(&total, shape.batch, shape.heads, shape.keys)
    };
    Gradients {
        keys: total(0),
        values: total(1),
        queries: merge(&of_queries, shape.batch, shape.heads, shape.queries),
    }
}

impl Shape {
    fn check(&self, queries: &[f32], keys: &[f32], values: &[f32]) {
        let width = self.batch * self.heads * WIDTH;
        assert_eq!(queries.len(), width * self.queries, "queries");
        assert_eq!(keys.len(), width * self.keys, "keys");
        assert_eq!(values.len(), keys.len(), "values");
        assert!(self.keys > 0, "keys");
        assert!(!self.causal || self.queries <= self.keys, "causal");
    }
}

/// Some successive queries of one head.
#[derive(Clone, Copy)]
struct Block {
    shape: Shape,
    /// Picture and head: b · heads + head.
    row: usize,
    /// First query.
    first: usize,
    /// Queries.
    count: usize,
    /// Keys that any of them sees, from the first on.
    seen: usize,
}

impl Block {
    fn new(shape: Shape, row: usize, block: usize) -> Self {
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
    fn sees(&self, n: usize) -> usize {
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
    fn head<'a>(&self, states: &'a [f32], tokens: usize, first: usize, count: usize) -> Matrix<'a> {
        let stride = self.shape.heads * WIDTH;
        let (picture, head) = (self.row / self.shape.heads, self.row % self.shape.heads);
        let at = (picture * tokens + first) * stride + head * WIDTH;
        Matrix::of_rows(&states[at..], count, WIDTH, stride)
    }

    fn own<'a>(&self, states: &'a [f32]) -> Matrix<'a> {
        self.head(states, self.shape.queries, self.first, self.count)
    }

    /// Writes QKᵀ, `[count, seen]`.
    fn scores(&self, queries: &[f32], keys: &[f32], output: &mut [f32]) {
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
    fn back(
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

/// What scores are multiplied by: 1/√64.
const SCALE: f32 = 0.125;

/// Turns a row of scores into weights, zero beyond what is seen; gives ln Σ exp.
struct Softmax<'a> {
    scores: &'a mut [f32],
    seen: usize,
}

impl Kernel for Softmax<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> f32 {
        let (scores, hidden) = self.scores.split_at_mut(self.seen);
        hidden.fill(0.0);
        let (lanes, rest) = scores.as_chunks::<16>();
        let mut highest = [f32::NEG_INFINITY; 16];
        for lanes in lanes {
            for (highest, score) in highest.iter_mut().zip(lanes) {
                *highest = if *score > *highest { *score } else { *highest };
            }
        }
        let highest = highest.iter().chain(&*rest).copied();
        let highest = highest.fold(f32::NEG_INFINITY, f32::max);
        for score in &mut *scores {
            *score = exp::<FUSED>((*score - highest) * SCALE);
        }
        let total = sum(scores.iter().copied());
        let share = (1.0 / total) as f32;
        for score in scores {
            *score *= share;
        }
        highest * SCALE + total.ln() as f32
    }
}

/// Turns scores into weights and the gradients of weights into those of scores.
struct Back<'a> {
    weights: &'a mut [f32],
    pulls: &'a mut [f32],
    total: f32,
    seen: usize,
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let (weights, hidden) = self.weights.split_at_mut(self.seen);
        hidden.fill(0.0);
        let (pulls, hidden) = self.pulls.split_at_mut(self.seen);
        hidden.fill(0.0);
        for (weight, pull) in weights.iter_mut().zip(&mut *pulls) {
            *weight = exp::<FUSED>(*weight * SCALE - self.total);
            *pull *= *weight;
        }
        let mean = sum(pulls.iter().copied()) as f32;
        for (weight, pull) in weights.iter().zip(pulls) {
            *pull = (*pull - mean * weight) * SCALE;
        }
    }
}

/// Puts heads side by side: `[b · heads, tokens, 64]` to `[b, tokens, heads · 64]`.
fn merge(parts: &[f32], batch: usize, heads: usize, tokens: usize) -> Vec<f32> {
    let mut merged = vec![0.0; parts.len()];
    let rows = merged
        .par_chunks_mut((heads * WIDTH).max(1))
        .with_min_len(ROWS);
    rows.enumerate().for_each(|(at, row)| {
        let (picture, token) = (at / tokens, at % tokens);
        for (head, output) in row.chunks_exact_mut(WIDTH).enumerate() {
            let from = ((picture * heads + head) * tokens + token) * WIDTH;
            output.copy_from_slice(&parts[from..from + WIDTH]);
        }
    });
    debug_assert_eq!(merged.len(), batch * heads * tokens * WIDTH);
    merged
}
