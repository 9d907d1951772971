//! From tokens to pixels on disk: decoded in windows, faded into what was given, and that put back.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::{Tensor, TensorData};
use nuwa_data::image::reflect;
use nuwa_data::spool::Spool;
use nuwa_data::{DataError, Picture};
use nuwa_model::render::TokenGrid;
use nuwa_model::vqgan::tiled::{Band, Bands, Sweep, Window};

use crate::film;
use crate::given::Given;
use crate::model_run::{ModelRun, RIM};
use crate::task::Layout;

/// Side of the squares in which the rim of what is given is looked for, in pixels.
const TILE_PX: usize = 32;

/// A painting on its way to pixels. Columns of it (rows, where it is higher than wide) are decoded while
/// others are still painted, as soon as nothing they depend on is missing. Memory does not grow with the
/// long side, except for frames that are guided by the one before.
///
/// Given pixels come back bit for bit. Within `blend` tokens of them the painting is shifted
/// towards them: by the difference between what was given and its own round trip, mirrored at the
/// border and fading out.
#[derive(Debug)]
pub struct Development<'a> {
    run: &'a ModelRun,
    layout: Layout,
    given: Option<Arc<Given>>,
    blend: usize,
    spool: Spool,
    first: Decoding,
    spent: Duration,
}

impl<'a> Development<'a> {
    /// Begins with nothing; the pixels go to `spool`.
    pub fn new(
        run: &'a ModelRun,
        layout: Layout,
        given: Option<Arc<Given>>,
        blend: usize,
        spool: Spool,
    ) -> Self {
        let first = Decoding::new(run, &layout);
        Self {
            run,
            layout,
            given,
            blend,
            spool,
            first,
            spent: Duration::ZERO,
        }
    }

    /// Decodes what can be decoded of the first frame, except its last part: that waits for
    /// [`finish`](Self::finish), when painting holds no memory any more. `codes` are the frame's tokens,
    /// row by row.
    ///
    /// # Errors
    /// When the spool cannot be written.
    pub fn advance(&mut self, codes: &[i32]) -> Result<(), DataError> {
        let started = Instant::now();
        let known = self.first.known(codes);
        let decoded = self.decode_first(codes, known);
        self.spent += started.elapsed();
        decoded
    }

    /// Gives the time that was spent on it while it was painted.
    pub fn spent(&self) -> Duration {
        self.spent
    }

    /// Decodes the rest of a picture, or of a film frame after frame. What is not painted is black.
    ///
    /// # Errors
    /// When the spool cannot be written or read.
    pub fn finish(mut self, tokens: &TokenGrid) -> Result<Spool, DataError> {
        let (run, layout) = (self.run, self.layout);
        let stride = run.vqgan_config.stride();
        let first = film::frame(tokens, 0);
        self.decode_first(first.codes(), usize::MAX)?;
        let Self {
            given,
            blend,
            spool,
            ..
        } = self;
        blacken(&first, &layout, stride, 0, &spool)?;
        if let Some(given) = given {
            if blend > 0 {
                fade(&layout, &given, (blend * stride) as isize, &spool)?;
            }
            given.restore(&spool)?;
        }
        for frame in 1..layout.frames {
            let tokens = film::frame(tokens, frame);
            match &run.pg_vqgan {
                Some(guided) => film::decode_after(run, guided, &tokens, &layout, frame, &spool)?,
                None => {
                    let paste = |x, y, part: Picture| spool.paste(frame, x, y, &part);
                    let mut decoding = Decoding::new(run, &layout);
                    decoding.run_to(usize::MAX, run, tokens.codes(), &layout, |_| true, paste)?;
                }
            }
            blacken(&tokens, &layout, stride, frame, &spool)?;
        }
        Ok(spool)
    }

    fn decode_first(&mut self, codes: &[i32], known: usize) -> Result<(), DataError> {
        let (layout, spool) = (self.layout, &self.spool);
        let near = (2 * self.blend * self.run.vqgan_config.stride()) as isize;
        // What is given whole is put back, so it need not be decoded, except for its rim.
        let wanted = |[x, y]: [Range<isize>; 2]| {
            let inside = |range: Range<isize>, side: usize| {
                (range.start - near).max(0)..(range.end + near).min(side as isize)
            };
            let (x, y) = (inside(x, layout.size.w), inside(y, layout.size.h));
            let given = self.given.as_ref();
            !given.is_some_and(|given| given.covers(&x, &y))
        };
        let paste = |x, y, part: Picture| spool.paste(0, x, y, &part);
        let first = &mut self.first;
        first.run_to(known, self.run, codes, &layout, wanted, paste)
    }
}

/// Gives the way along which a picture is decoded: in bands along the short side, so that memory grows
/// with that one only.
pub fn sweep(layout: &Layout) -> Sweep {
    if layout.size.w >= layout.size.h {
        Sweep::Right
    } else {
        Sweep::Down
    }
}

/// Decodes the tokens to a picture in memory.
pub fn picture(run: &ModelRun, tokens: &TokenGrid, layout: &Layout) -> Picture {
    let mut picture = Picture::filled(layout.size.w, layout.size.h, [0; 3]);
    let paste = |x, y, part: Picture| {
        picture.paste(&part, x, y);
        Ok::<_, Infallible>(())
    };
    let mut decoding = Decoding::new(run, layout);
    let Ok(()) = decoding.run_to(usize::MAX, run, tokens.codes(), layout, |_| true, paste);
    picture
}

