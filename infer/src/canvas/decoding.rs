//! One frame from tokens to pixels, band by band, as far as its tokens are known.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use nuwa_data::Picture;
use nuwa_data::image::reflect;
use nuwa_model::render::TokenGrid;
use nuwa_model::vqgan::tiled::{Band, Bands, Sweep, Window};

use super::sweep;
use crate::model_run::{ModelRun, RIM};
use crate::task::Layout;

/// One frame that is decoded along its long side.
#[derive(Debug)]
pub(super) struct Decoding<'a> {
    pub(super) run: &'a ModelRun,
    pub(super) layout: Layout,
    bands: Bands,
    sweep: Sweep,
    /// Rows and columns of tokens.
    size: [usize; 2],
    /// Rows or columns from the first on that were all known when last looked at.
    n_known: usize,
}

impl<'a> Decoding<'a> {
    pub(super) fn new(run: &'a ModelRun, layout: Layout) -> Self {
        let sweep = sweep(&layout);
        let size = [layout.tokens().h, layout.tokens().w];
        let whole = size.map(|side| side + 2 * RIM);
        Self {
            run,
            layout,
            bands: run.vqgan.decoding(whole, &run.tiling, sweep),
            sweep,
            size,
            n_known: 0,
        }
    }

    /// Tells up to which place along the sweep, rim included, there is nothing unknown.
    pub(super) fn known(&mut self, codes: &[i32]) -> usize {
        let [h, w] = self.size;
        let (length, across, step_along, step_across) = match self.sweep {
            Sweep::Right => (w, h, 1, w),
            Sweep::Down => (h, w, w, 1),
        };
        let is_known = |line: usize| {
            let code = |at: usize| codes[line * step_along + at * step_across];
            (0..across).all(|at| code(at) != TokenGrid::UNKNOWN)
        };
        while self.n_known < length && is_known(self.n_known) {
            self.n_known += 1;
        }
        // The rim before the first tokens mirrors them; that behind the last ones is not there yet.
        match self.n_known {
            n if n >= RIM => n + RIM,
            _ => 0,
        }
    }

    /// Hands over finished parts of the result, with their places, as far as they depend on nothing
    /// behind `known`. `wanted` is asked for columns and rows of pixels whether they are looked at.
    pub(super) fn run_to<E>(
        &mut self,
        known: usize,
        codes: &[i32],
        wanted: impl Fn([Range<isize>; 2]) -> bool,
        mut push: impl FnMut(usize, usize, Picture) -> Result<(), E>,
    ) -> Result<(), E> {
        let (run, layout, size) = (self.run, self.layout, self.size);
        let device = run.device();
        let read = |window: &Window| {
            let [h, w] = window.size;
            let code = |at: usize| {
                let place = |axis: usize, at: usize| {
                    let at = window.start[axis] + at;
                    reflect(at as isize - RIM as isize, size[axis])
                };
                codes[place(0, at / w) * size[1] + place(1, at % w)].max(0)
            };
            let codes: Vec<i32> = (0..h * w).map(code).collect();
            Tensor::from_data(TensorData::new(codes, [1, h, w]), device)
        };
        let stride = run.vqgan_config.stride();
        let origin =
            [layout.margin.y, layout.margin.x].map(|margin| (RIM * stride + margin) as isize);
        let pixels = |tokens: &Range<usize>, origin: isize| {
            (tokens.start * stride) as isize - origin..(tokens.end * stride) as isize - origin
        };
        let wanted = |[rows, columns]: [Range<usize>; 2]| {
            wanted([pixels(&columns, origin[1]), pixels(&rows, origin[0])])
        };
        while self.bands.needs().is_some_and(|needs| needs <= known) {
            let Some(band) = run.vqgan.decode_band(&mut self.bands, read, wanted) else {
                break;
            };
            let inside = |axis: usize, side: usize| {
                let start = band.start[axis] as isize - origin[axis];
                let end = start + band.size[axis] as isize;
                start.clamp(0, side as isize)..end.clamp(0, side as isize)
            };
            let (rows, columns) = (inside(0, layout.size.h), inside(1, layout.size.w));
            if rows.is_empty() || columns.is_empty() {
                continue;
            }
            let (x, y) = (columns.start as usize, rows.start as usize);
            let in_band = |range: Range<isize>, axis: usize| {
                let shift = origin[axis] - band.start[axis] as isize;
                (range.start + shift) as usize..(range.end + shift) as usize
            };
            push(x, y, cut(&band, in_band(rows, 0), in_band(columns, 1)))?;
        }
        Ok(())
    }
}

/// Cuts a rectangle out of a band and rounds it to bytes.
fn cut(band: &Band, rows: Range<usize>, columns: Range<usize>) -> Picture {
    let [h, w] = band.size;
    let mut rgb = Vec::with_capacity(3 * rows.len() * columns.len());
    let size = (columns.len(), rows.len());
    for y in rows {
        for x in columns.clone() {
            for channel in 0..3 {
                let value = band.values[(channel * h + y) * w + x];
                rgb.push(((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8);
            }
        }
    }
    Picture::new(size.0, size.1, rgb)
}
