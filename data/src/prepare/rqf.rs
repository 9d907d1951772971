//! One giant painting, as "Riverside Scene at Qingming Festival" is (\[P\] 4.1): brought to one
//! height and cut into squares that overlap.

use super::resample::Resampler;
use super::{Item, Origin, Outcome, Plan, Run, Watch, settings, strips};
use crate::manifest::Split;
use crate::{DataError, Picture, Spool};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// A dataset of squares of one painting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rqf {
    /// The painting, wider than high.
    pub picture: PathBuf,
    /// Height it is brought to, and side of the squares, in pixels (\[P\]: 2048).
    pub px: usize,
    /// How many squares (\[P\]: 128).
    pub n: usize,
    /// Where it comes from.
    pub origin: Origin,
}

impl Rqf {
    /// Makes the dataset in a folder, or what an earlier run has left to make.
    ///
    /// Memory holds some rows of the painting; the disk holds it, at its new size, for as long as
    /// this takes.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the painting cannot be read or is smaller than a square, the output folder
    /// holds something else, or the disk refuses.
    ///
    /// # Panics
    ///
    /// If `px` or `n` is 0.
    pub fn prepare(&self, out: &Path, watch: Watch<'_>) -> Result<Outcome, DataError> {
        let Self {
            ref picture, px, n, ..
        } = *self;
        assert!(px > 0 && n > 0, "{n} squares of {px} pixels");
        let from = strips::size(picture)?;
        let w = (from.0 as f64 * px as f64 / from.1 as f64).round() as usize;
        if from.1 < px || w < px {
            return Err(DataError::TooSmall {
                path: picture.clone(),
                w: from.0,
                h: from.1,
                needed: px,
            });
        }
        let item = |index| Item {
            id: format!("{index:05}"),
            split: Split::Train,
            what: left_of(index, n, w - px),
        };
        let plan = Plan {
            settings: settings("rqf", self),
            origin: self.origin.clone(),
            items: (0..n).map(item).collect(),
            skipped: Vec::new(),
        };
        let run = Run::open(plan, out)?;
        // Nothing is read when everything is there.
        let spool = match run.left().is_empty() {
            true => None,
            false => Some(resized(picture, from, (w, px), out)?),
        };
        run.go(watch, |&left, sink| {
            let spool = spool.as_ref().expect("something was left to do");
            let mut rgb = Vec::new();
            spool.read_rect(0, crate::spool::Rect::new(left, 0, px, px), &mut rgb)?;
            sink.picture(&Picture::new(px, px, rgb), None)
        })
    }
}

/// Where a square begins: the first at the left edge, the last at the right one, the others
/// evenly between.
fn left_of(index: usize, n: usize, most: usize) -> usize {
    match n {
        1 => most / 2,
        _ => (index as f64 * most as f64 / (n - 1) as f64).round() as usize,
    }
}

/// The painting at its new size, on the disk.
fn resized(
    path: &Path,
    from: (usize, usize),
    to: (usize, usize),
    out: &Path,
) -> Result<Spool, DataError> {
    fs::create_dir_all(out).map_err(|source| DataError::Write {
        path: out.to_owned(),
        source,
    })?;
    let spool = Spool::create(out, to.0, to.1, 1)?;
    let mut resampler = Resampler::new(from, to);
    let mut y = 0;
    strips::each_row(path, &mut |row| {
        resampler.push(row, |row| {
            y += 1;
            spool.write_rect(0, 0, y - 1, to.0, row)
        })
    })?;
    Ok(spool)
}
