//! Vectors that all threads fill together.

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// Makes a vector of `len` numbers, in parts of `chunk`, one for each of `items`: `work` gets an item, and zeros.
///
/// The thread that works on a part also clears it. A large vector made of zeros beforehand is cleared by one thread
/// while all others wait, and is out of the caches again when they begin: a tenth of a small training step.
///
/// # Panics
/// If there are not as many items as parts.
#[expect(
    unsafe_code,
    reason = "there is no safe way yet to fill room and to say that all of it was filled"
)]
pub(crate) fn in_parts<T: Send>(
    len: usize,
    chunk: usize,
    items: impl IndexedParallelIterator<Item = T>,
    work: impl Fn(T, &mut [f32]) + Sync,
) -> Vec<f32> {
    let chunk = chunk.max(1);
    assert_eq!(items.len(), len.div_ceil(chunk), "items");
    let mut numbers = Vec::with_capacity(len);
    let parts = numbers.spare_capacity_mut()[..len].par_chunks_mut(chunk);
    items.zip(parts).for_each(|(item, numbers)| {
        numbers.fill(MaybeUninit::new(0.0));
        // SAFETY: the line before wrote every number.
        let numbers = unsafe { numbers.assume_init_mut() };
        work(item, numbers);
    });
    // SAFETY: the parts are the first `len` places of the vector's room, which has at least as many. There is an item for
    // each, so each was filled; had a thread panicked before it came to that, so would this one have.
    unsafe {
        numbers.set_len(len);
    }
    numbers
}

/// Gives the number of each part, for who needs no more to work on it.
pub(crate) fn count(len: usize, chunk: usize) -> impl IndexedParallelIterator<Item = usize> {
    (0..len.div_ceil(chunk.max(1))).into_par_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_zeros_and_come_in_order_whatever_is_left_for_the_last_one() {
        for (len, chunk) in [(0_usize, 0_usize), (0, 3), (1, 0), (7, 3), (6, 3), (5, 100)] {
            let found = in_parts(len, chunk, count(len, chunk), |part, numbers| {
                for (n, number) in numbers.iter_mut().enumerate() {
                    *number += (part * chunk + n) as f32;
                }
            });
            let expected: Vec<f32> = (0..len).map(|n| n as f32).collect();
            assert_eq!(found, expected, "{len} in {chunk}");
        }
    }

    #[test]
    #[should_panic = "items"]
    fn no_part_may_be_without_an_item() {
        in_parts(7, 3, count(6, 3), |_, _| ());
    }
}
