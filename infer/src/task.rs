//! Tasks lowered to geometry: what was asked in pixels becomes a grid of patches, the tokens that
//! are known, and a route.

use std::fmt;
use std::str::FromStr;

use nuwa_model::patch::{Extent, GridSize, Order, PatchRect, Route, RouteError, TokenSize};
use thiserror::Error;

/// Width and height in pixels, written `4096x1024`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizePx {
    /// Columns.
    pub w: usize,
    /// Rows.
    pub h: usize,
}

/// A place in pixels from the top left corner, written `X,Y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointPx {
    /// Column.
    pub x: usize,
    /// Row.
    pub y: usize,
}

/// A rectangle of tokens in the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRect {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

/// What cannot be painted, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TaskError {
    /// A side of nothing.
    #[error("a picture of {0} has no pixels")]
    Empty(SizePx),
    /// More pixels than can be counted.
    #[error("a picture of {0} is too large to count its pixels")]
    TooLarge(SizePx),
    /// The picture to extend does not lie inside the result.
    #[error("a picture of {picture} at {at} does not lie inside {size}")]
    Outside {
        /// The picture to extend.
        picture: SizePx,
        /// Where it was to lie.
        at: PointPx,
        /// The result asked for.
        size: SizePx,
    },
    /// The picture to extend does not cover one patch.
    #[error("the picture of {picture} is smaller than one patch of this model, {patch}")]
    SmallerThanPatch {
        /// The picture to extend.
        picture: SizePx,
        /// One patch.
        patch: SizePx,
    },
    /// The route does not exist.
    #[error(transparent)]
    Route(#[from] RouteError),
}

/// The numbers of a model that decide about geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Pixels per token along each axis.
    pub stride: usize,
    /// Tokens of one patch.
    pub patch: TokenSize,
    /// Reach of the context.
    pub extent: Extent,
}

/// Where everything lies: the patch grid covers the result and may stick out on every side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The result in pixels.
    pub size: SizePx,
    /// How far the grid sticks out above and to the left of the result, in pixels.
    pub margin: PointPx,
    /// Tokens that are known, in the grid; none when painting from nothing.
    pub known: Option<TokenRect>,
    /// The route through the grid.
    pub route: Route,
}

impl Layout {
    /// Lays out a picture painted from nothing, along its short side: that keeps the pool small.
    ///
    /// # Errors
    /// When the size is empty or cannot be counted.
    pub fn paint(size: SizePx, scale: &Scale) -> Result<Self, TaskError> {
        size.check()?;
        let order = if size.h <= size.w {
            Order::DownRight
        } else {
            Order::RightDown
        };
        let grid = scale.cover(PointPx { x: 0, y: 0 }, size)?;
        let route = Route::full(grid, scale.extent, order)?;
        Ok(Self {
            size,
            margin: PointPx { x: 0, y: 0 },
            known: None,
            route,
        })
    }

    /// Lays out a known picture at a place of a larger one. The grid is aligned with the known
    /// picture's top left corner, so that only its right and bottom patches are partly known.
    ///
    /// # Errors
    /// When a size is empty, the picture does not lie inside, or does not cover one patch.
    pub fn outpaint(
        size: SizePx,
        picture: SizePx,
        at: PointPx,
        scale: &Scale,
    ) -> Result<Self, TaskError> {
        size.check()?;
        picture.check()?;
        let ends =
            |at: usize, len: usize, side: usize| at.checked_add(len).is_some_and(|end| end <= side);
        if !ends(at.x, picture.w, size.w) || !ends(at.y, picture.h, size.h) {
            return Err(TaskError::Outside { picture, at, size });
        }
        let patch = scale.patch_px();
        if picture.w < patch.w || picture.h < patch.h {
            return Err(TaskError::SmallerThanPatch { picture, patch });
        }
        let before = |at: usize, patch: usize| (patch - at % patch) % patch;
        let margin = PointPx {
            x: before(at.x, patch.w),
            y: before(at.y, patch.h),
        };
        let grid = scale.cover(margin, size)?;
        // A token of which at least half is known counts as known.
        let tokens = |px: usize| (px + scale.stride / 2) / scale.stride;
        let known = TokenRect {
            top: (margin.y + at.y) / scale.stride,
            left: (margin.x + at.x) / scale.stride,
            h: tokens(picture.h),
            w: tokens(picture.w),
        };
        let rect = PatchRect {
            top: known.top / scale.patch.h,
            left: known.left / scale.patch.w,
            height: known.h / scale.patch.h,
            width: known.w / scale.patch.w,
        };
        let route = Route::outpainting(grid, scale.extent, rect, Order::DownRight)?;
        Ok(Self {
            size,
            margin,
            known: Some(known),
            route,
        })
    }
}

impl Scale {
    /// Gives the size of one patch in pixels.
    pub fn patch_px(&self) -> SizePx {
        SizePx {
            w: self.patch.w * self.stride,
            h: self.patch.h * self.stride,
        }
    }

