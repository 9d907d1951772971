//! Sizes and places in the three units of the system: pixels, tokens and patches.
//!
//! Conversions happen only through the named functions here, so a number never changes its unit
//! silently.

use serde::{Deserialize, Serialize};

/// Size of a picture or film in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PixelSize {
    /// Frames.
    pub f: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

/// Size of a token grid, or of the box of tokens that makes up one patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSize {
    /// Frames.
    pub f: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

/// Size of a patch grid: K frames × R rows × C columns of patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GridSize {
    /// Frames, K in the page.
    pub f: usize,
    /// Rows, R in the page.
    pub h: usize,
    /// Columns, C in the page.
    pub w: usize,
}

/// Place of a patch in its grid; all from 0. The page writes it (i, j, k) = (h, w, f).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PatchIndex {
    /// Frame, k in the page.
    pub f: usize,
    /// Row, i in the page.
    pub h: usize,
    /// Column, j in the page.
    pub w: usize,
}

impl PixelSize {
    /// Gives the token grid that covers these pixels, `stride` pixels per token and axis (none in
    /// time); a rest is rounded up to a whole token.
    pub fn tokens(self, stride: usize) -> TokenSize {
        TokenSize {
            f: self.f,
            h: self.h.div_ceil(stride),
            w: self.w.div_ceil(stride),
        }
    }
}

impl TokenSize {
    /// Gives the number of tokens.
    pub fn count(self) -> usize {
        self.f * self.h * self.w
    }

    /// Gives the patch grid that covers this token grid; a rest is rounded up to a whole patch.
    pub fn patches(self, patch: TokenSize) -> GridSize {
        GridSize {
            f: self.f.div_ceil(patch.f),
            h: self.h.div_ceil(patch.h),
            w: self.w.div_ceil(patch.w),
        }
    }

    /// Gives the size of one frame, or of the whole, in pixels.
    pub fn pixels(self, stride: usize) -> PixelSize {
        PixelSize {
            f: self.f,
            h: self.h * stride,
            w: self.w * stride,
        }
    }
}

impl GridSize {
    /// Gives the number of patches.
    pub fn count(self) -> usize {
        self.f * self.h * self.w
    }

    /// Gives the size of the token grid made of these patches.
    pub fn tokens(self, patch: TokenSize) -> TokenSize {
        TokenSize {
            f: self.f * patch.f,
            h: self.h * patch.h,
            w: self.w * patch.w,
        }
    }

    /// Tells whether a patch lies in this grid.
    pub fn contains(self, index: PatchIndex) -> bool {
        index.f < self.f && index.h < self.h && index.w < self.w
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_default_is_a_4_by_4_grid_of_256_tokens() {
        let patch = TokenSize { f: 1, h: 16, w: 16 };
        let tokens = PixelSize {
            f: 5,
            h: 1024,
            w: 1024,
        }
        .tokens(16);
        assert_eq!(tokens, TokenSize { f: 5, h: 64, w: 64 });
        assert_eq!(tokens.patches(patch), GridSize { f: 5, h: 4, w: 4 });
        assert_eq!(patch.count(), 256);
    }

    #[test]
    fn rests_are_covered_by_whole_units() {
        let tokens = PixelSize { f: 1, h: 17, w: 32 }.tokens(16);
        assert_eq!(tokens, TokenSize { f: 1, h: 2, w: 2 });
        let grid = TokenSize { f: 1, h: 17, w: 16 }.patches(TokenSize { f: 1, h: 16, w: 16 });
        assert_eq!(grid, GridSize { f: 1, h: 2, w: 1 });
        assert_eq!(
            grid.tokens(TokenSize { f: 1, h: 16, w: 16 }),
            TokenSize { f: 1, h: 32, w: 16 }
        );
    }
}
