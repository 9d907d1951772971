//! The seam meter: whether a picture jumps where its parts meet.
//!
//! A jump is the mean difference over the three channels between two pixels side by side; colors
//! part at seams as well as brightness. Jumps across borders are set against jumps inside: 1 means
//! that the borders cannot be told from the rest. Columns and rows are weighed apart, since a
//! horizon is rougher from top to bottom than from left to right. Rows come one after the other,
//! so memory does not grow with the height.

use std::fmt;
use std::ops::Range;

use nuwa_model::patch::TokenSize;
use nuwa_model::vqgan::tiled::Tiling;

use crate::canvas;
use crate::model_run::RIM;
use crate::task::{Layout, PointPx};

/// For each column and row of a picture whether a border runs before it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lines {
    columns: Vec<bool>,
    rows: Vec<bool>,
}

impl Lines {
    /// Marks columns and rows; those outside, and the first ones, are no borders.
    fn new(
        layout: &Layout,
        columns: impl Iterator<Item = isize>,
        rows: impl Iterator<Item = isize>,
    ) -> Self {
        let mark = |side: usize, places: &mut dyn Iterator<Item = isize>| {
            let mut marks = vec![false; side];
            for place in places {
                let place = usize::try_from(place).ok().filter(|&place| place > 0);
                if let Some(mark) = place.and_then(|place| marks.get_mut(place)) {
                    *mark = true;
                }
            }
            marks
        };
        let (mut columns, mut rows) = (columns, rows);
        Self {
            columns: mark(layout.size.w, &mut columns),
            rows: mark(layout.size.h, &mut rows),
        }
    }
}

/// Where the parts of a painting meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Borders {
    patches: Lines,
    windows: Lines,
}

impl Borders {
    /// Gives the borders of a painting's patches, and of the windows in which it is decoded.
    pub fn new(layout: &Layout, patch: TokenSize, tiling: &Tiling) -> Self {
        let size = layout.tokens();
        let column = |w: usize| layout.pixel_of(0, w).0;
        let row = |h: usize| layout.pixel_of(h, 0).1;
        // Decoding begins a rim before the grid. In the middle of each fade no window leads.
        let whole = [size.h, size.w].map(|side| side + 2 * RIM);
        let along = canvas::sweep(layout).axis();
        let [rows, columns] = tiling.fitted(whole).cuts(whole, along);
        let starts = |spans: Vec<Range<usize>>| {
            let spans = spans.into_iter().skip(1);
            spans.filter_map(|span| span.start.checked_sub(RIM))
        };
        let of_patches = |side: usize, patch: usize| (0..side).step_by(patch);
        Self {
            patches: Lines::new(
                layout,
                of_patches(size.w, patch.w).map(column),
                of_patches(size.h, patch.h).map(row),
            ),
            windows: Lines::new(layout, starts(columns).map(column), starts(rows).map(row)),
        }
    }
}

/// Jumps of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    jump: u64,
    n_pairs: u64,
}

impl Sum {
    fn add(&mut self, jump: u64) {
        self.jump += jump;
        self.n_pairs += 1;
    }

    fn with(self, other: Self) -> Self {
        Self {
            jump: self.jump + other.jump,
            n_pairs: self.n_pairs + other.n_pairs,
        }
    }
}

/// Jumps along one axis.
#[derive(Debug, Clone, Copy, Default)]
struct Jumps {
    /// Between painted pixels away from every border.
    inside: Sum,
    /// Between given pixels.
    given: Sum,
    patches: Sum,
    windows: Sum,
    /// From a given pixel to a painted one.
    rim: Sum,
}

impl Jumps {
    fn add(&mut self, jump: u64, are_given: [bool; 2], is_patch: bool, is_window: bool) {
        match are_given {
            [true, true] => self.given.add(jump),
            [false, false] => {
                if is_patch {
                    self.patches.add(jump);
                }
                if is_window {
                    self.windows.add(jump);
                }
                if !is_patch && !is_window {
                    self.inside.add(jump);
                }
            }
            _ => self.rim.add(jump),
        }
    }
}

/// How much a picture jumps at its borders, in units of what it jumps inside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seams {
    /// Between painted patches, against inside them; nothing where no two meet.
    pub patches: Option<f64>,
    /// Where the windows of decoding meet, against inside patches and windows.
    pub windows: Option<f64>,
    /// Around what was given, against painted and given parts together.
    pub given: Option<f64>,
}

