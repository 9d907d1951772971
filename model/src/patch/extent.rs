//! How far context reaches, and the row of the position table for each relative offset.

use serde::{Deserialize, Serialize};

use super::PatchIndex;

/// Reach of the context in patches, along each axis (\[P\] Tab. 1, which writes (ew, eh, ef); \[N\]
/// writes h first).
///
/// Rows and columns reach both ways, frames only into the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// Columns to either side.
    pub w: usize,
    /// Rows to either side.
    pub h: usize,
    /// Frames into the past.
    pub f: usize,
}

impl Extent {
    /// Tells whether a patch at `there` is near enough to be context of one at `here`; time in the
    /// route is not looked at.
    pub fn reaches(self, here: PatchIndex, there: PatchIndex) -> bool {
        here.h.abs_diff(there.h) <= self.h
            && here.w.abs_diff(there.w) <= self.w
            && there.f <= here.f
            && here.f - there.f <= self.f
    }

    /// Gives the number of rows of the relative position table (page §4).
    pub fn n_rows(self) -> usize {
        (2 * self.h + 1) * (2 * self.w + 1) * (self.f + 1)
    }

    /// Gives the row of the relative position table for a patch at `there` looked at from `here`:
    /// oldest frame first, then rows, then columns (\[P\] Fig. 7).
    ///
    /// # Panics
    /// When `there` is out of reach.
    pub fn row(self, here: PatchIndex, there: PatchIndex) -> usize {
        assert!(
            self.reaches(here, there),
            "{there:?} is out of reach of {here:?} with {self:?}"
        );
        let frame = self.f - (here.f - there.f);
        let row = there.h + self.h - here.h;
        let column = there.w + self.w - here.w;
        (frame * (2 * self.h + 1) + row) * (2 * self.w + 1) + column
    }

    /// Gives the row of the patch itself.
    pub fn own_row(self) -> usize {
        (self.f * (2 * self.h + 1) + self.h) * (2 * self.w + 1) + self.w
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_cover_the_table_once() {
        let extent = Extent { w: 1, h: 2, f: 1 };
        let here = PatchIndex { f: 1, h: 2, w: 1 };
        let mut rows = Vec::new();
        for f in 0..2 {
            for h in 0..5 {
                for w in 0..3 {
                    rows.push(extent.row(here, PatchIndex { f, h, w }));
                }
            }
        }
        assert_eq!(rows, (0..extent.n_rows()).collect::<Vec<_>>());
        assert_eq!(extent.row(here, here), extent.own_row());
    }
}
