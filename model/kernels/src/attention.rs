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
use crate::fresh::{count, in_parts};
use crate::simd::dispatch;

/// Queries whose scores are held at once. A patch of 64 tokens with its BOS is one block: a block of one query would
/// take as much laying out as a full one.
const ROWS: usize = 72;

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
    /// Whether the queries are the last keys, and none sees a later one.
    pub causal: bool,
}

/// Keys and values that lie together, `[b, count, heads · 64]` each. What is looked at may be some of them, one after
/// the other, and need not be copied to one place.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// Keys.
    pub keys: &'a [f32],
    /// Values.
    pub values: &'a [f32],
    /// How many there are.
    pub count: usize,
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
    /// Gradients of keys and values, of each of the pairs.
    pub pairs: Vec<[Vec<f32>; 2]>,
}

/// Attends.
///
/// # Panics
/// If a length does not fit `shape`, or it is causal with more queries than keys.
pub fn forward(queries: &[f32], pairs: &[Pairs], shape: Shape) -> Forward {
    let keys = shape.check(queries, pairs);
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
            let of = Block::new(shape, keys, row, block);
            let mut scores = vec![0.0; of.count * of.seen];
            of.scores(queries, pairs, &mut scores);
            for (n, (row, total)) in scores.chunks_exact_mut(of.seen).zip(totals).enumerate() {
                *total = dispatch(Softmax {
                    scores: row,
                    seen: of.sees(n),
                });
            }
            of.average(&scores, pairs, |pairs| pairs.values, output);
        });
    });
    let output = merge(shape, shape.queries, |row, token, output| {
        let from = (row * shape.queries + token) * WIDTH;
        output.copy_from_slice(&parts[from..from + WIDTH]);
    });
    Forward { output, totals }
}

/// Gives the gradients of everything that [`forward`] takes, from that of its output and its
/// `totals`.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn gradients(
    queries: &[f32],
    pairs: &[Pairs],
    totals: &[f32],
    gradient: &[f32],
    shape: Shape,
) -> Gradients {
    let keys = shape.check(queries, pairs);
    assert_eq!(gradient.len(), queries.len(), "gradient");
    let rows = shape.batch * shape.heads;
    assert_eq!(totals.len(), rows * shape.queries, "totals");
    let blocks = shape.queries.div_ceil(ROWS);
    let parts = PARTS.div_ceil(rows.max(1)).clamp(1, blocks.max(1));
    let share = blocks.div_ceil(parts).max(1);
    let parts = blocks.div_ceil(share);
    let back = |piece: usize| {
        let (row, first) = (piece / parts, piece % parts * share);
        let blocks = first..blocks.min(first + share);
        let count = shape.queries.min(blocks.end * ROWS) - first * ROWS;
        let mut of_queries = vec![0.0; count * WIDTH];
        let sums = pairs
            .iter()
            .map(|pairs| [(); 2].map(|()| vec![0.0; pairs.count * WIDTH]));
        let mut of_pairs: Vec<[Vec<f32>; 2]> = sums.collect();
        for (found, block) in of_queries.chunks_mut(ROWS * WIDTH).zip(blocks) {
            let of = Block::new(shape, keys, row, block);
            of.back([queries, gradient], pairs, totals, found, &mut of_pairs);
        }
        Piece {
            of_queries,
            of_pairs,
        }
    };
    let found: Vec<Piece> = (0..rows * parts).into_par_iter().map(back).collect();
    let pieces = |row: usize| &found[row * parts..(row + 1) * parts];
    let sum = |at: usize, which: usize| {
        merge(shape, pairs[at].count, |row, token, output| {
            for piece in pieces(row) {
                let found = &piece.of_pairs[at][which][token * WIDTH..(token + 1) * WIDTH];
                output
                    .iter_mut()
                    .zip(found)
                    .for_each(|(sum, of)| *sum += of);
            }
        })
    };
    Gradients {
        queries: merge(shape, shape.queries, |row, token, output| {
            let (piece, token) = (token / (share * ROWS), token % (share * ROWS));
            let found = &pieces(row)[piece].of_queries;
            output.copy_from_slice(&found[token * WIDTH..(token + 1) * WIDTH]);
        }),
        pairs: (0..pairs.len())
            .map(|at| [sum(at, 0), sum(at, 1)])
            .collect(),
    }
}

/// Gradients that some blocks of one head's queries lead to.
struct Piece {
    /// Of these queries.
    of_queries: Vec<f32>,
    /// Of the head's keys and values, of each of the pairs.
    of_pairs: Vec<[Vec<f32>; 2]>,
}

impl Shape {
    /// Gives how many keys there are in all.
    fn check(&self, queries: &[f32], pairs: &[Pairs]) -> usize {
        let width = self.batch * self.heads * WIDTH;
        assert_eq!(queries.len(), width * self.queries, "queries");
        for pairs in pairs {
            assert_eq!(pairs.keys.len(), width * pairs.count, "keys");
            assert_eq!(pairs.values.len(), pairs.keys.len(), "values");
        }
        let keys = pairs.iter().map(|pairs| pairs.count).sum();
        assert!(keys > 0, "keys");
        assert!(!self.causal || self.queries <= keys, "causal");
        keys
    }
}

/// Puts heads side by side, `[b, tokens, heads · 64]`. `write` gets a row, b · heads + head, a token and its 64 zeros.
fn merge(shape: Shape, tokens: usize, write: impl Fn(usize, usize, &mut [f32]) + Sync) -> Vec<f32> {
    let width = shape.heads * WIDTH;
    let (len, chunk) = (shape.batch * tokens * width, ROWS * width);
    in_parts(len, chunk, count(len, chunk), |part, output| {
        for (n, output) in output.chunks_exact_mut(width).enumerate() {
            let (picture, token) = ((part * ROWS + n) / tokens, (part * ROWS + n) % tokens);
            for (head, output) in output.chunks_exact_mut(WIDTH).enumerate() {
                write(picture * shape.heads + head, token, output);
            }
        }
    })
}
