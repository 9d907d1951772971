//! Products of matrices, by faer and by the `gemm` crate: the one place of this project where the promises that they ask
//! for are made, and checked.

use faer::{Accum, MatMut, MatRef, Par};

use crate::fresh::{count, in_parts};

/// Multiplications below which a second thread costs more than it brings.
const WORTH_SHARING: usize = 1 << 21;

/// Rows of the output below which a thread spends more on preparing the other matrix than on
/// multiplying.
const LEAST_ROWS: usize = 16;

/// A matrix in a slice: element (i, j) lies at `i · row_stride + j · column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Gives a matrix whose rows lie `stride` numbers apart, each in one piece.
    ///
    /// # Panics
    /// If `numbers` are too few.
    pub fn of_rows(numbers: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        Self::strided(numbers, [rows, columns], [stride, 1])
    }

    /// Gives a matrix of a shape (rows, columns) with the strides of both.
    ///
    /// # Panics
    /// If `numbers` are too few.
    pub fn strided(numbers: &'a [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        assert!(reach(shape, strides) <= numbers.len(), "matrix");
        Self {
            numbers,
            rows: shape[0],
            columns: shape[1],
            row_stride: strides[0],
            column_stride: strides[1],
        }
    }

    /// Gives rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Gives up to `count` rows from `first` on.
    fn rows(self, first: usize, count: usize) -> Self {
        let first = first.min(self.rows);
        Self {
            numbers: &self.numbers[(first * self.row_stride).min(self.numbers.len())..],
            rows: count.min(self.rows - first),
            ..self
        }
    }

    /// Gives it as a matrix of faer's, if its rows or its columns lie in one piece each.
    fn lines(self) -> Option<MatRef<'a, f32>> {
        let Self {
            numbers,
            rows,
            columns,
            ..
        } = self;
        if self.column_stride == 1 {
            let stride = self.row_stride;
            Some(MatRef::from_row_major_slice_with_stride(
                numbers, rows, columns, stride,
            ))
        } else if self.row_stride == 1 {
            let stride = self.column_stride;
            Some(MatRef::from_column_major_slice_with_stride(
                numbers, rows, columns, stride,
            ))
        } else {
            None
        }
    }

    /// Gives its transpose.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            numbers: self.numbers,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// What becomes of the numbers that are there before a product is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// The product replaces them.
    Replaced,
    /// The product is added to them.
    Added,
}

