//! Painted pixels led towards what was given beside them.

use std::ops::Range;

use nuwa_data::spool::Spool;
use nuwa_data::{DataError, Picture};

use crate::given::Given;
use crate::task::Layout;

/// Side of the squares in which the rim of what is given is looked for, in pixels.
const TILE_PX: usize = 32;

/// Fades the painting into what is given, tile by tile. Only pixels that are not given change, and
/// only given ones are looked at for it, so tiles do not disturb each other.
pub(super) fn fade(
    layout: &Layout,
    given: &Given,
    rim: isize,
    spool: &Spool,
) -> Result<(), DataError> {
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
