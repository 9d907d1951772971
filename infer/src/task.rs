//! Tasks lowered to geometry: what was asked in pixels becomes a grid of patches, the tokens that
//! are known, and a route.

mod error;
mod px;

pub use error::TaskError;
pub use px::{PointPx, RegionPx, SizePx};

use std::fmt;

use nuwa_model::patch::{Extent, GridSize, Order, PatchIndex, PatchRect, Route, TokenSize};
use nuwa_model::render::TokenGrid;
use serde::{Deserialize, Serialize};

/// Which of the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// From nothing.
    Paint,
    /// Around a picture, or in its holes.
    Outpaint,
    /// A film that a picture begins.
    Animate,
}

/// The way through the patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteKind {
    /// As the papers go: a circle around what is known, by columns without it.
    Paper,
    /// Along the short side, which keeps the pool small.
    Sweep,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The result in pixels.
    pub size: SizePx,
    /// Its frames; 1 for a picture.
    pub frames: usize,
    /// How far the grid sticks out above and to the left of the result, in pixels.
    pub margin: PointPx,
    /// The grid.
    pub grid: GridSize,
    scale: Scale,
}

impl Layout {
    /// Lays a grid over a picture. Its patches are aligned with `at`, the top left corner of what
    /// is given, so that only the right and bottom patches of that are partly known.
    ///
    /// # Errors
    /// When the size is empty or cannot be counted.
    pub fn new(size: SizePx, at: PointPx, scale: Scale) -> Result<Self, TaskError> {
        size.check()?;
        let patch = scale.patch_px();
        let before = |at: usize, patch: usize| (patch - at % patch) % patch;
        let margin = PointPx {
            x: before(at.x, patch.w),
            y: before(at.y, patch.h),
        };
        Ok(Self {
            size,
            frames: 1,
            margin,
            grid: scale.cover(margin, size)?,
            scale,
        })
    }

    /// Gives the layout of a film of such pictures.
    ///
    /// The grid covers it in time as it does in space: a last patch that reaches beyond the film is
    /// painted whole, and its rest is not decoded. So any number of frames can be asked for.
    ///
    /// # Errors
    /// When there are no frames, or their pixels cannot be counted.
    pub fn with_frames(mut self, frames: usize) -> Result<Self, TaskError> {
        let (size, patch) = (self.size, self.scale.patch);
        if frames == 0 {
            return Err(TaskError::NoFrames);
        }
        // As for one picture, with the frames that complete the last patch.
        let h = size.h.checked_mul(frames.saturating_add(patch.f));
        h.and_then(|h| SizePx { w: size.w, h }.check().ok())
            .ok_or(TaskError::TooLong { size, frames })?;
        self.frames = frames;
        self.grid.f = frames.div_ceil(patch.f);
        Ok(self)
    }

    /// Gives the grid in tokens.
    pub fn tokens(&self) -> TokenSize {
        self.grid.tokens(self.scale.patch)
    }

    /// Gives the place in the result of the top left pixel of a token; negative in the margin.
    pub fn pixel_of(&self, h: usize, w: usize) -> (isize, isize) {
        let stride = self.scale.stride;
        (
            (w * stride) as isize - self.margin.x as isize,
            (h * stride) as isize - self.margin.y as isize,
        )
    }

    /// Makes every token that a region touches unknown, in all frames.
    ///
    /// # Errors
    /// When the region is empty or not inside the result.
    pub fn forget(&self, tokens: &mut TokenGrid, region: RegionPx) -> Result<(), TaskError> {
        let RegionPx { at, size } = region;
        let touched = |at: usize, len: usize, side: usize, margin: usize| {
            let end = at.checked_add(len).filter(|&end| len > 0 && end <= side)?;
            Some((at + margin) / self.scale.stride..(end + margin).div_ceil(self.scale.stride))
        };
        let rows = touched(at.y, size.h, self.size.h, self.margin.y);
        let columns = touched(at.x, size.w, self.size.w, self.margin.x);
        let Some((rows, columns)) = rows.zip(columns) else {
            let size = self.size;
            return Err(TaskError::NoSuchRegion { region, size });
        };
        for (f, h) in (0..tokens.size().f).flat_map(|f| rows.clone().map(move |h| (f, h))) {
            for w in columns.clone() {
                tokens.set(0, PatchIndex { f, h, w }, TokenGrid::UNKNOWN);
            }
        }
        Ok(())
    }

