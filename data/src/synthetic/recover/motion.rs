//! Which way things move in a clip.

use super::super::attributes::{Attributes, Clouds, Sun, Water};
use super::super::palette::Palette;
use super::{ROWS, SUNNY, Small, cover, sky_at};
use std::ops::Range;

/// Columns that clouds are looked for on either side of where they were.
const REACH: i32 = 9;
/// Heights per second from which on the sun moves; it goes at 0.2.
const SLOWEST: f64 = 0.06;
/// Change of brightness from frame to frame, of all brightness, from which on water ripples.
const RIPPLING: f64 = 0.018;

/// Where a lake is in every scene, and land above it, in heights.
const LAKE: Range<f64> = 0.703..0.86;
const LAND: Range<f64> = 0.50..0.578;
/// Columns of which a mean is taken there.
const BROAD: usize = 6;

/// Clouds, and the shift by which the sky of one frame comes closest to that of a later one.
pub(super) fn clouds(frames: &[Small], middle: Attributes, palette: &Palette) -> Clouds {
    if middle.clouds == Clouds::None {
        return Clouds::None;
    }
    let covers = |frame: &Small| -> Vec<Vec<f64>> {
        let row = |y: usize| {
            let colors = &frame.colors[y * frame.w..][..frame.w];
            let clear = sky_at(palette, y);
            colors
                .iter()
                .map(|&color| cover(color, palette, clear).clamp(-0.5, 1.5))
                .collect()
        };
        (1..ROWS * 3 / 10).map(row).collect()
    };
    let skies: Vec<_> = frames.iter().map(covers).collect();
    // Two frames apart the way is longer than a pixel.
    let lag = if frames.len() > 2 { 2 } else { 1 };
    let misfit = |shift: i32| -> f64 {
        let (mut sum, mut n) = (0.0, 0.0);
        for (first, second) in skies.iter().zip(&skies[lag..]) {
            for (a, b) in first.iter().zip(second) {
                for x in REACH..a.len() as i32 - REACH {
                    sum += (b[(x + shift) as usize] - a[x as usize]).powi(2);
                    n += 1.0;
                }
            }
        }
        sum / f64::max(n, 1.0)
    };
    let shifts = -REACH..=REACH;
    let best = shifts.min_by(|&a, &b| misfit(a).total_cmp(&misfit(b)));
    match best.expect("there are shifts") {
        ..=-1 => Clouds::Left,
        0 => Clouds::Still,
        1.. => Clouds::Right,
    }
}

/// Sun or moon, and its way from the first frame that has it to the last one.
pub(super) fn sun(frames: &[Small], palette: &Palette, seconds: f64) -> Sun {
    let found: Vec<_> = frames.iter().map(|frame| frame.sun(palette)).collect();
    if found.iter().filter(|sun| sun.pixels >= SUNNY).count() * 2 < frames.len() {
        return Sun::None;
    }
    let mut seen = found
        .iter()
        .enumerate()
        .filter(|(_, sun)| sun.pixels >= 0.5 * SUNNY);
    let (Some((from, first)), Some((to, last))) = (seen.next(), seen.next_back()) else {
        return Sun::Still;
    };
    let passed = seconds * (to - from) as f64 / (frames.len() - 1) as f64;
    match (last.y - first.y) / ROWS as f64 / passed {
        speed if speed > SLOWEST => Sun::Setting,
        speed if speed < -SLOWEST => Sun::Rising,
        _ => Sun::Still,
    }
}

/// A lake, and whether its brightness changes from frame to frame by more than noise does.
pub(super) fn water(frames: &[Small], middle: Attributes, palette: &Palette) -> Water {
    if middle.water == Water::None {
        return Water::None;
    }
    // What moves below the sun may be its mirror image.
    let sun = frames[frames.len() / 2].sun(palette);
    let is_below = |x: usize| sun.pixels >= SUNNY && (x as f64 - sun.x).abs() < 9.0;
    let (lake, light) = unrest(frames, LAKE, is_below);
    let (land, _) = unrest(frames, LAND, is_below);
    let own = (lake * lake - land * land).max(0.0).sqrt();
    match own / light > RIPPLING {
        true => Water::Rippling,
        false => Water::Still,
    }
}

/// How much brightness changes from frame to frame in some rows, and what it is on average.
fn unrest(frames: &[Small], rows: Range<f64>, is_left_out: impl Fn(usize) -> bool) -> (f64, f64) {
    let n_rows = ((rows.end - rows.start) * ROWS as f64).round() as usize;
    // Ripples are broader than high: means of some columns keep them and take noise away.
    let brightness = |frame: &Small| -> Vec<f64> {
        let part = frame.part(-0.3..0.3, rows.clone());
        let part = part.filter(|&(x, ..)| !is_left_out(x));
        let pixels: Vec<f64> = part.map(|(_, _, color)| color.iter().sum()).collect();
        let rows = pixels.chunks_exact((pixels.len() / n_rows).max(1));
        let mean = |pixels: &[f64]| pixels.iter().sum::<f64>() / pixels.len() as f64;
        rows.flat_map(|row| row.chunks(BROAD).map(mean)).collect()
    };
    let all: Vec<_> = frames.iter().map(brightness).collect();
    let n = all.iter().flatten().count();
    let (mut change, mut n_changes) = (0.0, 0);
    for (before, after) in all.iter().zip(&all[1..]) {
        // Mirrored clouds change whole regions alike; ripples differ from row to row.
        let differences: Vec<f64> = before.iter().zip(after).map(|(a, b)| b - a).collect();
        let row = differences.len() / n_rows;
        for (a, b) in differences.iter().zip(&differences[row..]) {
            change += (a - b).abs();
            n_changes += 1;
        }
    }
    let light = all.iter().flatten().sum::<f64>() / n.max(1) as f64;
    (change / f64::from(n_changes.max(1)), light.max(1.0))
}
