//! Passes around a known rectangle: in which order, and how written, the patches of one frame
//! come.

use super::{GridSize, Order, PatchIndex, PatchRect};

/// A patch, how it is written, and whether it is given from outside.
pub(super) type Visit = (PatchIndex, Order, bool);

/// Circles one frame: a line of new patches on each side that has not reached the target.
pub(super) fn circle(visits: &mut Vec<Visit>, f: usize, grid: GridSize, known: PatchRect) {
    let (mut top, mut bottom) = (known.top, known.top + known.height);
    let (mut left, mut right) = (known.left, known.left + known.width);
    let mut visit = |h: usize, w: usize, order: Order| {
        visits.push((PatchIndex { f, h, w }, order, false));
    };
    while top > 0 || bottom < grid.h || left > 0 || right < grid.w {
        if left > 0 {
            left -= 1;
            (top..bottom).for_each(|h| visit(h, left, Order::DownLeft));
        }
        if bottom < grid.h {
            (left..right).for_each(|w| visit(bottom, w, Order::RightDown));
            bottom += 1;
        }
        if right < grid.w {
            (top..bottom).for_each(|h| visit(h, right, Order::DownRight));
            right += 1;
        }
        if top > 0 {
            top -= 1;
            (left..right).for_each(|w| visit(top, w, Order::RightUp));
        }
    }
}

/// Fills one frame outwards from the known rectangle, lines along its short side last.
pub(super) fn sweep(visits: &mut Vec<Visit>, f: usize, grid: GridSize, known: PatchRect) {
    let mut visit = |h: usize, w: usize, order: Order| {
        visits.push((PatchIndex { f, h, w }, order, false));
    };
    let (top, bottom) = (known.top, known.top + known.height);
    let (left, right) = (known.left, known.left + known.width);
    let is_wide = grid.w >= grid.h;
    // Across: what is beside the rectangle, no wider (or higher) than it is.
    let (rows, columns) = if is_wide {
        (0..grid.h, left..right)
    } else {
        (top..bottom, 0..grid.w)
    };
    let mut go = |ways: [Order; 2]| {
        for way in ways {
            match way {
                Order::RightDown => {
                    (bottom..grid.h).for_each(|h| columns.clone().for_each(|w| visit(h, w, way)))
                }
                Order::RightUp => (0..top)
                    .rev()
                    .for_each(|h| columns.clone().for_each(|w| visit(h, w, way))),
                Order::DownRight => {
                    (right..grid.w).for_each(|w| rows.clone().for_each(|h| visit(h, w, way)))
                }
                Order::DownLeft => (0..left)
                    .rev()
                    .for_each(|w| rows.clone().for_each(|h| visit(h, w, way))),
            }
        }
    };
    let (vertical, horizontal) = (
        [Order::RightDown, Order::RightUp],
        [Order::DownRight, Order::DownLeft],
    );
    let ways = if is_wide {
        [vertical, horizontal]
    } else {
        [horizontal, vertical]
    };
    ways.into_iter().for_each(&mut go);
}