    /// Gives the route that paints what the grid of tokens does not know.
    ///
    /// Known patches that make up a rectangle are gone around; holes and other shapes are filled
    /// along the short side. Without a patch that is known whole, the rectangle is the first patch
    /// that is known in part.
    ///
    /// A film is filled frame after frame, whatever is known of it. With nothing known that is
    /// [`Route::full`], with its first frames [`Route::continuing`].
    ///
    /// # Errors
    /// When the grid has no patches.
    pub fn route(&self, tokens: &TokenGrid, kind: RouteKind) -> Result<Route, TaskError> {
        let Self { grid, scale, .. } = *self;
        let by_columns = match kind {
            RouteKind::Paper => true,
            RouteKind::Sweep => grid.h <= grid.w,
        };
        let order = if by_columns {
            Order::DownRight
        } else {
            Order::RightDown
        };
        let codes = |index| tokens.cut(index, order, scale.patch);
        let is_known = |index: PatchIndex| !codes(index).contains(&TokenGrid::UNKNOWN);
        if self.frames > 1 {
            return Ok(Route::filling(grid, scale.extent, order, is_known)?);
        }
        let is_touched = |index: &PatchIndex| codes(*index).iter().any(|&code| code >= 0);
        let known: Vec<PatchIndex> = order.walk(grid).filter(|&index| is_known(index)).collect();
        let rect = match bounds(&known) {
            None => order
                .walk(grid)
                .find(is_touched)
                .map(|PatchIndex { h, w, .. }| PatchRect {
                    top: h,
                    left: w,
                    height: 1,
                    width: 1,
                }),
            Some(rect) if rect.height * rect.width * grid.f == known.len() => Some(rect),
            Some(_) => return Ok(Route::filling(grid, scale.extent, order, is_known)?),
        };
        let route = match (rect, kind) {
            (None, _) => Route::full(grid, scale.extent, order),
            (Some(rect), RouteKind::Paper) => {
                Route::outpainting(grid, scale.extent, rect, Order::DownRight)
            }
            (Some(rect), RouteKind::Sweep) => {
                Route::sweeping(grid, scale.extent, rect, Order::DownRight)
            }
        };
        Ok(route?)
    }
}

