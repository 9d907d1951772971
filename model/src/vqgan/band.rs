//! Rectangles of a picture on the host, put together from overlapping tiles.

use std::ops::Range;

/// A finished rectangle of a picture, or of latents.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// First row and column.
    pub start: [usize; 2],
    /// Rows and columns.
    pub size: [usize; 2],
    /// Values `[c, h, w]`, not clamped.
    pub values: Vec<f32>,
}

impl Band {
    pub(super) fn zeros(start: [usize; 2], size: [usize; 2], channels: usize) -> Self {
        Self {
            start,
            size,
            values: vec![0.0; channels * size[0] * size[1]],
        }
    }

    /// A rectangle of zeros, with what was carried over from the band before.
    pub(super) fn of(reach: &[Range<usize>; 2], channels: usize, carried: Option<&Band>) -> Self {
        let mut band = Self::zeros(
            [reach[0].start, reach[1].start],
            [reach[0].len(), reach[1].len()],
            channels,
        );
        if let Some(carried) = carried {
            band.paste(carried);
        }
        band
    }

    fn channels(&self) -> usize {
        self.values.len() / (self.size[0] * self.size[1]).max(1)
    }

    /// Copies the values of a rectangle inside this one.
    pub(super) fn paste(&mut self, part: &Band) {
        for channel in 0..part.channels() {
            for row in 0..part.size[0] {
                let from = (channel * part.size[0] + row) * part.size[1];
                let to = self.index(channel, [part.start[0] + row, part.start[1]]);
                self.values[to..to + part.size[1]]
                    .copy_from_slice(&part.values[from..from + part.size[1]]);
            }
        }
    }

    /// Adds the weighed values of a tile where they fall inside this rectangle.
    pub(super) fn blend(
        &mut self,
        tile: &[f32],
        place: &[Range<usize>; 2],
        weights: &[Vec<f32>; 2],
    ) {
        let [rows, columns] = place;
        let channels = self.channels();
        let row_end = rows.end.min(self.start[0] + self.size[0]);
        let column_start = columns.start.max(self.start[1]);
        let column_end = columns.end.min(self.start[1] + self.size[1]);
        for channel in 0..channels {
            for row in rows.start.max(self.start[0])..row_end {
                let weight = weights[0][row - rows.start];
                let skip = column_start - columns.start;
                let from = (channel * rows.len() + row - rows.start) * columns.len() + skip;
                let to = self.index(channel, [row, column_start]);
                let width = column_end - column_start;
                let sums = &mut self.values[to..to + width];
                let added = tile[from..from + width].iter().zip(&weights[1][skip..]);
                for (sum, (value, share)) in sums.iter_mut().zip(added) {
                    *sum += value * (share * weight);
                }
            }
        }
    }

    /// Cuts at a row (axis 0) or column (axis 1) of the picture.
    pub(super) fn split(&self, axis: usize, at: usize) -> (Band, Band) {
        let cut = |range: Range<usize>| {
            let mut part = [0, 1].map(|axis| self.start[axis]..self.start[axis] + self.size[axis]);
            part[axis] = range;
            self.crop(&part)
        };
        (
            cut(self.start[axis]..at),
            cut(at..self.start[axis] + self.size[axis]),
        )
    }

    fn crop(&self, part: &[Range<usize>; 2]) -> Band {
        let mut values = Vec::with_capacity(self.channels() * part[0].len() * part[1].len());
        for channel in 0..self.channels() {
            for row in part[0].clone() {
                let from = self.index(channel, [row, part[1].start]);
                values.extend_from_slice(&self.values[from..from + part[1].len()]);
            }
        }
        let start = [part[0].start, part[1].start];
        Band {
            start,
            size: [part[0].len(), part[1].len()],
            values,
        }
    }

    fn index(&self, channel: usize, place: [usize; 2]) -> usize {
        let [row, column] = [place[0] - self.start[0], place[1] - self.start[1]];
        (channel * self.size[0] + row) * self.size[1] + column
    }
}
