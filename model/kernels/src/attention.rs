//! Attention of many queries, softmax(QKᵀ/√64) V, and its gradients.
//!
//! Scores exist for a few rows of queries at a time and never leave the cache; the way back
//! computes them once more (Dao et al., "FlashAttention", 2022, without its tiling of keys: a row
//! of scores is short here). States are `[b, tokens, heads · 64]`, as projections leave them.

mod block;
mod rows;

use rayon::prelude::*;

use self::block::Block;
use self::rows::Softmax;
use crate::attend::WIDTH;
use crate::product::{Before, Matrix, Threads, product};
use crate::simd::dispatch;

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
    let rows = shape.batch * shape.heads;
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
        output: merge(&parts, shape.heads, shape.queries),
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
        merge(&total, shape.heads, shape.keys)
    };
    Gradients {
        keys: total(0),
        values: total(1),
        queries: merge(&of_queries, shape.heads, shape.queries),
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

/// Puts heads side by side: `[b · heads, tokens, 64]` to `[b, tokens, heads · 64]`.
fn merge(parts: &[f32], heads: usize, tokens: usize) -> Vec<f32> {
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
    merged
}