/// Gives the smallest rectangle around patches.
fn bounds(patches: &[PatchIndex]) -> Option<PatchRect> {
    let ends = |axis: fn(&PatchIndex) -> usize| {
        let first = patches.iter().map(axis).min()?;
        Some((first, patches.iter().map(axis).max()? + 1 - first))
    };
    let ((top, height), (left, width)) = (ends(|index| index.h)?, ends(|index| index.w)?);
    Some(PatchRect {
        top,
        left,
        height,
        width,
    })
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

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paint => "paint",
            Self::Outpaint => "outpaint",
            Self::Animate => "animate",
        })
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paper => "paper",
            Self::Sweep => "sweep",
        })
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
    fn the_grid_starts_at_the_given_picture() {
        let at = PointPx { x: 524, y: 332 };
        let layout = Layout::new(size(2048, 1536), at, SCALE).expect("fits");
        assert_eq!(layout.margin, PointPx { x: 116, y: 52 });
        assert_eq!(layout.grid, GridSize { f: 1, h: 13, w: 17 });
        assert_eq!(layout.pixel_of(48, 80), (524, 332));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let at = PointPx { x: 0, y: 0 };
        let layout = |size| Layout::new(size, at, SCALE);
        assert_eq!(layout(size(0, 5)), Err(TaskError::Empty(size(0, 5))));
        let big = size(usize::MAX, 2);
        assert_eq!(layout(big), Err(TaskError::TooLarge(big)));
    }

    /// Positions of the patches that are painted, from which known tokens of a 3 × 5 grid.
    fn painted(kind: RouteKind, known: &[(usize, usize)], codes: &[i32]) -> Vec<(usize, usize)> {
        let at = PointPx { x: 0, y: 0 };
        let layout = Layout::new(size(640, 384), at, SCALE).expect("fits");
        let mut tokens = TokenGrid::unknown(1, layout.tokens());
        for &(h, w) in known {
            let index = PatchIndex { f: 0, h, w };
            let codes: Vec<i32> = codes.iter().copied().cycle().take(256).collect();
            tokens.paste(0, index, Order::DownRight, SCALE.patch, &codes);
        }
        let route = layout.route(&tokens, kind).expect("a route");
        let open = route.steps().iter().filter(|step| !step.known);
        open.map(|step| (step.index.h, step.index.w)).collect()
    }

    #[test]
    fn routes_follow_the_shape_of_what_is_known() {
        use RouteKind::{Paper, Sweep};
        // A rectangle: round it, or to the sides.
        let rect = [(1, 1), (1, 2)];
        assert_eq!(painted(Paper, &rect, &[3])[..3], [(1, 0), (2, 0), (2, 1)]);
        assert_eq!(painted(Sweep, &rect, &[3])[..3], [(2, 1), (2, 2), (0, 1)]);
        // Another shape: column by column.
        let corner = [(0, 0), (1, 1), (0, 2)];
        for kind in [Paper, Sweep] {
            let painted = painted(kind, &corner, &[3]);
            assert_eq!(painted[..4], [(1, 0), (2, 0), (0, 1), (2, 1)]);
            assert_eq!(painted.len(), 12);
        }
        // Less than a patch: from there.
        let partly = painted(Paper, &[(1, 3)], &[3, -1]);
        assert_eq!(partly.len(), 14);
        assert_eq!(partly[0], (1, 2));
        // Nothing.
        assert_eq!(
            painted(Sweep, &[], &[])[..4],
            [(0, 0), (1, 0), (2, 0), (0, 1)]
        );
    }

    /// A film of 3 × 2 patches a frame, with nothing known.
    fn film(frames: usize) -> (Layout, TokenGrid) {
        let at = PointPx { x: 0, y: 0 };
        let layout = Layout::new(size(250, 384), at, SCALE).expect("fits");
        let layout = layout.with_frames(frames).expect("fits");
        (layout, TokenGrid::unknown(1, layout.tokens()))
    }

    #[test]
    fn films_are_covered_by_whole_patches() {
        let at = PointPx { x: 0, y: 0 };
        let scale = Scale {
            patch: TokenSize {
                f: 2,
                ..SCALE.patch
            },
            ..SCALE
        };
        let layout = Layout::new(size(640, 384), at, scale).expect("fits");
        for (frames, f) in [(1, 1), (2, 1), (5, 3)] {
            let film = layout.with_frames(frames).expect("fits");
            assert_eq!(film.grid, GridSize { f, h: 3, w: 5 });
            assert_eq!((film.frames, film.tokens().f), (frames, 2 * f));
        }
        assert_eq!(layout.with_frames(0), Err(TaskError::NoFrames));
        for frames in [usize::MAX, usize::MAX / 640 / 384] {
            let size = layout.size;
            let expected = Err(TaskError::TooLong { size, frames });
            assert_eq!(layout.with_frames(frames), expected);
        }
    }

    #[test]
    fn films_are_filled_frame_after_frame() {
        let (layout, mut tokens) = film(3);
        let (grid, extent) = (layout.grid, SCALE.extent);
        let route = |tokens: &TokenGrid, kind| layout.route(tokens, kind).expect("a route");
        // Higher than wide: the sweep goes by rows.
        for (kind, order) in [
            (RouteKind::Sweep, Order::RightDown),
            (RouteKind::Paper, Order::DownRight),
        ] {
            let full = Route::full(grid, extent, order).expect("a route");
            assert_eq!(route(&tokens, kind), full);
        }
        let per_frame = tokens.codes().len() / 3;
        let codes = [vec![5; per_frame], vec![TokenGrid::UNKNOWN; 2 * per_frame]].concat();
        tokens = TokenGrid::new(1, layout.tokens(), codes);
        let continuing = Route::continuing(grid, extent, Order::DownRight, 1);
        assert_eq!(
            route(&tokens, RouteKind::Paper),
            continuing.expect("a route")
        );
        // A hole through a film that was painted, as an edit makes it.
        tokens = TokenGrid::new(1, layout.tokens(), vec![5; 3 * per_frame]);
        let region = "130,0,120x8".parse().expect("a region");
        layout.forget(&mut tokens, region).expect("inside");
        let unknown: Vec<usize> = (0..3 * per_frame)
            .filter(|&at| tokens.codes()[at] == TokenGrid::UNKNOWN)
            .collect();
        let one: Vec<usize> = (16..32).collect();
        let each = (0..3).flat_map(|f| one.iter().map(move |at| f * per_frame + at));
        assert_eq!(unknown, each.collect::<Vec<_>>());
        let filling = route(&tokens, RouteKind::Sweep);
        let open: Vec<PatchIndex> = filling
            .steps()
            .iter()
            .filter(|step| !step.known)
            .map(|step| step.index)
            .collect();
        assert_eq!(open, [0, 1, 2].map(|f| PatchIndex { f, h: 0, w: 1 }));
    }

    proptest! {
        #[test]
        fn the_grid_covers_the_result_and_is_aligned_with_what_is_given(
            w in 1usize..900, h in 1usize..900, x in 0usize..500, y in 0usize..500,
        ) {
            let whole = size(x + w, y + h);
            let layout = Layout::new(whole, PointPx { x, y }, SCALE).expect("fits");
            prop_assert!(layout.grid.w * 128 >= layout.margin.x + whole.w);
            prop_assert!(layout.grid.h * 128 >= layout.margin.y + whole.h);
            prop_assert_eq!((layout.margin.x + x) % 128 + (layout.margin.y + y) % 128, 0);
        }
    }
}
