//! Where the windows of a [`Tiling`] lie, and how much each counts.

use std::ops::Range;

use super::moments::Core;

/// Where the windows take the moments of group normalization from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// From themselves: one pass; windows of unlike content differ in color and contrast.
    PerWindow,
    /// From at most this many windows spread over a [stretch](Tiling::stretch) of the picture, as if
    /// they were all of it: two passes, the first over those windows together.
    Sampled(usize),
    /// From the whole picture: one pass per normalization, each up to that one.
    Exact,
}

/// How a picture is cut into windows; all lengths in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Largest side of the part of the picture that a window stands for, margins not counted; those
    /// that are not sampled may be larger, by [`most`](Self::most).
    pub window: usize,
    /// How far to each side of a seam the two windows fade into each other; at most a quarter of
    /// `window`.
    pub blend: usize,
    /// How far beyond that a window is computed and thrown away.
    pub margin: usize,
    /// Where the moments of group normalization come from.
    pub statistics: Statistics,
    /// Tokens up to which the picture is one window.
    pub whole: usize,
    /// Along how many windows of the long side a picture has moments of its own, if they are sampled;
    /// between the middles of two stretches they pass from one to the other. What is longer may so be
    /// decoded before all of it is known, and be night at one end and day at the other.
    pub stretch: usize,
    /// Tokens, margins with them, up to which windows may be larger if they are not sampled: the less
    /// of a picture is margin, the less is computed twice. They take no more than the windows that
    /// are sampled together do.
    pub most: usize,
}

impl Default for Tiling {
    /// Windows of 640 px at stride 16, of which 512 px are new.
    fn default() -> Self {
        Self {
            window: 32,
            blend: 1,
            margin: 3,
            statistics: Statistics::Sampled(8),
            whole: 0,
            stretch: Self::STRETCH,
            most: 0,
        }
    }
}

/// A rectangle of the token grid that is computed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First row and column.
    pub start: [usize; 2],
    /// Rows and columns.
    pub size: [usize; 2],
    pub(super) core: Core,
}

impl Tiling {
    /// Tokens beyond which what a window does not see cannot be seen in it either, as good as.
    pub const MARGIN: usize = 6;

    /// 8192 pixels by windows of 256.
    const STRETCH: usize = 32;

    /// Gives windows of 256 pixels, what one-shot VQGANs are trained on, or of 16 tokens where that
    /// is more, which are computed with margins wide enough that no seam is seen. Pictures no larger
    /// than the windows that are sampled together are computed at once: that takes no more memory,
    /// a fraction of the time, and is exact.
    pub fn of_stride(stride: usize) -> Self {
        const SAMPLED: usize = 8;
        // Attention takes the square of them: 256 MiB.
        const MOST_ATTENDED: usize = 8192;
        // From about here on attention costs what is saved at margins.
        const MOST: usize = 4096;
        let (window, blend, margin) = ((256 / stride).max(16), 2, Self::MARGIN);
        Self {
            window,
            blend,
            margin,
            statistics: Statistics::Sampled(SAMPLED),
            whole: MOST_ATTENDED.min(SAMPLED * (window + 2 * (blend + margin)).pow(2)),
            stretch: Self::STRETCH,
            most: MOST,
        }
    }

    /// Gives the tiling for a picture of this size, rows and columns: with one window if it is small
    /// enough.
    pub fn fitted(&self, size: [usize; 2]) -> Self {
        let [h, w] = size;
        match h.saturating_mul(w) <= self.whole {
            true => Self {
                window: h.max(w).max(1),
                ..*self
            },
            false => *self,
        }
    }

    /// Gives at most `count` windows, spread evenly over those that make up the picture, and all of
    /// one size: at the picture's border they reach further inwards.
    pub(super) fn samples(&self, size: [usize; 2], count: usize) -> Vec<Window> {
        let spans = [0, 1].map(|axis| self.spans(size[axis]));
        let [n_rows, n_columns] = [spans[0].len(), spans[1].len()];
        let share = (count as f64 * n_rows as f64 / n_columns as f64).sqrt();
        let rows = (share.round() as usize).clamp(1, n_rows).min(count.max(1));
        let columns = (count / rows).clamp(1, n_columns);
        // Evenly, from the first to the last; a single one from the middle.
        let pick = |n: usize, of: usize, from: usize| match of {
            1 => from / 2,
            _ => n * (from - 1) / (of - 1),
        };
        let around = self.blend + self.margin;
        let side = |axis: usize| {
            let longest = spans[axis].iter().map(Range::len).max().unwrap_or(0);
            size[axis].min(longest + 2 * around)
        };
        let extent = [side(0), side(1)];
        let window = |n: usize| {
            let cells = [
                &spans[0][pick(n / columns, rows, n_rows)],
                &spans[1][pick(n % columns, columns, n_columns)],
            ];
            let start = [0, 1].map(|axis| {
                let first = cells[axis].start.saturating_sub(around);
                first.min(size[axis] - extent[axis])
            });
            Window::around(cells, start, extent)
        };
        (0..rows * columns).map(window).collect()
    }

