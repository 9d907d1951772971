//! From tokens to pixels on disk: decoded in windows, faded into what was given, and that put back.

use std::convert::Infallible;
use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use nuwa_data::image::reflect;
use nuwa_data::spool::Spool;
use nuwa_data::{DataError, Picture};
use nuwa_model::render::TokenGrid;
use nuwa_model::vqgan::tiled::{Band, Sweep, Window};

use crate::film;
use crate::given::Given;
use crate::model_run::{ModelRun, RIM};
use crate::task::Layout;

/// Side of the squares in which the rim of what is given is looked for, in pixels.
const TILE_PX: usize = 32;

/// Decodes the tokens of a picture, or of a film frame after frame, into a spool. Memory does not grow with the long side of the
/// picture, except for frames that are guided by the one before. What is not painted yet is black.
///
/// Given pixels come back bit for bit. Within `blend` tokens of them the painting is shifted
/// towards them: by the difference between what was given and its own round trip, mirrored at the
/// border and fading out.
///
/// # Errors
/// When the spool cannot be written or read.
pub fn decode(
    run: &ModelRun,
    tokens: &TokenGrid,
    layout: &Layout,
    given: Option<&Given>,
    blend: usize,
    spool: &Spool,
) -> Result<(), DataError> {
    let stride = run.vqgan_config.stride();
    let rim_px = blend * stride;
    let first = film::frame(tokens, 0);
    decode_windows(run, &first, layout, given, rim_px, spool)?;
    blacken(&first, layout, stride, 0, spool)?;
    if let Some(given) = given {
        if rim_px > 0 {
            fade(layout, given, rim_px as isize, spool)?;
        }
        given.restore(spool)?;
    }
    for frame in 1..layout.frames {
        let tokens = film::frame(tokens, frame);
        match &run.pg_vqgan {
            Some(guided) => film::decode_after(run, guided, &tokens, layout, frame, spool)?,
            None => {
                let paste = |x, y, part: Picture| spool.paste(frame, x, y, &part);
                each_band(run, &tokens, layout, |_| true, paste)?;
            }
        }
        blacken(&tokens, layout, stride, frame, spool)?;
    }
    Ok(())
}

/// Decodes the tokens to a picture in memory.
pub fn picture(run: &ModelRun, tokens: &TokenGrid, layout: &Layout) -> Picture {
    let mut picture = Picture::filled(layout.size.w, layout.size.h, [0; 3]);
    let Ok(()) = each_band(
        run,
        tokens,
        layout,
        |_| true,
        |x, y, part| {
            picture.paste(&part, x, y);
            Ok::<_, Infallible>(())
        },
    );
    picture
}

fn decode_windows(
    run: &ModelRun,
    tokens: &TokenGrid,
    layout: &Layout,
    given: Option<&Given>,
    rim_px: usize,
    spool: &Spool,
) -> Result<(), DataError> {
    let near = 2 * rim_px as isize;
    // What is given whole is put back, so it need not be decoded, except for its rim.
    let wanted = |[x, y]: [Range<isize>; 2]| {
        let inside = |range: Range<isize>, side: usize| {
            (range.start - near).max(0)..(range.end + near).min(side as isize)
        };
        let (x, y) = (inside(x, layout.size.w), inside(y, layout.size.h));
        !given.is_some_and(|given| given.covers(&x, &y))
    };
    each_band(run, tokens, layout, wanted, |x, y, part| {
        spool.paste(0, x, y, &part)
    })
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

/// Hands over finished parts of the result, with their places. `wanted` is asked for columns and
/// rows of pixels whether they are looked at.
fn each_band<E>(
    run: &ModelRun,
    tokens: &TokenGrid,
    layout: &Layout,
    wanted: impl Fn([Range<isize>; 2]) -> bool,
    mut push: impl FnMut(usize, usize, Picture) -> Result<(), E>,
) -> Result<(), E> {
    let size = tokens.size();
    let device = run.vqgan.quantize.embedding.weight.device();
    let read = |window: &Window| {
        let [h, w] = window.size;
        let code = |at: usize| {
            let place = |from: usize, at: usize, side: usize| {
                reflect((from + at) as isize - RIM as isize, side)
            };
            let row = place(window.start[0], at / w, size.h);
            let column = place(window.start[1], at % w, size.w);
            tokens.codes()[row * size.w + column].max(0)
        };
        let codes: Vec<i32> = (0..h * w).map(code).collect();
        Tensor::from_data(TensorData::new(codes, [1, h, w]), &device)
    };
    let stride = run.vqgan_config.stride();
    let origin = [layout.margin.y, layout.margin.x].map(|margin| (RIM * stride + margin) as isize);
    let pixels = |tokens: &Range<usize>, origin: isize| {
        (tokens.start * stride) as isize - origin..(tokens.end * stride) as isize - origin
    };
    let wanted = |[rows, columns]: [Range<usize>; 2]| {
        wanted([pixels(&columns, origin[1]), pixels(&rows, origin[0])])
    };
    // Bands along the short side: memory grows with that one only.
    let sweep = if layout.size.w >= layout.size.h {
        Sweep::Right
    } else {
        Sweep::Down
    };
    let whole = [size.h + 2 * RIM, size.w + 2 * RIM];
    run.vqgan
        .decode_bands(whole, read, &run.tiling, sweep, wanted, |band| {
            let inside = |axis: usize, side: usize| {
                let start = band.start[axis] as isize - origin[axis];
                let end = start + band.size[axis] as isize;
                start.clamp(0, side as isize)..end.clamp(0, side as isize)
            };
            let (rows, columns) = (inside(0, layout.size.h), inside(1, layout.size.w));
            if rows.is_empty() || columns.is_empty() {
                return Ok(());
            }
            let (x, y) = (columns.start as usize, rows.start as usize);
            let in_band = |range: Range<isize>, axis: usize| {
                let shift = origin[axis] - band.start[axis] as isize;
                (range.start + shift) as usize..(range.end + shift) as usize
            };
            push(x, y, cut(&band, in_band(rows, 0), in_band(columns, 1)))
        })
}

/// Cuts a rectangle out of a band and rounds it to bytes.
fn cut(band: &Band, rows: Range<usize>, columns: Range<usize>) -> Picture {
    let [h, w] = band.size;
    let mut rgb = Vec::with_capacity(3 * rows.len() * columns.len());
    let size = (columns.len(), rows.len());
    for y in rows {
        for x in columns.clone() {
            for channel in 0..3 {
                let value = band.values[(channel * h + y) * w + x];
                rgb.push(((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8);
            }
        }
    }
    Picture::new(size.0, size.1, rgb)
}

/// Fades the painting into what is given, tile by tile. Only pixels that are not given change, and
/// only given ones are looked at for it, so tiles do not disturb each other.
fn fade(layout: &Layout, given: &Given, rim: isize, spool: &Spool) -> Result<(), DataError> {
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
