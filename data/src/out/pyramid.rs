//! Pictures at half size, a quarter, and so on.

use crate::DataError;
use crate::spool::{Rect, Spool};

/// The most pixels of a smaller row that are made at once. With the two pieces they come from
/// they take half a megabyte, however wide the picture is.
const PIECE_PX: usize = 1 << 15;

/// Hands the picture to `take`, then at half its size, and so on, up to the first for which
/// `is_last` holds. Besides the picture itself only the level at hand and the one before it are
/// on disk.
pub(super) fn each_level(
    picture: &Spool,
    is_last: impl Fn(&Spool) -> bool,
    mut take: impl FnMut(&Spool) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut smaller: Option<Spool> = None;
    loop {
        let level = smaller.as_ref().unwrap_or(picture);
        take(level)?;
        if is_last(level) {
            return Ok(());
        }
        smaller = Some(half(level)?);
    }
}

/// The first frame at half size, rounded up: each pixel is the mean of the four, two or one it
/// covers.
fn half(picture: &Spool) -> Result<Spool, DataError> {
    let (w, h) = (picture.w().div_ceil(2), picture.h().div_ceil(2));
    let smaller = Spool::create(picture.folder(), w, h, 1)?;
    let (mut covered, mut rgb) = (Vec::new(), Vec::new());
    for y in 0..h {
        for x in (0..w).step_by(PIECE_PX) {
            let n_pixels = PIECE_PX.min(w - x);
            let rect = Rect {
                x: 2 * x,
                y: 2 * y,
                w: (2 * n_pixels).min(picture.w() - 2 * x),
                h: 2.min(picture.h() - 2 * y),
            };
            picture.read_rect(0, rect, &mut covered)?;
            mean_of_pairs(&covered, rect.w, &mut rgb);
            smaller.write_rect(0, x, y, n_pixels, &rgb)?;
        }
    }
    Ok(smaller)
}

/// One row of means from one or two rows of `w` pixels.
fn mean_of_pairs(rows: &[u8], w: usize, means: &mut Vec<u8>) {
    means.clear();
    // A last row or column stands for the missing one beside it.
    let (upper, lower) = (&rows[..3 * w], &rows[rows.len() - 3 * w..]);
    for (upper, lower) in upper.chunks(6).zip(lower.chunks(6)) {
        let right = upper.len() - 3;
        for channel in 0..3 {
            let sum: u16 = [
                upper[channel],
                upper[right + channel],
                lower[channel],
                lower[right + channel],
            ]
            .into_iter()
            .map(u16::from)
            .sum();
            means.push(((sum + 2) / 4) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Picture;

    fn picture_in(spool: &Spool) -> Picture {
        let mut rgb = Vec::new();
        spool.read_rows(0, 0, spool.h(), &mut rgb).unwrap();
        Picture::new(spool.w(), spool.h(), rgb)
    }

    #[test]
    fn a_pixel_is_the_mean_of_those_it_covers() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::create(folder.path(), 3, 3, 1).unwrap();
        let gray = |values: [u8; 9]| values.iter().flat_map(|&value| [value, 0, 255]).collect();
        let picture = Picture::new(3, 3, gray([0, 1, 10, 2, 4, 20, 100, 101, 7]));
        spool.paste(0, 0, 0, &picture).unwrap();
        let smaller = picture_in(&half(&spool).unwrap());
        assert_eq!((smaller.w(), smaller.h()), (2, 2));
        // 7 / 4 is 1.75, 30 / 2 is 15, 201 / 2 is 100.5, and the corner stands alone.
        let red = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(x, y)| smaller.pixel(x, y));
        assert_eq!(red, [[2, 0, 255], [15, 0, 255], [101, 0, 255], [7, 0, 255]]);
    }

    #[test]
    fn a_wide_row_is_made_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let w = 2 * PIECE_PX + 7;
        let spool = Spool::create(folder.path(), w, 2, 1).unwrap();
        let byte = |index: usize| (index / 6 % 251) as u8;
        let picture = Picture::new(w, 2, (0..6 * w).map(|at| byte(at % (3 * w))).collect());
        spool.paste(0, 0, 0, &picture).unwrap();
        let smaller = picture_in(&half(&spool).unwrap());
        assert_eq!((smaller.w(), smaller.h()), (PIECE_PX + 4, 1));
        let means = smaller.rgb().chunks(3).map(|rgb| rgb[0]);
        assert!(means.enumerate().all(|(x, mean)| mean == (x % 251) as u8));
    }

    #[test]
    fn levels_shrink_until_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::create(folder.path(), 13, 3, 1).unwrap();
        let mut sizes = Vec::new();
        let visit = |level: &Spool| {
            sizes.push((level.w(), level.h()));
            Ok(())
        };
        each_level(&spool, |level| level.w().max(level.h()) == 1, visit).unwrap();
        assert_eq!(sizes, [(13, 3), (7, 2), (4, 1), (2, 1), (1, 1)]);
    }
}