    /// Cuts a length into parts of about equal size that a window may stand for.
    pub fn spans(&self, length: usize) -> Vec<Range<usize>> {
        equal_parts(length, length.div_ceil(self.window))
    }

    /// Cuts a picture into the rows and columns of its windows, so that as little as can be is
    /// computed twice. Along the axis of the sweep they are as long as they may be.
    pub fn cuts(&self, size: [usize; 2], along: usize) -> [Vec<Range<usize>>; 2] {
        let plain = size.map(|side| self.spans(side));
        let Statistics::Sampled(count) = self.statistics else {
            return plain;
        };
        if plain.iter().all(|spans| spans.len() <= 1) {
            return plain;
        }
        let around = 2 * (self.blend + self.margin);
        let most = self.most.min(count * (self.window + around).pow(2));
        let across = 1 - along;
        // A window and its margins, if the other axis is cut into so many parts.
        let length = |parts: usize| {
            let deep = size[across].div_ceil(parts) + if parts > 1 { around } else { 0 };
            let long = match most / deep.max(1) {
                room if room >= size[along] => size[along],
                room => room.checked_sub(around)?,
            };
            let each = deep * size[along].min(long + around);
            let computed = parts * size[along].div_ceil(long.max(1)) * each;
            // Fades must not meet.
            (long >= 4 * self.blend.max(1)).then_some((computed, parts, long))
        };
        let most_parts = size[across].div_ceil(4 * self.blend.max(1));
        let Some((_, parts, long)) = (1..=most_parts).filter_map(length).min() else {
            return plain;
        };
        let mut cuts = plain;
        cuts[across] = equal_parts(size[across], parts);
        cuts[along] = equal_parts(size[along], size[along].div_ceil(long));
        cuts
    }

    /// Cuts a length into the parts that have moments of their own.
    pub fn stretches(&self, length: usize) -> Vec<Range<usize>> {
        let parts = match self.statistics {
            Statistics::Sampled(_) => length.div_ceil(self.window * self.stretch.max(1)),
            Statistics::PerWindow | Statistics::Exact => 1,
        };
        equal_parts(length, parts)
    }

    pub(super) fn windows(&self, size: [usize; 2]) -> Vec<Window> {
        let columns = self.spans(size[1]);
        let of_rows = |rows: &Range<usize>| {
            let window = |column| self.window_of(size, &[rows.clone(), column]);
            columns.iter().cloned().map(window).collect::<Vec<_>>()
        };
        self.spans(size[0]).iter().flat_map(of_rows).collect()
    }

    pub(super) fn window_of(&self, size: [usize; 2], core: &[Range<usize>; 2]) -> Window {
        let around = self.blend + self.margin;
        let start = [0, 1].map(|axis| core[axis].start.saturating_sub(around));
        let end = [0, 1].map(|axis| size[axis].min(core[axis].end + around));
        let extent = [0, 1].map(|axis| end[axis] - start[axis]);
        Window::around(core.each_ref(), start, extent)
    }

    /// Gives where along one axis a window has any weight.
    pub(super) fn seen(&self, length: usize, core: &Range<usize>) -> Range<usize> {
        core.start.saturating_sub(self.blend)..length.min(core.end + self.blend)
    }

    /// Gives the weight of a window along one axis, for each place it covers.
    ///
    /// Two neighbors fade linearly around their seam; their weights add up to one.
    pub(super) fn fade(&self, length: usize, core: &Range<usize>, scale: usize) -> Vec<f32> {
        let around = self.blend + self.margin;
        let covered = core.start.saturating_sub(around)..length.min(core.end + around);
        let blend = (self.blend * scale) as f32;
        // Share of the window that begins at the seam.
        let risen = |place: usize, seam: usize| {
            let past = place as f32 + 0.5 - (seam * scale) as f32;
            ((past + blend) / (2.0 * blend).max(f32::EPSILON)).clamp(0.0, 1.0)
        };
        let weight = |place| {
            let rise = if core.start > 0 {
                risen(place, core.start)
            } else {
                1.0
            };
            let fall = if core.end < length {
                1.0 - risen(place, core.end)
            } else {
                1.0
            };
            rise * fall
        };
        (covered.start * scale..covered.end * scale)
            .map(weight)
            .collect()
    }
}

fn equal_parts(length: usize, parts: usize) -> Vec<Range<usize>> {
    (0..parts)
        .map(|n| n * length / parts..(n + 1) * length / parts)
        .collect()
}

impl Window {
    /// Gives the window at `start` that stands for a cell of the picture.
    fn around(cell: [&Range<usize>; 2], start: [usize; 2], size: [usize; 2]) -> Self {
        let core = Core {
            of: size,
            start: [0, 1].map(|axis| cell[axis].start - start[axis]),
            size: [0, 1].map(|axis| cell[axis].len()),
        };
        Self { start, size, core }
    }

    pub(super) fn range(&self, axis: usize) -> Range<usize> {
        self.start[axis]..self.start[axis] + self.size[axis]
    }

    pub(super) fn scaled(&self, scale: usize) -> [Range<usize>; 2] {
        [0, 1].map(|axis| self.range(axis).start * scale..self.range(axis).end * scale)
    }
}
