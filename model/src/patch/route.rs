//! Routes: the plain list of (patch, order) visits, and everything that follows from it.

use serde::{Deserialize, Serialize};

use super::error::RouteError;
use super::passes::{Visit, circle, sweep};
use super::{Extent, GridSize, Order, PatchIndex};

/// A rectangle of whole patches inside a grid, over all its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PatchRect {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Number of rows, at least 1.
    pub height: usize,
    /// Number of columns, at least 1.
    pub width: usize,
}

/// A patch in the context of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContextEntry {
    /// Position of the step that made the patch.
    pub position: usize,
    /// Row of the relative position table, seen from the step that looks.
    pub row: usize,
}

/// One entry of a route: a patch, how it is written, and what it sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Place in the grid.
    pub index: PatchIndex,
    /// Order in which its tokens are written.
    pub order: Order,
    /// Given from outside: it only fills the pool (\[P\] §3.3.2, pre-caching).
    pub known: bool,
    /// Select(n): earlier patches within the extent, in route order.
    pub context: Vec<ContextEntry>,
    /// Remove(n): positions whose caches no later step selects, once this step's cache is added.
    pub expires: Vec<usize>,
    /// Level: 1 + the highest level of its context, 0 without context. Steps of one level do not
    /// depend on each other.
    pub level: usize,
}

/// The visits of a rendering, in order, with contexts, expiry and levels (page §2, §3).
///
/// Not in the paper: known patches come first, over all frames (page §9.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    grid: GridSize,
    extent: Extent,
    steps: Vec<Step>,
}

impl Route {
    /// Gives the route of a whole grid in one order, as in training and unconditional painting.
    ///
    /// # Errors
    /// When the grid has no patches.
    pub fn full(grid: GridSize, extent: Extent, order: Order) -> Result<Self, RouteError> {
        Self::continuing(grid, extent, order, 0)
    }

    /// Gives the route of a whole grid whose first frames are known (image to video).
    ///
    /// # Errors
    /// When the grid has no patches or fewer frames than are known.
    pub fn continuing(
        grid: GridSize,
        extent: Extent,
        order: Order,
        known_frames: usize,
    ) -> Result<Self, RouteError> {
        if grid.count() == 0 {
            return Err(RouteError::EmptyGrid(grid));
        }
        if known_frames > grid.f {
            return Err(RouteError::TooManyKnownFrames {
                known: known_frames,
                grid,
            });
        }
        let visits = order
            .walk(grid)
            .map(|index| (index, order, index.f < known_frames));
        Ok(Self::from_visits(grid, extent, visits.collect()))
    }

    /// Gives the circular outpainting route (\[P\] Fig. 6 right, \[A\] §C): the known rectangle first,
    /// then passes to the left, down, right and up, each adding one line of patches along the
    /// whole side of what is known so far, until the grid is full. Frames are circled in turn.
    ///
    /// # Errors
    /// When the grid has no patches or the rectangle is empty or not inside it.
    pub fn outpainting(
        grid: GridSize,
        extent: Extent,
        known: PatchRect,
        known_order: Order,
    ) -> Result<Self, RouteError> {
        Self::around(grid, extent, known, known_order, circle)
    }

    /// Gives the outpainting route with the smallest pool: the known rectangle first, then outwards
    /// from it until the long side of the grid is full, each line along the short side. A wide
    /// grid gets rows below and above the rectangle, then columns to its right and left; a tall
    /// one columns first. Frames are filled in turn.
    ///
    /// not in the paper: its circle keeps all around the growing picture in the pool.
    ///
    /// # Errors
    /// When the grid has no patches or the rectangle is empty or not inside it.
    pub fn sweeping(
        grid: GridSize,
        extent: Extent,
        known: PatchRect,
        known_order: Order,
    ) -> Result<Self, RouteError> {
        Self::around(grid, extent, known, known_order, sweep)
    }

    /// Gives the route that fills what is not known, of any shape: known patches first, then the
    /// others, both in one order.
    ///
    /// not in the paper, which extends rectangles.
    ///
    /// # Errors
    /// When the grid has no patches.
    pub fn filling(
        grid: GridSize,
        extent: Extent,
        order: Order,
        known: impl Fn(PatchIndex) -> bool,
    ) -> Result<Self, RouteError> {
        if grid.count() == 0 {
            return Err(RouteError::EmptyGrid(grid));
        }
        let (given, open): (Vec<_>, Vec<_>) = order.walk(grid).partition(|&index| known(index));
        let visit = |known| move |index| (index, order, known);
        let visits = given.into_iter().map(visit(true));
        let visits = visits.chain(open.into_iter().map(visit(false))).collect();
        Ok(Self::from_visits(grid, extent, visits))
    }

