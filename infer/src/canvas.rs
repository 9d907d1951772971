//! From tokens to pixels on disk: decoded in windows, faded into what was given, and that put back.

mod decoding;
mod fade;

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nuwa_data::spool::Spool;
use nuwa_data::{DataError, Picture};
use nuwa_model::render::TokenGrid;
use nuwa_model::vqgan::tiled::Sweep;

use self::decoding::Decoding;
use self::fade::fade;
use crate::film;
use crate::given::Given;
use crate::model_run::ModelRun;
use crate::task::Layout;

/// A painting on its way to pixels. Columns of it (rows, where it is higher than wide) are decoded while
/// others are still painted, as soon as nothing they depend on is missing. Memory does not grow with the
/// long side, except for frames that are guided by the one before.
///
/// Given pixels come back bit for bit. Within `blend` tokens of them the painting is shifted
/// towards them: by the difference between what was given and its own round trip, mirrored at the
/// border and fading out.
#[derive(Debug)]
pub struct Development<'a> {
    given: Option<Arc<Given>>,
    blend: usize,
    spool: Spool,
    first: Decoding<'a>,
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
        Self {
            given,
            blend,
            spool,
            first: Decoding::new(run, layout),
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
        let (run, layout) = (self.first.run, self.first.layout);
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
                    let mut decoding = Decoding::new(run, layout);
                    decoding.run_to(usize::MAX, tokens.codes(), |_| true, paste)?;
                }
            }
            blacken(&tokens, &layout, stride, frame, &spool)?;
        }
        Ok(spool)
    }

    fn decode_first(&mut self, codes: &[i32], known: usize) -> Result<(), DataError> {
        let Decoding { run, layout, .. } = self.first;
        let (given, spool) = (self.given.as_ref(), &self.spool);
        let near = (2 * self.blend * run.vqgan_config.stride()) as isize;
        // What is given whole is put back, so it need not be decoded, except for its rim.
        let wanted = |[x, y]: [Range<isize>; 2]| {
            let inside = |range: Range<isize>, side: usize| {
                (range.start - near).max(0)..(range.end + near).min(side as isize)
            };
            let (x, y) = (inside(x, layout.size.w), inside(y, layout.size.h));
            !given.is_some_and(|given| given.covers(&x, &y))
        };
        let paste = |x, y, part: Picture| spool.paste(0, x, y, &part);
        self.first.run_to(known, codes, wanted, paste)
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
    let mut decoding = Decoding::new(run, *layout);
    let Ok(()) = decoding.run_to(usize::MAX, tokens.codes(), |_| true, paste);
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

#[cfg(test)]
mod tests;