/// Writes a · b to `output`, whose rows lie `stride` numbers apart, on the thread that asks.
///
/// # Panics
/// If the matrices do not fit each other, or `output` is too short.
pub fn product(output: &mut [f32], stride: usize, a: Matrix, b: Matrix, before: Before) {
    assert_eq!(a.columns, b.rows, "inner sizes");
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(n <= stride || m <= 1, "rows of the output overlap");
    assert!(reach([m, n], [stride, 1]) <= output.len(), "output");
    // Each where it is the faster one: gemm where the rows of the left matrix do not lie in one piece, as for the
    // gradients of weights.
    if let Some((a, b)) = a.lines().zip(b.lines()).filter(|_| a.column_stride == 1) {
        // By columns, and turned: faer 0.24.4 changes the strides where it is asked for rows.
        let output = MatMut::from_column_major_slice_with_stride_mut(output, n, m, stride.max(n))
            .transpose_mut();
        let before = match before {
            Before::Replaced => Accum::Replace,
            Before::Added => Accum::Add,
        };
        return faer::linalg::matmul::matmul(output, before, a, b, 1.0, Par::Seq);
    }
    #[expect(unsafe_code, reason = "gemm takes pointers")]
    // SAFETY: every element of a and b lies inside its slice, as they were made, and every element
    // of the output inside its own. No two elements of the output share
    // a place. The output is borrowed alone, so nothing else reads or writes it. Strides of slices
    // in memory fit an isize.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            stride as isize,
            before == Before::Added,
            a.numbers.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.numbers.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Gives a · b with `row` added to every row; an empty one is none. All threads work on it.
///
/// # Panics
/// If the matrices do not fit each other, or the row does not fit them.
pub fn product_and_row(a: Matrix, b: Matrix, row: &[f32]) -> Vec<f32> {
    let (m, n) = (a.rows, b.columns);
    assert!(row.is_empty() || row.len() == n, "row");
    let rows = rows_of_a_thread(a, b);
    let before = match row.is_empty() {
        true => Before::Replaced,
        false => Before::Added,
    };
    let (len, chunk) = (m * n, rows * n);
    in_parts(len, chunk, count(len, chunk), |part, output| {
        if before == Before::Added {
            let rows = output.chunks_exact_mut(n);
            rows.for_each(|output| output.copy_from_slice(row));
        }
        product(output, n, a.rows(part * rows, rows), b, before);
    })
}

/// Gives how many rows of a product one thread shall make: all of them where a second one would cost more than it
/// brings. The threads meet once for a product; those of libraries meet several times, and each time costs as much as a
/// small product.
fn rows_of_a_thread(a: Matrix, b: Matrix) -> usize {
    assert_eq!(a.columns, b.rows, "inner sizes");
    let (m, n, k) = (a.rows, b.columns, a.columns);
    let parts = rayon::current_num_threads().min(m / LEAST_ROWS);
    if parts < 2 || m * n * k < WORTH_SHARING {
        return m;
    }
    let mut rows = m.div_ceil(parts);
    // faer multiplies a single row in another order, and rounding must not depend on how many threads there are.
    while m % rows == 1 {
        rows += 1;
    }
    rows
}

/// Gives how many numbers a matrix reaches over.
fn reach(shape: [usize; 2], strides: [usize; 2]) -> usize {
    if shape.contains(&0) {
        return 0;
    }
    let far = |n: usize, stride: usize| (n - 1).checked_mul(stride).expect("strides");
    let last = far(shape[0], strides[0]).checked_add(far(shape[1], strides[1]));
    last.and_then(|last| last.checked_add(1)).expect("strides")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 37 % 23) as f32 - 11.0) / 8.0)
            .collect()
    }

    /// One number after the other.
    fn plain(a: Matrix, b: Matrix, i: usize, j: usize) -> f32 {
        let at = |x: Matrix, i: usize, j: usize| {
            f64::from(x.numbers[i * x.row_stride + j * x.column_stride])
        };
        let sum: f64 = (0..a.columns).map(|k| at(a, i, k) * at(b, k, j)).sum();
        sum as f32
    }

    #[test]
    fn products_of_any_strides_land_where_they_belong_and_nowhere_else() {
        for [m, k, n] in [[1, 1, 1], [3, 5, 7], [150, 130, 140]] {
            let (a, b) = (numbers(2 * m * k), numbers(2 * k * n));
            let lying = Matrix::of_rows(&a, m, k, 2 * k);
            let transposed = Matrix::of_rows(&a, k, m, 2 * m).transposed();
            let apart = Matrix::strided(&a, [m, k], [2, 2 * m]);
            let b = Matrix::of_rows(&b, k, n, 2 * n);
            for (a, before) in [
                (lying, Before::Replaced),
                (lying, Before::Added),
                (transposed, Before::Replaced),
                (transposed, Before::Added),
                (apart, Before::Added),
            ] {
                let stride = n + 2;
                let mut output = vec![3.0; m * stride];
                product(&mut output, stride, a, b, before);
                for (at, found) in output.iter().enumerate() {
                    let (i, j) = (at / stride, at % stride);
                    let expected = match before {
                        _ if j >= n => 3.0,
                        Before::Replaced => plain(a, b, i, j),
                        Before::Added => 3.0 + plain(a, b, i, j),
                    };
                    assert!((found - expected).abs() < 1e-3, "{m} {k} {n} {i} {j}");
                }
            }
        }
    }

    #[test]
    fn threads_share_a_product_whose_last_rows_are_fewer() {
        let (a, b) = (numbers(67 * 300), numbers(300 * 201));
        let (a, b) = (
            Matrix::of_rows(&a, 67, 300, 300),
            Matrix::of_rows(&b, 300, 201, 201),
        );
        let row = numbers(201);
        for (row, with) in [(&[][..], 0.0), (&row, 1.0)] {
            let output = product_and_row(a, b, row);
            assert_eq!(output.len(), 67 * 201);
            for (at, found) in output.iter().enumerate() {
                let added = with * row.get(at % 201).unwrap_or(&0.0);
                let expected = plain(a, b, at / 201, at % 201) + added;
                assert!((found - expected).abs() < 1e-3, "{at}");
            }
        }
    }

    #[test]
    fn rounding_does_not_depend_on_how_many_threads_there_are() {
        // Eighteen threads would have 17 rows each, and the last one of them a single row.
        let (m, k, n) = (290, 128, 64);
        let (a, b) = (numbers(m * k), numbers(k * n));
        // Thirds do not add up alike in every order.
        let [a, b] = [a, b].map(|x| x.iter().map(|x| x / 3.0).collect::<Vec<f32>>());
        let a = Matrix::of_rows(&a, m, k, k);
        let lying = Matrix::of_rows(&b, k, n, n);
        let transposed = Matrix::of_rows(&b, n, k, k).transposed();
        let by = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let both = || [lying, transposed].map(|b| product_and_row(a, b, &[]));
            pool.build().expect("threads").install(both)
        };
        let alone = by(1);
        for threads in [2, 3, 18] {
            assert!(by(threads) == alone, "{threads}");
        }
    }

    #[test]
    #[should_panic = "matrix"]
    fn a_matrix_that_reaches_beyond_its_slice_is_refused() {
        let _ = Matrix::strided(&[0.0; 11], [3, 4], [4, 1]);
    }

    #[test]
    #[should_panic = "output"]
    fn an_output_that_is_too_short_is_refused() {
        let a = [0.0; 6];
        let (a, b) = (Matrix::of_rows(&a, 2, 3, 3), Matrix::of_rows(&a, 3, 2, 2));
        product(&mut [0.0; 3], 2, a, b, Before::Replaced);
    }
}
