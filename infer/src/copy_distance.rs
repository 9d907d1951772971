//! How far a painting is from a copy: for each of its patches the nearest patch of the picture that
//! the model was trained on.

use nuwa_data::Picture;
use rayon::prelude::*;

/// The nearest patch of the source to one patch of the painting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Top left corner of the patch in the painting, in pixels.
    pub x: usize,
    /// Its row.
    pub y: usize,
    /// Top left corner of the nearest patch in the source.
    pub source_x: usize,
    /// Its row.
    pub source_y: usize,
    /// Root mean square of the differences, over all pixels and channels, in steps of 255.
    pub rms: f64,
}

/// Steps of the first look over the source; the best place is then refined to single pixels.
const STRIDE: usize = 4;

/// Gives the nearest patch for every whole patch of the painting, upright and mirrored both ways.
///
/// Gives nothing when the painting or the source is smaller than a patch.
pub fn nearest_patches(painting: &Picture, source: &Picture, patch_px: usize) -> Vec<Nearest> {
    let side = patch_px;
    if side == 0 || source.w() < side || source.h() < side {
        return Vec::new();
    }
    let (rows, columns) = (painting.h() / side, painting.w() / side);
    let places = (0..rows * columns).into_par_iter();
    places
        .map(|at| (at % columns * side, at / columns * side))
        .map(|(x, y)| nearest(&painting.crop(x, y, side, side), source, (x, y)))
        .collect()
}

fn nearest(patch: &Picture, source: &Picture, (x, y): (usize, usize)) -> Nearest {
    let side = patch.w();
    let mut best = (u64::MAX, 0, 0, 0);
    let forms = mirrored(patch);
    let (last_x, last_y) = (source.w() - side, source.h() - side);
    for (form, patch) in forms.iter().enumerate() {
        for source_y in (0..=last_y).step_by(STRIDE) {
            for source_x in (0..=last_x).step_by(STRIDE) {
                if let Some(sum) = squares(patch, source, source_x, source_y, best.0) {
                    best = (sum, source_x, source_y, form);
                }
            }
        }
    }
    let (_, near_x, near_y, form) = best;
    let around =
        |at: usize, last: usize| at.saturating_sub(STRIDE - 1)..=(at + STRIDE - 1).min(last);
    for source_y in around(near_y, last_y) {
        for source_x in around(near_x, last_x) {
            if let Some(sum) = squares(&forms[form], source, source_x, source_y, best.0) {
                best = (sum, source_x, source_y, form);
            }
        }
    }
    let rms = (best.0 as f64 / (3 * side * side) as f64).sqrt();
    Nearest {
        x,
        y,
        source_x: best.1,
        source_y: best.2,
        rms,
    }
}

/// Gives the sum of squared differences, or nothing once it reaches `limit`.
fn squares(patch: &Picture, source: &Picture, x: usize, y: usize, limit: u64) -> Option<u64> {
    let line = 3 * patch.w();
    let mut sum = 0;
    for (row, own) in patch.rgb().chunks_exact(line).enumerate() {
        let start = 3 * ((y + row) * source.w() + x);
        let theirs = &source.rgb()[start..start + line];
        let of_row: u32 = own
            .iter()
            .zip(theirs)
            .map(|(&a, &b)| u32::from(a.abs_diff(b)) * u32::from(a.abs_diff(b)))
            .sum();
        sum += u64::from(of_row);
        if sum >= limit {
            return None;
        }
    }
    Some(sum)
}

/// Gives a patch as it is, mirrored left-right, top-bottom, and both.
fn mirrored(patch: &Picture) -> [Picture; 4] {
    let (w, h) = (patch.w(), patch.h());
    let turn = |left_right: bool, up_down: bool| {
        let mut rgb = Vec::with_capacity(3 * w * h);
        for y in 0..h {
            for x in 0..w {
                let (x, y) = (
                    if left_right { w - 1 - x } else { x },
                    if up_down { h - 1 - y } else { y },
                );
                rgb.extend_from_slice(&patch.pixel(x, y));
            }
        }
        Picture::new(w, h, rgb)
    };
    [
        turn(false, false),
        turn(true, false),
        turn(false, true),
        turn(true, true),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture that is smooth, like real ones, and nowhere the same twice.
    fn chirp(w: usize, h: usize, seed: f64) -> Picture {
        let value = |x: usize, y: usize, c: usize| {
            let (x, y, c) = (x as f64, y as f64, c as f64);
            let wave = (0.004 * x * x + 0.3 * seed + c).sin() * (0.006 * y * y - 0.1 * x).cos();
            (128.0 + 120.0 * wave) as u8
        };
        let at = |i: usize| value(i / 3 % w, i / 3 / w, i % 3);
        Picture::new(w, h, (0..3 * w * h).map(at).collect())
    }

    #[test]
    fn a_copy_is_found_where_it_was_taken_even_mirrored() {
        let source = chirp(61, 47, 1.0);
        let copied = source.crop(21, 8, 16, 16);
        let mirrored = mirrored(&source.crop(33, 17, 16, 16))[1].clone();
        let mut painting = chirp(33, 20, 2.0);
        painting.paste(&copied, 0, 0);
        painting.paste(&mirrored, 16, 0);
        let found = nearest_patches(&painting, &source, 16);
        assert_eq!(found.len(), 2);
        // The first look goes in steps of 4 and refines by up to 3: both places are within reach.
        assert_eq!(
            (found[1].source_x, found[1].source_y, found[1].rms),
            (33, 17, 0.0)
        );
        assert_eq!(
            (found[0].source_x, found[0].source_y, found[0].rms),
            (21, 8, 0.0)
        );
    }

    #[test]
    fn the_distance_is_the_root_mean_square_over_pixels_and_channels() {
        let source = Picture::filled(16, 16, [10, 10, 10]);
        let painting = Picture::filled(16, 16, [13, 14, 10]);
        let found = nearest_patches(&painting, &source, 16);
        assert!((found[0].rms - (25.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!(nearest_patches(&painting, &source, 17).is_empty());
    }
}
