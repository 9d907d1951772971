//! What is given of the result: a picture at a place, and which of its pixels stay.

use std::ops::Range;

use nuwa_data::spool::Spool;
use nuwa_data::{DataError, Picture};
use nuwa_model::patch::PatchIndex;
use nuwa_model::render::TokenGrid;

use crate::model_run::ModelRun;
use crate::task::{Layout, PointPx, RegionPx, SizePx, TaskError};

/// A given picture: its pixels come back bit for bit, except those under its mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    picture: Picture,
    at: PointPx,
    /// For every pixel whether it stays; none when all do.
    kept: Option<Vec<bool>>,
}

impl Given {
    /// Places a picture in the result. White pixels of the mask are to be painted.
    ///
    /// # Errors
    /// When it does not lie inside the result, or the mask has another size.
    pub fn new(
        picture: Picture,
        mask: Option<&Picture>,
        at: PointPx,
        size: SizePx,
    ) -> Result<Self, TaskError> {
        let own = SizePx::of(&picture);
        let ends =
            |at: usize, len: usize, side: usize| at.checked_add(len).is_some_and(|end| end <= side);
        if !ends(at.x, own.w, size.w) || !ends(at.y, own.h, size.h) {
            let picture = own;
            return Err(TaskError::Outside { picture, at, size });
        }
        if let Some(mask) = mask.map(SizePx::of).filter(|&mask| mask != own) {
            let picture = own;
            return Err(TaskError::MaskSize { mask, picture });
        }
        let is_black = |rgb: &[u8]| rgb.iter().map(|&byte| u32::from(byte)).sum::<u32>() < 3 * 128;
        let kept = mask.map(|mask| mask.rgb().chunks_exact(3).map(is_black).collect());
        Ok(Self { picture, at, kept })
    }

    /// Gives up the pixels in a region of the result.
    #[must_use]
    pub fn without(mut self, region: RegionPx) -> Self {
        let (w, h) = (self.picture.w(), self.picture.h());
        let mut kept = self.kept.unwrap_or_else(|| vec![true; w * h]);
        let inside = |at: usize, len: usize, from: usize, side: usize| {
            at.saturating_sub(from).min(side)..(at + len).saturating_sub(from).min(side)
        };
        let columns = inside(region.at.x, region.size.w, self.at.x, w);
        for y in inside(region.at.y, region.size.h, self.at.y, h) {
            kept[y * w..][columns.clone()].fill(false);
        }
        self.kept = Some(kept);
        self
    }

    /// Encodes the picture and sets the tokens of which at least half the pixels are known. What
    /// is under the mask is not seen: it is filled in smoothly before.
    ///
    /// The picture that begins a film is its whole first frame: where the grid sticks out, the
    /// picture is continued by reflection, so that painting begins with the second frame.
    pub fn encode_into(&self, run: &ModelRun, layout: &Layout, tokens: &mut TokenGrid) {
        let stride = run.vqgan_config.stride();
        let filled;
        let picture = match &self.kept {
            None => &self.picture,
            Some(kept) => {
                filled = self.picture.filled_in(kept);
                &filled
            }
        };
        let codes = run.encode(picture, self.size_in_tokens(stride, layout));
        self.each_known(stride, layout, |at, place| tokens.set(0, place, codes[at]));
    }

    /// Sets the tokens that [`Self::encode_into`] would set to the first code, without encoding.
    pub fn mark_into(&self, stride: usize, layout: &Layout, tokens: &mut TokenGrid) {
        self.each_known(stride, layout, |_, place| tokens.set(0, place, 0));
    }

    /// Names every token of the picture of which at least half the pixels are known, and its place
    /// in the grid.
    fn each_known(&self, stride: usize, layout: &Layout, mut see: impl FnMut(usize, PatchIndex)) {
        let [h, w] = self.size_in_tokens(stride, layout);
        let top = (layout.margin.y + self.at.y) / stride;
        let left = (layout.margin.x + self.at.x) / stride;
        for at in 0..h * w {
            let (row, column) = (at / w, at % w);
            let n_kept = self.count_kept(row * stride, column * stride, stride);
            if layout.frames > 1 || 2 * n_kept >= stride * stride {
                let place = PatchIndex {
                    f: 0,
                    h: top + row,
                    w: left + column,
                };
                see(at, place);
            }
        }
    }

    /// Gives rows and columns of the tokens that the picture becomes.
    fn size_in_tokens(&self, stride: usize, layout: &Layout) -> [usize; 2] {
        match layout.frames {
            1 => [self.picture.h(), self.picture.w()].map(|side| side.div_ceil(stride)),
            _ => [layout.tokens().h, layout.tokens().w],
        }
    }

    /// Counts the pixels that stay in a square of the picture.
    fn count_kept(&self, y: usize, x: usize, side: usize) -> usize {
        let (w, h) = (self.picture.w(), self.picture.h());
        let rows = y..(y + side).min(h);
        let columns = x..(x + side).min(w);
        match &self.kept {
            None => rows.len() * columns.len(),
            Some(kept) => rows
                .map(|y| {
                    kept[y * w..][columns.clone()]
                        .iter()
                        .filter(|&&kept| kept)
                        .count()
                })
                .sum(),
        }
    }

    /// Gives the color at a place of the result, if it is known there.
    pub fn pixel(&self, x: isize, y: isize) -> Option<[u8; 3]> {
        let inside = |at: isize, from: usize, side: usize| {
            usize::try_from(at - from as isize)
                .ok()
                .filter(|&at| at < side)
        };
        let x = inside(x, self.at.x, self.picture.w())?;
        let y = inside(y, self.at.y, self.picture.h())?;
        let stays = |kept: &Vec<bool>| kept[y * self.picture.w() + x];
        self.kept
            .as_ref()
            .is_none_or(stays)
            .then(|| self.picture.pixel(x, y))
    }

    /// Tells whether a rectangle of the result is known whole; ranges of columns and rows.
    pub fn covers(&self, x: &Range<isize>, y: &Range<isize>) -> bool {
        let [columns, rows] = self.bounds();
        let inside = |range: &Range<isize>, own: &Range<usize>| {
            range.start >= own.start as isize && range.end <= own.end as isize
        };
        inside(x, &columns)
            && inside(y, &rows)
            && (self.kept.is_none()
                || y.clone()
                    .all(|y| x.clone().all(|x| self.pixel(x, y).is_some())))
    }

    /// Gives the columns and rows of the result in which the picture lies.
    pub fn bounds(&self) -> [Range<usize>; 2] {
        let PointPx { x, y } = self.at;
        [x..x + self.picture.w(), y..y + self.picture.h()]
    }

    /// Puts the known pixels back, in a film into its first frame.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn restore(&self, spool: &Spool) -> Result<(), DataError> {
        let PointPx { x, y } = self.at;
        let Some(kept) = &self.kept else {
            return spool.paste(0, x, y, &self.picture);
        };
        let w = self.picture.w();
        for (row, kept) in kept.chunks_exact(w).enumerate() {
            let mut line = spool.crop(0, x, y + row, w, 1)?;
            let own = self.picture.crop(0, row, w, 1);
            let pixels = line
                .rgb_mut()
                .chunks_exact_mut(3)
                .zip(own.rgb().chunks_exact(3));
            for ((pixel, own), _) in pixels.zip(kept).filter(|(_, kept)| **kept) {
                pixel.copy_from_slice(own);
            }
            spool.paste(0, x, y + row, &line)?;
        }
        Ok(())
    }
}