    fn around(
        grid: GridSize,
        extent: Extent,
        known: PatchRect,
        known_order: Order,
        passes: fn(&mut Vec<Visit>, usize, GridSize, PatchRect),
    ) -> Result<Self, RouteError> {
        if grid.count() == 0 {
            return Err(RouteError::EmptyGrid(grid));
        }
        let PatchRect {
            top,
            left,
            height,
            width,
        } = known;
        let fits = |at: usize, len: usize, side: usize| {
            len > 0 && at.checked_add(len).is_some_and(|end| end <= side)
        };
        if !fits(top, height, grid.h) || !fits(left, width, grid.w) {
            return Err(RouteError::KnownOutside { rect: known, grid });
        }
        let inside = GridSize {
            f: grid.f,
            h: height,
            w: width,
        };
        let mut visits: Vec<Visit> = known_order
            .walk(inside)
            .map(|i| {
                (
                    PatchIndex {
                        f: i.f,
                        h: top + i.h,
                        w: left + i.w,
                    },
                    known_order,
                    true,
                )
            })
            .collect();
        for f in 0..grid.f {
            passes(&mut visits, f, grid, known);
        }
        Ok(Self::from_visits(grid, extent, visits))
    }

    fn from_visits(grid: GridSize, extent: Extent, visits: Vec<Visit>) -> Self {
        let mut positions = vec![None; grid.count()];
        let mut steps: Vec<Step> = Vec::with_capacity(visits.len());
        let mut last_use: Vec<usize> = (0..visits.len()).collect();
        for (position, (index, order, known)) in visits.into_iter().enumerate() {
            let context = select(&positions, grid, extent, index);
            for entry in &context {
                last_use[entry.position] = position;
            }
            let level = context
                .iter()
                .map(|e| steps[e.position].level + 1)
                .max()
                .unwrap_or(0);
            positions[Order::RightDown.rank(index, grid)] = Some(position);
            steps.push(Step {
                index,
                order,
                known,
                context,
                expires: Vec::new(),
                level,
            });
        }
        for (position, &last) in last_use.iter().enumerate() {
            steps[last].expires.push(position);
        }
        Self {
            grid,
            extent,
            steps,
        }
    }

    /// Gives the grid.
    pub fn grid(&self) -> GridSize {
        self.grid
    }

    /// Gives the extent.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Gives the steps in route order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Gives the number of levels: the fewest waves in which the route can be rendered.
    pub fn n_levels(&self) -> usize {
        self.steps
            .iter()
            .map(|step| step.level + 1)
            .max()
            .unwrap_or(0)
    }

    /// Gives the most caches the pool holds, counted after Add and before Remove (page §9.2), when
    /// the steps are rendered one after the other.
    pub fn peak_pool(&self) -> usize {
        let (mut held, mut peak) = (0, 0);
        for step in &self.steps {
            held += 1;
            peak = peak.max(held);
            held -= step.expires.len();
        }
        peak
    }
}