/// Paints every token of a frame that is not known black.
fn blacken(
    tokens: &TokenGrid,
    layout: &Layout,
    stride: usize,
    frame: usize,
    spool: &Spool,
) -> Result<(), DataError> {
    let w = tokens.size().w;
    for (at, _) in tokens
        .codes()
        .iter()
        .enumerate()
        .filter(|(_, code)| **code < 0)
    {
        let (left, top) = layout.pixel_of(at / w, at % w);
        let inside = |from: isize, side: usize| {
            let side = side as isize;
            let (start, end) = (from.clamp(0, side), (from + stride as isize).clamp(0, side));
            start as usize..end as usize
        };
        let (x, y) = (inside(left, layout.size.w), inside(top, layout.size.h));
        if !x.is_empty() && !y.is_empty() {
            let black = Picture::filled(x.len(), y.len(), [0; 3]);
            spool.paste(frame, x.start, y.start, &black)?;
        }
    }
    Ok(())
}

/// One frame that is decoded along its long side.
#[derive(Debug)]
struct Decoding {
    bands: Bands,
    sweep: Sweep,
    /// Rows and columns of tokens.
    size: [usize; 2],
    /// Rows or columns from the first on that were all known when last looked at.
    n_known: usize,
}

impl Decoding {
    fn new(run: &ModelRun, layout: &Layout) -> Self {
        let sweep = sweep(layout);
        let size = [layout.tokens().h, layout.tokens().w];
        let whole = size.map(|side| side + 2 * RIM);
        Self {
            bands: run.vqgan.decoding(whole, &run.tiling, sweep),
            sweep,
            size,
            n_known: 0,
        }
    }

    /// Tells up to which place along the sweep, rim included, there is nothing unknown.
    fn known(&mut self, codes: &[i32]) -> usize {
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
    fn run_to<E>(
        &mut self,
        known: usize,
        run: &ModelRun,
        codes: &[i32],
        layout: &Layout,
        wanted: impl Fn([Range<isize>; 2]) -> bool,
        mut push: impl FnMut(usize, usize, Picture) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = self.size;
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

/// Fades the painting into what is given, tile by tile. Only pixels that are not given change, and
/// only given ones are looked at for it, so tiles do not disturb each other.
fn fade(layout: &Layout, given: &Given, rim: isize, spool: &Spool) -> Result<(), DataError> {
    let steps = steps_within(rim);
    let [columns, rows] = given.bounds();
    let around = |range: Range<usize>, side: usize| {
        range.start.saturating_sub(rim as usize)..(range.end + rim as usize).min(side)
    };
    let (columns, rows) = (around(columns, layout.size.w), around(rows, layout.size.h));
    for top in rows.clone().step_by(TILE_PX) {
        for left in columns.clone().step_by(TILE_PX) {
            let x = left as isize..(left + TILE_PX).min(columns.end) as isize;
            let y = top as isize..(top + TILE_PX).min(rows.end) as isize;
            if !given.covers(&x, &y) {
                fade_tile(layout, given, [x, y], rim, &steps, spool)?;
            }
        }
    }
    Ok(())
}

fn fade_tile(
    layout: &Layout,
    given: &Given,
    [x, y]: [Range<isize>; 2],
    rim: isize,
    steps: &[(isize, isize)],
    spool: &Spool,
) -> Result<(), DataError> {
    // A pixel at the rim looks as far into what is given as it is away from it.
    let seen = |range: &Range<isize>, side: usize| {
        (range.start - 2 * rim).max(0)..(range.end + 2 * rim).min(side as isize)
    };
    let (wide, high) = (seen(&x, layout.size.w), seen(&y, layout.size.h));
    let (left, top) = (wide.start as usize, high.start as usize);
    let mut tile = spool.crop(0, left, top, wide.clone().count(), high.clone().count())?;
    let own = |x: isize, y: isize| (x as usize - left, y as usize - top);
    let mut is_changed = false;
    for y in y.clone() {
        for x in x.clone() {
            if given.pixel(x, y).is_some() {
                continue;
            }
            let is_given = |&&(dx, dy): &&(isize, isize)| given.pixel(x + dx, y + dy).is_some();
            let Some(&(dx, dy)) = steps.iter().find(is_given) else {
                continue;
            };
            // As far behind the border as this pixel is before it; at the border where that is not given.
            let mirrored = [(2 * dx, 2 * dy), (dx, dy)].into_iter();
            let mut mirrored = mirrored.map(|(dx, dy)| (x + dx, y + dy));
            let found = mirrored.find_map(|(x, y)| given.pixel(x, y).map(|own| (own, x, y)));
            let Some((true_color, there_x, there_y)) = found else {
                continue;
            };
            let (column, row) = own(there_x, there_y);
            let decoded = tile.pixel(column, row);
            let distance = ((dx * dx + dy * dy) as f32).sqrt();
            let share = 1.0 - distance / (rim + 1) as f32;
            let (column, row) = own(x, y);
            let before = tile.pixel(column, row);
            let after: [u8; 3] = std::array::from_fn(|c| {
                let shift = f32::from(true_color[c]) - f32::from(decoded[c]);
                (f32::from(before[c]) + share * shift).round() as u8
            });
            tile.paste(&Picture::filled(1, 1, after), column, row);
            is_changed = true;
        }
    }
    if !is_changed {
        return Ok(());
    }
    let (column, row) = own(x.start, y.start);
    let part = tile.crop(column, row, x.clone().count(), y.clone().count());
    spool.paste(0, x.start as usize, y.start as usize, &part)
}

/// Gives the steps to all pixels at most `rim` away, nearest first.
fn steps_within(rim: isize) -> Vec<(isize, isize)> {
    let far = |&(x, y): &(isize, isize)| x * x + y * y;
    let square = (-rim..=rim).flat_map(|y| (-rim..=rim).map(move |x| (x, y)));
    let mut steps: Vec<_> = square
        .filter(|step| (1..=rim * rim).contains(&far(step)))
        .collect();
    steps.sort_by_key(far);
    steps
}

#[cfg(test)]
mod tests;
