//! A picture made smaller while its rows come in, so that it is never in memory.
//!
//! Own code: the crates that resize take whole pictures. Each row is first brought to its new
//! width and then added to the new rows it belongs to; as many of these are open at a time as the
//! filter is high, which is about six.

use std::collections::VecDeque;
use std::f64::consts::PI;

/// Lobes of the Lanczos filter, as in [`Picture::resize`](crate::Picture::resize).
const LOBES: f64 = 3.0;

/// The old pixels that a new one is made of.
#[derive(Debug, Clone)]
struct Weights {
    first: usize,
    weights: Vec<f32>,
}

/// Takes rows from the top and gives fewer rows.
#[derive(Debug)]
pub(super) struct Resampler {
    across: Vec<Weights>,
    down: Vec<Weights>,
    /// Rows that have come in.
    taken: usize,
    /// The first new row that is not complete, and what there is of it and of those after it.
    first: usize,
    open: VecDeque<Vec<f32>>,
    row: Vec<f32>,
}

impl Resampler {
    /// For pictures of size `from`, width first, to be brought to size `to`.
    ///
    /// # Panics
    ///
    /// If a side is 0.
    pub(super) fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        Self {
            across: weights(from.0, to.0),
            down: weights(from.1, to.1),
            taken: 0,
            first: 0,
            open: VecDeque::new(),
            row: vec![0.0; 3 * to.0],
        }
    }

    /// Takes the next row and hands on each row that it completes, three bytes per pixel.
    ///
    /// # Panics
    ///
    /// If the row has another length, or there are more rows than were announced.
    pub(super) fn push<E>(
        &mut self,
        rgb: &[u8],
        mut give: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let y = self.taken;
        self.taken += 1;
        for (pixel, Weights { first, weights }) in self.row.chunks_exact_mut(3).zip(&self.across) {
            let mut sum = [0.0; 3];
            let old = rgb[3 * first..3 * (first + weights.len())].chunks_exact(3);
            for (color, weight) in old.zip(weights) {
                (0..3).for_each(|part| sum[part] += f32::from(color[part]) * weight);
            }
            pixel.copy_from_slice(&sum);
        }
        // New rows that begin with this one.
        while let Some(next) = self.down.get(self.first + self.open.len()) {
            if next.first > y {
                break;
            }
            self.open.push_back(vec![0.0; self.row.len()]);
        }
        for (new, weights) in self.open.iter_mut().zip(&self.down[self.first..]) {
            let Some(&weight) = weights.weights.get(y - weights.first) else {
                continue;
            };
            for (sum, part) in new.iter_mut().zip(&self.row) {
                *sum += weight * part;
            }
        }
        while self
            .down
            .get(self.first)
            .is_some_and(|it| it.first + it.weights.len() == y + 1)
        {
            let new = self
                .open
                .pop_front()
                .expect("it was begun by its first row");
            self.first += 1;
            // A cast from float clamps.
            let bytes: Vec<u8> = new.iter().map(|part| part.round() as u8).collect();
            give(&bytes)?;
        }
        Ok(())
    }
}

/// The old pixels of every new one, for one side.
fn weights(from: usize, to: usize) -> Vec<Weights> {
    assert!(from > 0 && to > 0, "from {from} to {to} pixels");
    let scale = from as f64 / to as f64;
    // A filter narrower than a pixel would leave some out.
    let stretch = scale.max(1.0);
    let weights = |new: usize| {
        let middle = (new as f64 + 0.5) * scale;
        let first = (middle - LOBES * stretch).floor().max(0.0) as usize;
        let last = ((middle + LOBES * stretch).ceil() as usize).min(from);
        let weight = |old: usize| lanczos((old as f64 + 0.5 - middle) / stretch);
        let weights: Vec<f64> = (first..last).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        Weights {
            first,
            weights: weights
                .into_iter()
                .map(|weight| (weight / sum) as f32)
                .collect(),
        }
    };
    (0..to).map(weights).collect()
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| {
        if x == 0.0 {
            1.0
        } else {
            (PI * x).sin() / (PI * x)
        }
    };
    if x.abs() < LOBES {
        sinc(x) * sinc(x / LOBES)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Picture;

    #[test]
    fn rows_come_out_as_the_whole_picture_would() {
        let byte = |at: usize| {
            let (x, y) = (at / 3 % 97, at / 3 / 97);
            (128.0 + 70.0 * (x as f64 / 5.0).sin() + 50.0 * (y as f64 / 7.0).cos()) as u8
        };
        let picture = Picture::new(97, 83, (0..3 * 97 * 83).map(byte).collect());
        for (w, h) in [(48, 41), (97, 83), (13, 80), (31, 7), (1, 1), (120, 90)] {
            let mut resampler = Resampler::new((97, 83), (w, h));
            let (mut rgb, mut most_open) = (Vec::new(), 0);
            for row in picture.rgb().chunks_exact(3 * 97) {
                let give = |row: &[u8]| {
                    rgb.extend_from_slice(row);
                    Ok::<(), ()>(())
                };
                resampler.push(row, give).unwrap();
                most_open = most_open.max(resampler.open.len());
            }
            assert_eq!(rgb.len(), 3 * w * h, "{w}x{h}");
            let whole = picture.resize(w, h);
            let most = rgb
                .iter()
                .zip(whole.rgb())
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            assert!(most.unwrap() <= 2, "{w}x{h}: {most:?}");
            assert!(most_open <= 8, "{w}x{h}: {most_open} rows at a time");
        }
    }
}
