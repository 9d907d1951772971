//! A picture made band by band, from windows that fade into each other.

use std::collections::BTreeMap;
use std::mem::take;
use std::ops::Range;

use burn::tensor::Tensor;

use super::band::Band;
use super::moments::{Moments, Norms};
use super::tiling::{Statistics, Tiling, Window};

/// The axis along which finished bands come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Bands of whole rows, from the top; memory grows with the width.
    Down,
    /// Bands of whole columns, from the left; memory grows with the height.
    Right,
}

impl Sweep {
    /// Gives the axis, 0 for rows.
    pub fn axis(self) -> usize {
        match self {
            Self::Down => 0,
            Self::Right => 1,
        }
    }
}

/// The way through the windows of a picture, and how far it has been gone. Lengths are in tokens.
#[derive(Debug)]
pub struct Bands {
    tiling: Tiling,
    size: [usize; 2],
    channels: usize,
    /// Values per token and axis.
    scale: usize,
    /// The axis of the sweep, and the other one.
    along: usize,
    /// What the windows stand for along the sweep, and across it.
    spans: Vec<Range<usize>>,
    across: Vec<Range<usize>>,
    /// Parts along the sweep that have moments of their own.
    stretches: Vec<Range<usize>>,
    /// The moments that are still needed, by stretch.
    moments: BTreeMap<usize, Vec<Moments>>,
    /// The next of the spans.
    next: usize,
    /// What the next window still adds to.
    carried: Option<Band>,
}

impl Bands {
    pub(super) fn new(
        tiling: &Tiling,
        size: [usize; 2],
        [channels, scale]: [usize; 2],
        sweep: Sweep,
    ) -> Self {
        let tiling = tiling.fitted(size);
        let along = sweep.axis();
        let mut cuts = tiling.cuts(size, along);
        let (spans, across) = (take(&mut cuts[along]), take(&mut cuts[1 - along]));
        Self {
            tiling,
            size,
            channels,
            scale,
            along,
            spans,
            across,
            stretches: tiling.stretches(size[along]),
            moments: BTreeMap::new(),
            next: 0,
            carried: None,
        }
    }

    /// Tells up to which row or column the next band depends on tokens; nothing after the last band.
    pub fn needs(&self) -> Option<usize> {
        let span = self.spans.get(self.next)?;
        let (_, after, _) = self.neighbors(span);
        let seen = span.end + self.tiling.blend + self.tiling.margin;
        let moments = match self.tiling.statistics {
            Statistics::PerWindow => 0,
            Statistics::Sampled(_) | Statistics::Exact => self.stretches[after].end,
        };
        Some(seen.max(moments).min(self.size[self.along]))
    }

