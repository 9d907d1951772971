//! Pictures in windows: as good as whole, band after band, and while their codes come.

use std::convert::Infallible;
use std::ops::Range;

use burn::tensor::{Int, Tensor, s};

use super::super::tiled::{Band, Statistics, Sweep, Tiling, Window};
use super::*;

fn without_attention(mut vqgan: Vqgan) -> Vqgan {
    vqgan.encoder.silence_attention();
    vqgan.decoder.silence_attention();
    vqgan
}

fn exact(margin: usize) -> Tiling {
    Tiling {
        window: 4,
        blend: 1,
        margin,
        statistics: Statistics::Exact,
        ..Tiling::default()
    }
}

#[test]
fn exact_windows_are_the_whole_picture_where_there_is_no_attention() {
    let vqgan = without_attention(network(&config()));
    let (h, w) = (5, 23);
    let codes = codes(&vqgan, h, w, 0);
    let whole = values(vqgan.decode(codes.clone()));
    let reach = vqgan.decoder.reach();
    let tiled = vqgan.decode_tiled(codes.clone(), &exact(reach));
    assert!(
        furthest(&tiled.values, &whole) < 2e-4,
        "{}",
        furthest(&tiled.values, &whole)
    );
    // The test would not notice missing margins or moments if they did not matter.
    let short = vqgan.decode_tiled(codes.clone(), &exact(1));
    assert!(furthest(&short.values, &whole) > 2e-3);
    let own = Tiling {
        statistics: Statistics::PerWindow,
        ..exact(reach)
    };
    assert!(furthest(&vqgan.decode_tiled(codes, &own).values, &whole) > 2e-3);
}

#[test]
fn exact_windows_give_the_codes_of_the_whole_picture() {
    let vqgan = without_attention(network(&config()));
    let (h, w) = (9, 17);
    let picture = pixels(h * 4, w * 4);
    let tiling = exact(vqgan.encoder.reach());
    let read = |window: &tiled::Window| {
        let rows = window.start[0] * 4..(window.start[0] + window.size[0]) * 4;
        let columns = window.start[1] * 4..(window.start[1] + window.size[1]) * 4;
        Ok::<_, Infallible>(picture.clone().slice(s![.., .., rows, columns]))
    };
    let Ok(codes) = vqgan.encode_tiled([h, w], &tiling, read);
    let whole = vqgan.encode(picture.clone());
    let n_different = codes.not_equal(whole).int().sum().into_scalar::<i32>();
    assert_eq!(n_different, 0);
}

#[test]
fn small_pictures_are_one_window_and_larger_ones_are_not() {
    let vqgan = network(&config());
    let tiling = |whole| Tiling {
        statistics: Statistics::Sampled(2),
        whole,
        ..exact(2)
    };
    let codes = codes(&vqgan, 7, 9, 0);
    let whole = values(vqgan.decode(codes.clone()));
    let small = vqgan.decode_tiled(codes.clone(), &tiling(63));
    assert_eq!(small.values, whole);
    let large = vqgan.decode_tiled(codes, &tiling(62));
    assert!(furthest(&large.values, &whole) > 1e-3);
    for stride in [1, 2, 4, 8, 16] {
        let tiling = Tiling::of_stride(stride);
        let largest = tiling.fitted([1, tiling.whole]);
        assert_eq!(largest.spans(tiling.whole).len(), 1, "stride {stride}");
    }
}

#[test]
fn one_window_is_the_whole_picture() {
    let vqgan = network(&config());
    let codes = codes(&vqgan, 4, 3, 0);
    let whole = values(vqgan.decode(codes.clone()));
    for statistics in [Statistics::PerWindow, Statistics::Sampled(4)] {
        let tiling = Tiling {
            statistics,
            ..exact(2)
        };
        assert_eq!(vqgan.decode_tiled(codes.clone(), &tiling).values, whole);
    }
}