/// Looks up the patches already visited around `here`: cost follows the extent, not the route.
fn select(
    positions: &[Option<usize>],
    grid: GridSize,
    extent: Extent,
    here: PatchIndex,
) -> Vec<ContextEntry> {
    let mut context = Vec::new();
    for f in here.f.saturating_sub(extent.f)..=here.f {
        for h in here.h.saturating_sub(extent.h)..=(here.h + extent.h).min(grid.h - 1) {
            for w in here.w.saturating_sub(extent.w)..=(here.w + extent.w).min(grid.w - 1) {
                let there = PatchIndex { f, h, w };
                if let Some(position) = positions[Order::RightDown.rank(there, grid)] {
                    context.push(ContextEntry {
                        position,
                        row: extent.row(here, there),
                    });
                }
            }
        }
    }
    context.sort_unstable_by_key(|entry| entry.position);
    context
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn cube() -> Route {
        let grid = GridSize { f: 3, h: 3, w: 3 };
        Route::full(grid, Extent { w: 1, h: 1, f: 1 }, Order::DownRight).expect("not empty")
    }

    /// \[P\] Fig. 7: the context of patch 27 and the rows of the position table, as letters a…r.
    #[test]
    fn figure_7_context_and_rows_of_patch_27() {
        let route = cube();
        let step = &route.steps()[26];
        let numbers: Vec<_> = step.context.iter().map(|e| e.position + 1).collect();
        assert_eq!(numbers, [14, 15, 17, 18, 23, 24, 26]);
        let rows: Vec<_> = step.context.iter().map(|e| e.row).collect();
        assert_eq!(rows, [0, 3, 1, 4, 9, 12, 10]);
        assert_eq!(route.extent().own_row(), 13);
    }

    /// \[P\] Fig. 8: the patch in the middle sees everything before it.
    #[test]
    fn figure_8_patch_14_sees_1_to_13() {
        let numbers: Vec<_> = cube().steps()[13]
            .context
            .iter()
            .map(|e| e.position + 1)
            .collect();
        assert_eq!(numbers, (1..=13).collect::<Vec<_>>());
    }

    /// \[P\] Fig. 6 right: a 2 × 2 picture in a 7 × 8 grid gets 52 new patches, in a circle.
    #[test]
    fn figure_6_outpainting_circle() {
        let grid = GridSize { f: 1, h: 7, w: 8 };
        let known = PatchRect {
            top: 3,
            left: 3,
            height: 2,
            width: 2,
        };
        let extent = Extent { w: 2, h: 2, f: 0 };
        let route = Route::outpainting(grid, extent, known, Order::DownRight).expect("inside");
        let new: Vec<_> = route.steps().iter().filter(|s| !s.known).collect();
        assert_eq!(new.len(), 52);
        let first: Vec<_> = new[..12]
            .iter()
            .map(|s| (s.index.h, s.index.w, s.order))
            .collect();
        use Order::{DownLeft, DownRight, RightDown, RightUp};
        assert_eq!(
            first,
            [
                (3, 2, DownLeft),
                (4, 2, DownLeft),
                (5, 2, RightDown),
                (5, 3, RightDown),
                (5, 4, RightDown),
                (3, 5, DownRight),
                (4, 5, DownRight),
                (5, 5, DownRight),
                (2, 2, RightUp),
                (2, 3, RightUp),
                (2, 4, RightUp),
                (2, 5, RightUp),
            ]
        );
    }

    #[test]
    fn a_sweep_goes_outwards_along_the_short_side() {
        let grid = GridSize { f: 1, h: 3, w: 4 };
        let known = PatchRect {
            top: 1,
            left: 1,
            height: 1,
            width: 2,
        };
        let extent = Extent { w: 1, h: 1, f: 0 };
        let route = Route::sweeping(grid, extent, known, Order::DownRight).expect("inside");
        let places: Vec<_> = route.steps()[2..]
            .iter()
            .map(|s| (s.index.h, s.index.w, s.order))
            .collect();
        use Order::{DownLeft, DownRight, RightDown, RightUp};
        assert_eq!(
            places,
            [
                (2, 1, RightDown),
                (2, 2, RightDown),
                (0, 1, RightUp),
                (0, 2, RightUp),
                (0, 3, DownRight),
                (1, 3, DownRight),
                (2, 3, DownRight),
                (0, 0, DownLeft),
                (1, 0, DownLeft),
                (2, 0, DownLeft),
            ]
        );
        let tall = GridSize { f: 1, h: 9, w: 1 };
        let known = PatchRect {
            top: 4,
            left: 0,
            height: 1,
            width: 1,
        };
        let route = Route::sweeping(tall, extent, known, Order::DownRight).expect("inside");
        let rows: Vec<_> = route.steps().iter().map(|s| s.index.h).collect();
        assert_eq!(rows, [4, 5, 6, 7, 8, 3, 2, 1, 0]);
    }

    #[test]
    fn a_sweep_around_a_picture_keeps_a_small_pool_at_any_width() {
        let extent = Extent { w: 2, h: 2, f: 0 };
        let peak = |w: usize| {
            let known = PatchRect {
                top: 2,
                left: w / 2,
                height: 3,
                width: 3,
            };
            let grid = GridSize { f: 1, h: 8, w };
            let route = Route::sweeping(grid, extent, known, Order::DownRight).expect("inside");
            route.peak_pool()
        };
        // A strip to go on from on either side.
        assert_eq!(peak(400), peak(40));
        assert!(peak(400) <= 2 * 19, "{}", peak(400));
    }

    #[test]
    fn a_giant_scroll_by_columns_holds_19_caches() {
        let extent = Extent { w: 2, h: 2, f: 0 };
        let grid = GridSize { f: 1, h: 8, w: 152 };
        let columns = Route::full(grid, extent, Order::DownRight).expect("not empty");
        assert_eq!((columns.peak_pool(), columns.n_levels()), (19, 461));
        let rows = Route::full(grid, extent, Order::RightDown).expect("not empty");
        assert_eq!((rows.peak_pool(), rows.n_levels()), (307, 173));
    }

    #[test]
    fn rectangles_and_grids_that_do_not_fit_are_refused() {
        let grid = GridSize { f: 1, h: 4, w: 4 };
        let extent = Extent { w: 1, h: 1, f: 0 };
        for (top, left, height, width) in [
            (3, 0, 2, 1),
            (0, 4, 1, 1),
            (0, 0, 0, 1),
            (usize::MAX, 0, 2, 1),
        ] {
            let rect = PatchRect {
                top,
                left,
                height,
                width,
            };
            let error = Route::outpainting(grid, extent, rect, Order::DownRight).unwrap_err();
            assert_eq!(error, RouteError::KnownOutside { rect, grid });
        }
        let empty = GridSize { f: 1, h: 0, w: 4 };
        assert!(Route::full(empty, extent, Order::RightUp).is_err());
        assert!(Route::continuing(grid, extent, Order::RightUp, 2).is_err());
    }

    fn any_route() -> impl Strategy<Value = Route> {
        let shape = (1usize..4, 1usize..7, 1usize..7);
        let extent = (0usize..3, 0usize..3, 0usize..3);
        (shape, extent, 0usize..4, 0usize..4, any::<[u8; 4]>()).prop_map(
            |((f, h, w), (ew, eh, ef), o, kind, [a, b, c, d])| {
                let (grid, order) = (GridSize { f, h, w }, Order::ALL[o]);
                let extent = Extent {
                    w: ew,
                    h: eh,
                    f: ef,
                };
                let (top, left) = (a as usize % h, b as usize % w);
                let (height, width) = (1 + c as usize % (h - top), 1 + d as usize % (w - left));
                let rect = PatchRect {
                    top,
                    left,
                    height,
                    width,
                };
                let inside =
                    |index: PatchIndex| (index.h * 7 + index.w * 5 + c as usize).is_multiple_of(3);
                match kind {
                    0 => Route::outpainting(grid, extent, rect, order).expect("inside"),
                    1 => Route::sweeping(grid, extent, rect, order).expect("inside"),
                    2 => Route::filling(grid, extent, order, inside).expect("not empty"),
                    _ => {
                        Route::continuing(grid, extent, order, a as usize % (f + 1)).expect("fits")
                    }
                }
            },
        )
    }

    proptest! {
        #[test]
        fn every_patch_is_visited_once(route in any_route()) {
            let seen: HashSet<_> = route.steps().iter().map(|s| s.index).collect();
            prop_assert_eq!(route.steps().len(), route.grid().count());
            prop_assert_eq!(seen.len(), route.grid().count());
        }

        #[test]
        fn context_is_all_of_the_near_past_and_nothing_else(route in any_route()) {
            for (position, step) in route.steps().iter().enumerate() {
                let expected: Vec<usize> = (0..position)
                    .filter(|&m| route.extent().reaches(step.index, route.steps()[m].index))
                    .collect();
                let found: Vec<usize> = step.context.iter().map(|e| e.position).collect();
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn caches_expire_neither_early_nor_late(route in any_route()) {
            let mut held = HashSet::new();
            for (position, step) in route.steps().iter().enumerate() {
                prop_assert!(step.context.iter().all(|e| held.contains(&e.position)), "early");
                held.insert(position);
                for gone in &step.expires {
                    prop_assert!(held.remove(gone));
                }
                let needed: HashSet<usize> = route.steps()[position + 1..]
                    .iter()
                    .flat_map(|later| later.context.iter().map(|e| e.position))
                    .filter(|&m| m <= position)
                    .collect();
                prop_assert_eq!(&held, &needed, "late");
            }
            prop_assert!(held.is_empty());
        }

        #[test]
        fn the_pool_of_a_down_right_canvas_does_not_grow_with_its_width(
            h in 1usize..9, extra in 0usize..40, ew in 0usize..3, eh in 0usize..3,
        ) {
            let extent = Extent { w: ew, h: eh, f: 0 };
            let peak = |w| {
                let grid = GridSize { f: 1, h, w };
                Route::full(grid, extent, Order::DownRight).expect("not empty").peak_pool()
            };
            prop_assert_eq!(peak(2 * ew + 2), peak(2 * ew + 2 + extra));
            prop_assert!(peak(2 * ew + 2) <= ew * h + eh.min(h) + 1);
        }

        #[test]
        fn levels_of_down_right_are_i_plus_e_plus_1_times_j(h in 3usize..9, w in 1usize..9, e in 0usize..3) {
            let extent = Extent { w: e, h: e, f: 0 };
            let route = Route::full(GridSize { f: 1, h, w }, extent, Order::DownRight).expect("not empty");
            for step in route.steps() {
                prop_assert_eq!(step.level, if e == 0 { 0 } else { step.index.h + (e + 1) * step.index.w });
            }
        }
    }
}
