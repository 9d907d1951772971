//! What is developed while it is painted is what is developed at once.

use nuwa_model::patch::TokenSize;
use nuwa_model::vqgan::tiled::{Statistics, Tiling};

use super::*;
use crate::film::tests::{layout, run, scattered};
use crate::task::{PointPx, SizePx};

/// A run that decodes in windows of 4 tokens, of which each pair has its own moments.
fn windowed() -> ModelRun {
    let mut run = run();
    run.tiling = Tiling {
        window: 4,
        margin: 1,
        statistics: Statistics::Sampled(2),
        stretch: 2,
        ..Tiling::default()
    };
    run
}

fn spool(folder: &tempfile::TempDir, layout: &Layout) -> Spool {
    let SizePx { w, h } = layout.size;
    Spool::create(folder.path(), w, h, layout.frames).expect("a spool")
}

#[test]
fn columns_and_rows_are_decoded_while_others_are_painted() {
    let (run, folder) = (windowed(), tempfile::tempdir().expect("a folder"));
    let start = PointPx { x: 0, y: 0 };
    let picture = Picture::filled(9, 7, [200, 10, 90]);
    for (size, at) in [
        (SizePx { w: 118, h: 14 }, start),
        (SizePx { w: 14, h: 118 }, start),
        // The grid sticks out on all sides.
        (SizePx { w: 121, h: 15 }, PointPx { x: 3, y: 5 }),
    ] {
        let layout = layout(&run, size, at, 1);
        let given = Given::new(picture.clone(), None, at, size).expect("it fits");
        let given = Some(Arc::new(given));
        let grid = layout.tokens();
        let all = TokenGrid::new(1, grid, scattered(grid));
        let new = || Development::new(&run, layout, given.clone(), 1, spool(&folder, &layout));
        let at_once = new().finish(&all).expect("decoded");

        let mut growing = new();
        let is_wide = grid.w >= grid.h;
        let line = |at: usize| if is_wide { at % grid.w } else { at / grid.w };
        let length = grid.w.max(grid.h);
        for n in 0..=length {
            let known = |(at, &code): (usize, &i32)| match line(at) < n {
                true => code,
                false => TokenGrid::UNKNOWN,
            };
            let codes: Vec<i32> = all.codes().iter().enumerate().map(known).collect();
            growing.advance(&codes).expect("decoded");
            let lit = lit_percent(&growing.spool, is_wide);
            let seen = lit * size.w.max(size.h) / 100;
            assert!(seen <= n * 2, "{seen} px of {n} lines");
            if n + 20 >= length {
                assert!(lit > 40, "{lit} % of {n} of {length} lines");
            }
        }
        let bit_by_bit = growing.finish(&all).expect("decoded");
        let whole = |spool: &Spool| spool.crop(0, 0, 0, size.w, size.h).expect("read");
        assert!(whole(&bit_by_bit) == whole(&at_once), "{size}");
    }
}

/// Gives the share of the long side that is not black any more, in percent. Fresh weights make a black
/// pixel now and then.
fn lit_percent(spool: &Spool, is_wide: bool) -> usize {
    let length = if is_wide { spool.w() } else { spool.h() };
    let pixel = |at: usize| match is_wide {
        true => spool.crop(0, at, 1, 1, 1),
        false => spool.crop(0, 1, at, 1, 1),
    };
    let is_lit = |at: &usize| pixel(*at).expect("read").rgb() != [0; 3];
    100 * (0..length).filter(is_lit).count() / length
}

#[test]
fn what_is_not_painted_is_black() {
    let (run, folder) = (windowed(), tempfile::tempdir().expect("a folder"));
    let size = SizePx { w: 32, h: 8 };
    let layout = layout(&run, size, PointPx { x: 0, y: 0 }, 1);
    let TokenSize { w, .. } = layout.tokens();
    let mut codes = scattered(layout.tokens());
    codes[w + 5] = TokenGrid::UNKNOWN;
    let tokens = TokenGrid::new(1, layout.tokens(), codes);
    let spool = Development::new(&run, layout, None, 0, spool(&folder, &layout));
    let spool = spool.finish(&tokens).expect("decoded");
    let is_black = |x, y| spool.crop(0, x, y, 1, 1).expect("read").rgb() == [0; 3];
    for y in 0..8 {
        for x in 0..32 {
            let expected = (10..12).contains(&x) && (2..4).contains(&y);
            assert_eq!(is_black(x, y), expected, "({x}, {y})");
        }
    }
}