impl fmt::Display for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("patches", self.patches),
            ("windows", self.windows),
            ("given picture", self.given),
        ];
        let found = kinds
            .into_iter()
            .filter_map(|(name, ratio)| Some((name, ratio?)));
        let found: Vec<_> = found
            .map(|(name, ratio)| format!("{name} {ratio:.2}"))
            .collect();
        match found.is_empty() {
            true => f.write_str("none, it is one piece"),
            false => f.write_str(&found.join(", ")),
        }
    }
}

/// Measures a picture row by row.
pub struct SeamMeter<'a> {
    borders: Borders,
    is_given: &'a dyn Fn(PointPx) -> bool,
    across: Jumps,
    down: Jumps,
    y: usize,
    above: (Vec<u8>, Vec<bool>),
}

impl<'a> SeamMeter<'a> {
    /// Begins with no rows. `is_given` tells which pixels were not painted.
    pub fn new(borders: Borders, is_given: &'a dyn Fn(PointPx) -> bool) -> Self {
        Self {
            borders,
            is_given,
            across: Jumps::default(),
            down: Jumps::default(),
            y: 0,
            above: (Vec::new(), Vec::new()),
        }
    }

    /// Takes the next rows, three bytes per pixel.
    ///
    /// # Panics
    /// When the rows are not whole or more than the picture has.
    pub fn add_rows(&mut self, rgb: &[u8]) {
        let row_bytes = 3 * self.borders.patches.columns.len();
        assert_eq!(rgb.len() % row_bytes, 0, "whole rows");
        rgb.chunks_exact(row_bytes)
            .for_each(|row| self.add_row(row));
    }

    fn add_row(&mut self, row: &[u8]) {
        let (Borders { patches, windows }, y) = (&self.borders, self.y);
        let n = patches.columns.len();
        let given: Vec<bool> = (0..n).map(|x| (self.is_given)(PointPx { x, y })).collect();
        let jump = |a: &[u8], b: &[u8]| -> u64 {
            let pairs = a.iter().zip(b);
            pairs.map(|(&a, &b)| u64::from(a.abs_diff(b))).sum()
        };
        let pixel = |x: usize| 3 * x..3 * x + 3;
        for x in 1..n {
            let size = jump(&row[pixel(x - 1)], &row[pixel(x)]);
            let are_given = [given[x - 1], given[x]];
            self.across
                .add(size, are_given, patches.columns[x], windows.columns[x]);
        }
        if y > 0 {
            let (above, given_above) = &self.above;
            for x in 0..n {
                let size = jump(&above[pixel(x)], &row[pixel(x)]);
                let are_given = [given_above[x], given[x]];
                self.down
                    .add(size, are_given, patches.rows[y], windows.rows[y]);
            }
        }
        self.above = (row.to_vec(), given);
        self.y += 1;
    }

    /// Gives what was measured.
    pub fn seams(&self) -> Seams {
        Seams {
            patches: self.ratio(|jumps| (jumps.patches, jumps.inside)),
            windows: self.ratio(|jumps| (jumps.windows, jumps.inside)),
            given: self.ratio(|jumps| (jumps.rim, jumps.inside.with(jumps.given))),
        }
    }

    /// Gives the jumps at borders over those that as many pairs make inside.
    fn ratio(&self, parts: fn(&Jumps) -> (Sum, Sum)) -> Option<f64> {
        let (mut found, mut expected) = (0.0, 0.0);
        let mut n_pairs = 0;
        for (border, inside) in [parts(&self.across), parts(&self.down)] {
            if inside.n_pairs > 0 {
                n_pairs += border.n_pairs;
                found += border.jump as f64;
                expected += border.n_pairs as f64 * (inside.jump as f64 / inside.n_pairs as f64);
            }
        }
        match (n_pairs, found > 0.0) {
            (0, _) => None,
            // A flat picture without a seam; with one the ratio has no end.
            (_, false) => Some(if expected > 0.0 { 0.0 } else { 1.0 }),
            _ => Some(found / expected),
        }
    }
}

#[cfg(test)]
mod tests {
    use nuwa_data::Picture;
    use nuwa_model::patch::Extent;