#[test]
fn bands_come_in_order_and_make_up_the_picture() {
    let vqgan = network(&config());
    let codes = codes(&vqgan, 7, 11, 0);
    let tiling = Tiling {
        window: 4,
        blend: 1,
        margin: 1,
        statistics: Statistics::PerWindow,
        ..Tiling::default()
    };
    let whole = vqgan.decode_tiled(codes.clone(), &tiling);
    assert_eq!(whole.size, [28, 44]);
    for (sweep, axis) in [(Sweep::Down, 0), (Sweep::Right, 1)] {
        let mut seen = 0;
        let mut check = |band: Band| {
            assert_eq!(band.start[axis], seen);
            assert_eq!(band.size[1 - axis], whole.size[1 - axis]);
            seen += band.size[axis];
            for channel in 0..3 {
                for row in 0..band.size[0] {
                    let from = (channel * band.size[0] + row) * band.size[1];
                    let at = (channel * 28 + band.start[0] + row) * 44 + band.start[1];
                    let (a, b) = (&band.values[from..], &whole.values[at..]);
                    assert!(furthest(&a[..band.size[1]], &b[..band.size[1]]) < 1e-6);
                }
            }
            Ok::<_, Infallible>(())
        };
        let Ok(()) = vqgan.decode_bands(
            size(&codes),
            cut(&codes),
            &tiling,
            sweep,
            |_| true,
            &mut check,
        );
        assert_eq!(seen, whole.size[axis]);
    }
}

#[test]
fn an_error_of_the_reader_of_bands_ends_the_decoding() {
    let vqgan = network(&config());
    let tiling = Tiling {
        window: 2,
        blend: 0,
        margin: 1,
        statistics: Statistics::PerWindow,
        ..Tiling::default()
    };
    let mut n_bands = 0;
    let (codes, all) = (codes(&vqgan, 6, 2, 0), |_| true);
    let full = vqgan.decode_bands(size(&codes), cut(&codes), &tiling, Sweep::Down, all, |_| {
        n_bands += 1;
        if n_bands == 2 {
            Err("disk full")
        } else {
            Ok(())
        }
    });
    assert_eq!((full, n_bands), (Err("disk full"), 2));
}

#[test]
fn leaving_out_windows_that_nobody_looks_at_changes_nothing_elsewhere() {
    let vqgan = network(&config());
    let codes = codes(&vqgan, 14, 15, 0);
    let tiling = Tiling {
        window: 4,
        blend: 1,
        margin: 1,
        statistics: Statistics::Sampled(4),
        ..Tiling::default()
    };
    let whole = vqgan.decode_tiled(codes.clone(), &tiling);
    let (rows, columns) = (2..12, 2..13);
    let n_left_out = std::cell::Cell::new(0);
    let wanted = |[r, c]: [std::ops::Range<usize>; 2]| {
        let inside = rows.start <= r.start
            && r.end <= rows.end
            && columns.start <= c.start
            && c.end <= columns.end;
        n_left_out.set(n_left_out.get() + usize::from(inside));
        !inside
    };
    let mut n_rows = 0;
    let check = |band: Band| {
        let [h, w] = band.size;
        for (at, value) in band.values.iter().enumerate() {
            let (channel, row, column) = (at / (h * w), band.start[0] + at / w % h, at % w);
            if !(rows.contains(&(row / 4)) && columns.contains(&(column / 4))) {
                let expected = whole.values[(channel * 56 + row) * 60 + column];
                assert!((value - expected).abs() < 1e-6, "{row} {column}");
            }
        }
        n_rows += h;
        Ok::<_, Infallible>(())
    };
    let Ok(()) = vqgan.decode_bands(
        size(&codes),
        cut(&codes),
        &tiling,
        Sweep::Down,
        wanted,
        check,
    );
    assert_eq!((n_rows, n_left_out.get()), (56, 4));
}

/// Windows of which two share their moments.
fn in_stretches() -> Tiling {
    Tiling {
        window: 4,
        margin: 1,
        statistics: Statistics::Sampled(2),
        stretch: 2,
        ..Tiling::default()
    }
}