    /// Makes the next band. `pass` computes windows.
    ///
    /// `wanted` is asked for each window whether anything of it is looked at: it gets the rows and
    /// columns of tokens in whose values the window is seen. Elsewhere the band is zero.
    ///
    /// # Errors
    /// The first error of `pass`.
    pub(super) fn next<E>(
        &mut self,
        wanted: impl Fn([Range<usize>; 2]) -> bool,
        mut pass: impl FnMut(&[Window], &mut Norms<'_>) -> Result<Option<Tensor<4>>, E>,
    ) -> Result<Option<Band>, E> {
        let Some(span) = self.spans.get(self.next).cloned() else {
            return Ok(None);
        };
        let (tiling, size, along) = (self.tiling, self.size, self.along);
        let is_last = self.next + 1 == self.spans.len();
        let blend = if is_last { 0 } else { tiling.blend };
        let mut reach = size.map(|side| 0..side * self.scale);
        let start = self.carried.as_ref().map_or(0, |band| band.start[along]);
        reach[along] = start..(span.end + blend) * self.scale;
        let mut band = Band::of(&reach, self.channels, self.carried.as_ref());
        let mut moments = None;
        for other in self.across.clone() {
            let mut cores = [span.clone(), other];
            cores.swap(0, along);
            if !wanted([0, 1].map(|axis| tiling.seen(size[axis], &cores[axis]))) {
                continue;
            }
            let moments = match &moments {
                Some(moments) => moments,
                None => moments.insert(self.moments(&span, &mut pass)?),
            };
            let window = tiling.window_of(size, &cores);
            let tile = pass(&[window], &mut Norms::given(moments))?;
            let tile = on_host(tile.expect("given moments end no pass"));
            let weights = [0, 1].map(|axis| tiling.fade(size[axis], &cores[axis], self.scale));
            band.blend(&tile, &window.scaled(self.scale), &weights);
        }
        let (done, rest) = band.split(along, (span.end - blend) * self.scale);
        self.carried = Some(rest);
        self.next += 1;
        Ok(Some(done))
    }

    /// Gives the stretches between whose middles a span lies, and its share of the way from the first
    /// to the second. Before the first middle and behind the last they are one.
    fn neighbors(&self, span: &Range<usize>) -> (usize, usize, f64) {
        let middle = |range: &Range<usize>| (range.start + range.end) as f64 / 2.0;
        let at = middle(span);
        let stretches = self.stretches.iter();
        let n_behind = stretches.take_while(|one| middle(one) <= at).count();
        let before = n_behind.saturating_sub(1);
        let after = n_behind.min(self.stretches.len() - 1);
        let [from, to] = [before, after].map(|one| middle(&self.stretches[one]));
        let share = if after > before {
            (at - from) / (to - from)
        } else {
            0.0
        };
        (before, after, share)
    }

    /// Gives the moments of all windows of a span.
    fn moments<E>(
        &mut self,
        span: &Range<usize>,
        pass: &mut impl FnMut(&[Window], &mut Norms<'_>) -> Result<Option<Tensor<4>>, E>,
    ) -> Result<Vec<Moments>, E> {
        let (before, after, share) = self.neighbors(span);
        self.moments.retain(|&stretch, _| stretch >= before);
        for stretch in [before, after] {
            if !self.moments.contains_key(&stretch) {
                let found = self.survey(&self.stretches[stretch].clone(), pass)?;
                self.moments.insert(stretch, found);
            }
        }
        let pairs = self.moments[&before].iter().zip(&self.moments[&after]);
        Ok(match before == after {
            true => self.moments[&before].clone(),
            false => pairs.map(|(a, b)| a.mixed(b, share)).collect(),
        })
    }

    /// Takes the moments of a stretch.
    fn survey<E>(
        &self,
        stretch: &Range<usize>,
        pass: &mut impl FnMut(&[Window], &mut Norms<'_>) -> Result<Option<Tensor<4>>, E>,
    ) -> Result<Vec<Moments>, E> {
        let mut known = Vec::new();
        match self.tiling.statistics {
            Statistics::PerWindow => {}
            // One window is the whole picture.
            _ if self.spans.len() * self.across.len() == 1 => {}
            Statistics::Sampled(count) => {
                let mut size = self.size;
                size[self.along] = stretch.len();
                let mut samples = self.tiling.samples(size, count);
                for window in &mut samples {
                    window.start[self.along] += stretch.start;
                }
                let cores = samples.iter().map(|window| window.core).collect();
                pass(&samples, &mut Norms::joint(cores, &mut known))?;
            }
            Statistics::Exact => loop {
                let mut found = Vec::new();
                for window in self.tiling.windows(self.size) {
                    let mut norms = Norms::next(&known, window.core, &mut found);
                    if pass(&[window], &mut norms)?.is_some() {
                        return Ok(known);
                    }
                }
                known.append(&mut found);
            },
        }
        Ok(known)
    }
}

fn on_host(values: Tensor<4>) -> Vec<f32> {
    let data = values.into_data().convert_dtype(burn::tensor::DType::F32);
    data.try_into_vec().expect("converted to f32")
}