    fn cover(&self, margin: PointPx, size: SizePx) -> Result<GridSize, TaskError> {
        let patch = self.patch_px();
        let along = |margin: usize, len: usize, patch: usize| {
            Some(margin.checked_add(len)?.div_ceil(patch))
        };
        let grid = along(margin.y, size.h, patch.h).zip(along(margin.x, size.w, patch.w));
        let (h, w) = grid.ok_or(TaskError::TooLarge(size))?;
        Ok(GridSize { f: 1, h, w })
    }
}

impl SizePx {
    /// Checks that there are pixels and that they can be counted.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub fn check(self) -> Result<(), TaskError> {
        if self.w == 0 || self.h == 0 {
            return Err(TaskError::Empty(self));
        }
        // Three bytes per pixel and some room for what else is counted per pixel.
        let bytes = self.w.checked_mul(self.h).and_then(|px| px.checked_mul(64));
        bytes.map(|_| ()).ok_or(TaskError::TooLarge(self))
    }
}

impl FromStr for SizePx {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (w, h) = pair(text, 'x').ok_or_else(|| format!("{text:?} is not WIDTHxHEIGHT"))?;
        Ok(Self { w, h })
    }
}

impl FromStr for PointPx {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (x, y) = pair(text, ',').ok_or_else(|| format!("{text:?} is not X,Y"))?;
        Ok(Self { x, y })
    }
}

fn pair(text: &str, between: char) -> Option<(usize, usize)> {
    let (a, b) = text.split_once(between)?;
    Some((a.trim().parse().ok()?, b.trim().parse().ok()?))
}

impl fmt::Display for SizePx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} px", self.w, self.h)
    }
}

impl fmt::Display for PointPx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.x, self.y)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SCALE: Scale = Scale {
        stride: 8,
        patch: TokenSize { f: 1, h: 16, w: 16 },
        extent: Extent { w: 1, h: 1, f: 0 },
    };

    fn size(w: usize, h: usize) -> SizePx {
        SizePx { w, h }
    }

    #[test]
    fn sizes_and_points_are_read_as_typed() {
        assert_eq!("2048x512".parse(), Ok(size(2048, 512)));
        assert_eq!("3,4".parse(), Ok(PointPx { x: 3, y: 4 }));
        for text in [
            "2048",
            "x5",
            "5x",
            "-1x5",
            "1.5x2",
            "99999999999999999999x1",
            "",
        ] {
            assert!(text.parse::<SizePx>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_grid_starts_at_the_known_picture() {
        let at = PointPx { x: 524, y: 332 };
        let layout = Layout::outpaint(size(2048, 1536), size(1000, 872), at, &SCALE).expect("fits");
        assert_eq!(layout.margin, PointPx { x: 116, y: 52 });
        assert_eq!(
            layout.known,
            Some(TokenRect {
                top: 48,
                left: 80,
                h: 109,
                w: 125
            })
        );
        assert_eq!(layout.route.grid(), GridSize { f: 1, h: 13, w: 17 });
        assert_eq!(
            layout.route.steps().iter().filter(|s| s.known).count(),
            6 * 7
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let big = size(usize::MAX, 2);
        let at = PointPx { x: 0, y: 0 };
        assert_eq!(
            Layout::paint(size(0, 5), &SCALE),
            Err(TaskError::Empty(size(0, 5)))
        );
        assert_eq!(Layout::paint(big, &SCALE), Err(TaskError::TooLarge(big)));
        let outpaint = |picture, at| Layout::outpaint(size(500, 500), picture, at, &SCALE);
        assert!(matches!(
            outpaint(size(501, 200), at),
            Err(TaskError::Outside { .. })
        ));
        let far = PointPx { x: 301, y: 0 };
        assert!(matches!(
            outpaint(size(200, 200), far),
            Err(TaskError::Outside { .. })
        ));
        let overflow = PointPx {
            x: usize::MAX,
            y: 0,
        };
        assert!(matches!(
            outpaint(size(200, 200), overflow),
            Err(TaskError::Outside { .. })
        ));
        assert!(matches!(
            outpaint(size(1, 1), at),
            Err(TaskError::SmallerThanPatch { .. })
        ));
    }

    proptest! {
        #[test]
        fn the_grid_covers_the_result_and_the_known_tokens_lie_in_it(
            w in 128usize..900, h in 128usize..900, right in 0usize..500, below in 0usize..500,
            x in 0usize..500, y in 0usize..500,
        ) {
            let (picture, at) = (size(w, h), PointPx { x, y });
            let whole = size(x + w + right, y + h + below);
            let layout = Layout::outpaint(whole, picture, at, &SCALE).expect("fits");
            let grid = layout.route.grid();
            prop_assert!(grid.w * 128 >= layout.margin.x + whole.w);
            prop_assert!(grid.h * 128 >= layout.margin.y + whole.h);
            let known = layout.known.expect("a picture is known");
            prop_assert_eq!(known.left * 8, layout.margin.x + x);
            prop_assert_eq!(known.top % 16 + known.left % 16, 0);
            prop_assert!((known.w * 8).abs_diff(w) <= 4 && (known.h * 8).abs_diff(h) <= 4);
        }
    }
}