#[test]
fn a_long_picture_is_decoded_while_its_codes_come() {
    let vqgan = network(&config());
    let (tiling, all) = (in_stretches(), |_: [Range<usize>; 2]| true);
    let decoded = |codes: &Tensor<3, Int>| {
        let mut bands = vqgan.decoding(size(codes), &tiling, Sweep::Right);
        let (mut needed, mut decoded) = (Vec::new(), Vec::new());
        while let Some(needs) = bands.needs() {
            let read = |window: &Window| {
                assert!(window.range(1).end <= needs, "{window:?} of {needs}");
                cut(codes)(window)
            };
            needed.push(needs);
            decoded.extend(vqgan.decode_band(&mut bands, read, all));
        }
        assert!(vqgan.decode_band(&mut bands, cut(codes), all).is_none());
        (needed, decoded)
    };
    let first = codes(&vqgan, 3, 32, 0);
    let (needed, bands) = decoded(&first);
    // Stretches of 8; from the middle of one on, the next one counts.
    assert_eq!(needed, [8, 16, 16, 24, 24, 32, 32, 32]);
    let Ok(()) = vqgan.decode_bands(size(&first), cut(&first), &tiling, Sweep::Right, all, {
        let mut bands = bands.iter();
        move |band| {
            assert_eq!(bands.next(), Some(&band));
            Ok::<_, Infallible>(())
        }
    });
    // What comes later changes nothing that was decoded before.
    let other = Tensor::cat(vec![first.narrow(2, 0, 24), codes(&vqgan, 3, 8, 5)], 2);
    let (_, changed) = decoded(&other);
    let alike = bands.iter().zip(&changed).map(|(a, b)| a == b);
    let expected = [true, true, true, true, true, false, false, false];
    assert_eq!(alike.collect::<Vec<_>>(), expected);
}

#[test]
fn stretches_of_the_same_content_are_as_one() {
    let vqgan = network(&config());
    let same = codes(&vqgan, 3, 32, 0).zeros_like() + 7;
    let several = vqgan.decode_tiled(same.clone().swap_dims(1, 2), &in_stretches());
    let one = Tiling {
        stretch: 8,
        ..in_stretches()
    };
    let one = vqgan.decode_tiled(same.swap_dims(1, 2), &one);
    let apart = furthest(&several.values, &one.values);
    assert!(apart < 1e-4, "{apart}");
    // Mixed codes would show it if moments did not pass from one stretch to the next.
    let mixed = codes(&vqgan, 32, 3, 0);
    let several = vqgan.decode_tiled(mixed.clone(), &in_stretches());
    let alone = Tiling {
        stretch: 1,
        ..in_stretches()
    };
    let alone = vqgan.decode_tiled(mixed, &alone);
    assert!(furthest(&several.values, &alone.values) > 1e-3);
}

#[test]
fn windows_are_cut_so_that_little_is_computed_twice() {
    let sizes = [
        [44, 12_512],
        [140, 2444],
        [200, 200],
        [28, 2000],
        [1000, 140],
    ];
    for stride in [4, 8, 16] {
        let tiling = Tiling::of_stride(stride);
        for (size, along) in sizes.into_iter().flat_map(|size| [(size, 0), (size, 1)]) {
            let windows = |[rows, columns]: &[Vec<Range<usize>>; 2]| -> Vec<usize> {
                let pairs = rows
                    .iter()
                    .flat_map(|r| columns.iter().map(move |c| (r, c)));
                let windows = pairs.map(|(r, c)| tiling.window_of(size, &[r.clone(), c.clone()]));
                windows
                    .map(|window| window.size[0] * window.size[1])
                    .collect()
            };
            let (cuts, plain) = (
                tiling.cuts(size, along),
                size.map(|side| tiling.spans(side)),
            );
            for (axis, spans) in cuts.iter().enumerate() {
                assert_eq!(
                    (spans[0].start, spans[spans.len() - 1].end),
                    (0, size[axis])
                );
                assert!(spans.windows(2).all(|pair| pair[0].end == pair[1].start));
            }
            let (found, before) = (windows(&cuts), windows(&plain));
            assert!(
                found.iter().all(|&n| n <= tiling.most),
                "{size:?} {found:?}"
            );
            let computed = |windows: &[usize]| windows.iter().sum::<usize>();
            // At stride 4 those sampled have more than `most`.
            let shrinks = before.iter().any(|&n| n > tiling.most);
            assert!(
                shrinks || computed(&found) <= computed(&before),
                "{stride} {size:?}"
            );
        }
    }
    // A scroll of 512 px at stride 16, as high as one window, with little margin along it.
    let [rows, columns] = Tiling::of_stride(16).cuts([44, 12_512], 1);
    assert_eq!((rows.len(), columns.len()), (1, 163));
}