    use super::*;
    use crate::task::{RegionPx, Scale, SizePx};

    const PATCH: TokenSize = TokenSize { f: 1, h: 4, w: 4 };
    const SIZE: SizePx = SizePx { w: 150, h: 100 };
    /// Of the given picture: the grid sticks out by 12 columns and 4 rows.
    const GIVEN: RegionPx = RegionPx {
        at: PointPx { x: 20, y: 28 },
        size: SizePx { w: 40, h: 30 },
    };

    fn layout() -> Layout {
        let scale = Scale {
            stride: 8,
            patch: PATCH,
            extent: Extent { w: 1, h: 1, f: 0 },
        };
        Layout::new(SIZE, GIVEN.at, scale).expect("fits")
    }

    /// Noise that jumps more from row to row, with `step` added where `is_high` says.
    fn noise(step: u8, is_high: impl Fn(usize, usize) -> bool) -> Picture {
        let byte = |x: usize, y: usize| {
            let n = (x + 1000 * y) as u64;
            let drawn = n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
            let drawn = (drawn.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 60) as u8;
            100 + drawn + 32 * (y % 2) as u8
        };
        let place = |at: usize| (at % SIZE.w, at / SIZE.w);
        let value = |(x, y): (usize, usize)| byte(x, y) + if is_high(x, y) { step } else { 0 };
        let pixels = (0..SIZE.w * SIZE.h).map(place).map(value);
        Picture::new(
            SIZE.w,
            SIZE.h,
            pixels.flat_map(|value| [value; 3]).collect(),
        )
    }

    fn measured(picture: &Picture, is_given: &dyn Fn(PointPx) -> bool) -> Seams {
        let tiling = Tiling {
            window: 6,
            whole: 0,
            most: 0,
            ..Tiling::of_stride(8)
        };
        let mut meter = SeamMeter::new(Borders::new(&layout(), PATCH, &tiling), is_given);
        for rows in picture.rgb().chunks(3 * SIZE.w * 7) {
            meter.add_rows(rows);
        }
        meter.seams()
    }

    fn is_about(ratio: Option<f64>, expected: f64) -> bool {
        ratio.is_some_and(|ratio| (ratio / expected - 1.0).abs() < 0.15)
    }

    fn is_inside(PointPx { x, y }: PointPx) -> bool {
        (20..60).contains(&x) && (28..58).contains(&y)
    }

    #[test]
    fn noise_has_no_seams() {
        let seams = measured(&noise(0, |_, _| false), &is_inside);
        for ratio in [seams.patches, seams.windows, seams.given] {
            assert!(is_about(ratio, 1.0), "{seams:?}");
        }
    }

    #[test]
    fn a_step_between_patches_is_seen_there_and_only_there() {
        let is_high = |x: usize, y: usize| ((x + 12) / 32 + (y + 4) / 32).is_multiple_of(2);
        let seams = measured(&noise(60, is_high), &|_| false);
        assert!(seams.patches.is_some_and(|ratio| ratio > 2.5), "{seams:?}");
        assert!(seams.windows.is_some_and(|ratio| ratio < 1.8), "{seams:?}");
        assert_eq!(seams.given, None);
    }

    #[test]
    fn a_step_around_what_was_given_is_no_seam_between_patches() {
        let is_high = |x: usize, y: usize| is_inside(PointPx { x, y });
        let seams = measured(&noise(80, is_high), &is_inside);
        assert!(seams.given.is_some_and(|ratio| ratio > 3.0), "{seams:?}");
        assert!(is_about(seams.patches, 1.0), "{seams:?}");
    }

    #[test]
    fn flat_pictures_and_single_pieces_are_told_apart() {
        let flat = Picture::filled(SIZE.w, SIZE.h, [9; 3]);
        assert_eq!(measured(&flat, &|_| false).patches, Some(1.0));
        let stepped = measured(
            &Picture::new(
                SIZE.w,
                SIZE.h,
                (0..3 * SIZE.w * SIZE.h)
                    .map(|at| if at / 3 % SIZE.w < 20 { 0 } else { 9 })
                    .collect(),
            ),
            &|_| false,
        );
        assert_eq!(stepped.patches, Some(f64::INFINITY));
        let all_given = measured(&flat, &|_| true);
        assert_eq!(all_given.to_string(), "none, it is one piece");
    }
}
