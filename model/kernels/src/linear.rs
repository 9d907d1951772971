//! Linear layers, y = x W + bias, and their gradients. Rows of states lie one after the other.

use rayon::prelude::*;

use crate::product::{Matrix, product_and_row};

/// Rows whose columns one thread adds up at a time.
const ROWS: usize = 64;

/// Gives y `[rows, n]` for x `[rows, k]` and a weight `[k, n]`; an empty bias is none.
///
/// # Panics
/// If a length does not fit.
pub fn forward(x: &[f32], weight: Matrix, bias: &[f32]) -> Vec<f32> {
    let [k, _] = weight.shape();
    let rows = rows(x, k);
    product_and_row(Matrix::of_rows(x, rows, k, k), weight, bias)
}

/// Gives the gradient of x, `[rows, k]`, from that of y.
///
/// # Panics
/// If the gradient is no whole rows.
pub fn of_input(gradient: &[f32], weight: Matrix) -> Vec<f32> {
    forward(gradient, weight.transposed(), &[])
}

/// Gives the gradient of the weight, `[k, n]`, from x and the gradient of y.
///
/// # Panics
/// If a length does not fit.
pub fn of_weight(x: &[f32], gradient: &[f32], k: usize, n: usize) -> Vec<f32> {
    let count = rows(x, k);
    assert_eq!(count, rows(gradient, n), "rows");
    let x = Matrix::of_rows(x, count, k, k).transposed();
    product_and_row(x, Matrix::of_rows(gradient, count, n, n), &[])
}

/// Gives the gradient of the bias, `[n]`, from that of y.
///
/// # Panics
/// If the gradient is no whole rows.
pub fn of_bias(gradient: &[f32], n: usize) -> Vec<f32> {
    rows(gradient, n);
    let sum = |rows: &[f32]| {
        let mut sum = vec![0.0; n];
        for row in rows.chunks_exact(n) {
            sum.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value);
        }
        sum
    };
    let parts: Vec<Vec<f32>> = gradient.par_chunks((ROWS * n).max(1)).map(sum).collect();
    parts.into_iter().fold(vec![0.0; n], |mut total, part| {
        total
            .iter_mut()
            .zip(part)
            .for_each(|(total, part)| *total += part);
        total
    })
}

fn rows(numbers: &[f32], width: usize) -> usize {
    assert!(numbers.len().is_multiple_of(width.max(1)), "rows");
    numbers.len() / width.max(1)
}
