//! Known numbers, and budgets.

use nuwa_model::patch::{Extent, PatchIndex, TokenSize};
use nuwa_model::render::{Decoding, Feed, PoolKind, Precision, RendererConfig, Transfer};
use nuwa_model::vqgan::VqganConfig;
use nuwa_model::vqgan::tiled::{Statistics, Tiling};

use super::*;
use crate::task::{PointPx, Scale};

const PATCH: TokenSize = TokenSize { f: 1, h: 2, w: 2 };

fn networks() -> Networks {
    Networks {
        renderer: RendererConfig {
            decoding: Decoding::Ar,
            d_model: 64,
            n_layers: 3,
            n_codes: 100,
            patch: PATCH,
            extent: Extent { w: 2, h: 2, f: 0 },
            feed: Feed::Pre,
            d_text: None,
            transfer: Transfer::Context,
        },
        vqgan: VqganConfig {
            ch: 32,
            multipliers: vec![1, 1, 2],
            blocks: 1,
            z: 8,
            n_codes: 100,
            code_dim: 8,
        },
        n_weights: 1000,
        is_guided: false,
        precision: Precision::F32,
        rows: 1,
    }
}

/// Plans `h · w` patches of 8 px, the first `known` columns of them known.
fn plan(h: usize, w: usize, known: usize, way: Way) -> Plan {
    let scale = Scale {
        stride: 4,
        patch: PATCH,
        extent: networks().renderer.extent,
    };
    let size = SizePx { w: 8 * w, h: 8 * h };
    let layout = Layout::new(size, PointPx { x: 0, y: 0 }, scale).expect("fits");
    let mut tokens = TokenGrid::unknown(1, layout.tokens());
    for (h, w) in (0..2 * h).flat_map(|h| (0..2 * known).map(move |w| (h, w))) {
        tokens.set(0, PatchIndex { f: 0, h, w }, 5);
    }
    let given = (known > 0).then_some(SizePx {
        w: 8 * known,
        ..size
    });
    Plan::new(&networks(), &layout, &tokens, given, way).expect("a route")
}

fn way(route: RouteKind, parallel: usize) -> Way {
    Way {
        route,
        parallel,
        pool: PoolKind::KeyValues,
        tiling: Tiling {
            whole: 0,
            ..Tiling::of_stride(4)
        },
    }
}

/// Eight patches high and 152 wide: the width of the papers' longest picture.
#[test]
fn a_long_picture_by_columns_has_461_levels_and_holds_19_caches() {
    let plan = plan(8, 152, 0, way(RouteKind::Sweep, 1));
    assert_eq!((plan.grid.h, plan.grid.w), (8, 152));
    assert_eq!(
        (plan.n_levels, plan.least_pool, plan.peak_pool),
        (461, 19, 19)
    );
    assert_eq!((plan.n_open, plan.n_known), (1216, 0));
    assert_eq!(plan.waves, vec![1; 1216]);
    // 2 · 3 layers of 4 tokens · 64 in single precision.
    assert_eq!(plan.device.pool, 19 * 6144);
    assert_eq!(plan.disk.spool, 3 * 1216 * 64);
    // Four tokens, a position, and twelve bytes around.
    assert_eq!(plan.disk.tokens, 1024 + 1216 * (8 + 4 + 12));
}

/// Half precision halves the pool, and costs copies of the weights.
#[test]
fn half_precision_halves_the_pool_and_copies_the_weights() {
    let half = Networks {
        precision: Precision::Bf16,
        ..networks()
    };
    let kinds = [PoolKind::KeyValues, PoolKind::States];
    for kind in kinds {
        assert_eq!(2 * half.cache_bytes(kind), networks().cache_bytes(kind));
    }
    // Both hold all weights, and places of four orders; 19 d² of a layer and the codes are copied.
    let own = 4 * (1000 + 16 * 64);
    assert_eq!(half.weight_bytes(), own + 2 * (3 * 19 * 64 * 64 + 6400));
    assert!(half.patch_bytes(12) < networks().patch_bytes(12));
}

#[test]
fn batches_hold_every_open_patch_and_a_larger_pool() {
    let plan = plan(8, 40, 0, way(RouteKind::Sweep, 8));
    assert_eq!(plan.waves.iter().sum::<usize>(), 320);
    assert!(plan.waves.iter().all(|&n| n <= 8));
    assert!(plan.peak_pool > plan.least_pool);
    assert_eq!(
        plan.device.wave,
        plan.waves.iter().max().map_or(0, |&n| n as u64) * networks().patch_bytes(12)
    );
}

#[test]
fn known_patches_are_not_painted() {
    let plan = plan(3, 5, 2, way(RouteKind::Paper, 1));
    assert_eq!((plan.n_open, plan.n_known, plan.waves.len()), (9, 6, 9));
    assert!(plan.n_encoded > 0);
    let pace = Pace {
        one_patch: 2.0,
        widest_wave: 2.0,
        widest: 1,
        known_patch: 0.5,
        decoded_window: 0.25,
        encoded_window: 0.0,
    };
    assert_eq!(
        plan.seconds(&pace),
        [0.0, 21.0, plan.n_windows as f64 * 0.25]
    );
}

#[test]
fn memory_is_counted_as_documented() {
    let networks = networks();
    assert_eq!(
        networks.weight_bytes(),
        4 * (1000 + 3 * (16 * 4096 + 192) + 2 * 6400 + 1024)
    );
    // 13 places of 4 tokens and BOS looked at; AR's buffers are the larger part.
    assert_eq!(networks.patch_bytes(12), 4 * 2 * 4 * 53 * 64);
    // The finest level is the largest: 32 channels of 40 × 20 px.
    assert_eq!(networks.window_bytes([10, 5]), 4 * 4 * 32 * 40 * 20);
    let plan = plan(2, 2, 0, way(RouteKind::Sweep, 1));
    // One window with its rim of six tokens on each side.
    assert_eq!((plan.window, plan.n_windows), ([16, 16], 1));
    let DeviceBytes {
        weights,
        pool,
        wave,
        windows,
    } = plan.device;
    assert_eq!(plan.device.total(), weights + windows.max(pool + wave));
}

#[test]
fn a_budget_is_met_by_smaller_batches_then_a_smaller_pool_and_then_another_route() {
    // A VQGAN so small, and a renderer so wide, that only painting counts.
    let mut networks = networks();
    (networks.vqgan.ch, networks.renderer.d_model) = (1, 1024);
    let scale = Scale {
        stride: 4,
        patch: PATCH,
        extent: networks.renderer.extent,
    };
    let size = SizePx {
        w: 8 * 40,
        h: 8 * 9,
    };
    let layout = Layout::new(size, PointPx { x: 0, y: 0 }, scale).expect("fits");
    let mut tokens = TokenGrid::unknown(1, layout.tokens());
    for (h, w) in [(8, 40), (8, 41), (9, 40), (9, 41)] {
        tokens.set(0, PatchIndex { f: 0, h, w }, 5);
    }
    let plan = |way| Plan::new(&networks, &layout, &tokens, None, way);
    let fitted = |budget, free| fit(budget, false, way(RouteKind::Paper, 8), free, plan);
    let needed = |way| plan(way).expect("a route").device.total();
    let found = |budget| {
        let plan = fitted(budget, Free::Route).ok();
        plan.map(|plan| (plan.route, plan.parallel, plan.pool))
    };
    let states = |way| Way {
        pool: PoolKind::States,
        ..way
    };

    let [all, one, half, sweep] = [
        needed(way(RouteKind::Paper, 8)),
        needed(way(RouteKind::Paper, 1)),
        needed(states(way(RouteKind::Paper, 1))),
        needed(states(way(RouteKind::Sweep, 1))),
    ];
    assert!(one > half && half > sweep, "{all} {one} {half} {sweep}");
    let (pairs, leaner) = (PoolKind::KeyValues, PoolKind::States);
    assert_eq!(found(all), Some((RouteKind::Paper, 8, pairs)));
    assert_eq!(found(all - 1), Some((RouteKind::Paper, 4, pairs)));
    assert_eq!(found(one), Some((RouteKind::Paper, 1, pairs)));
    assert_eq!(found(half), Some((RouteKind::Paper, 1, leaner)));
    assert_eq!(found(sweep), Some((RouteKind::Sweep, 1, leaner)));
    // A route that was asked for is kept.
    for (budget, free) in [(sweep - 1, Free::Route), (half - 1, Free::Nothing)] {
        let text = fitted(budget, free).expect_err("too little").to_string();
        assert!(text.contains("does not hold painting"), "{text}");
    }
    let text = fitted(1000, Free::Route)
        .expect_err("too little")
        .to_string();
    assert!(
        text.contains("1000 B does not hold the weights, which takes"),
        "{text}"
    );
}

#[test]
fn a_budget_is_met_by_fewer_windows_at_once_and_then_by_smaller_ones() {
    // So many windows of a VQGAN so large beside the renderer that only decoding counts.
    let plan = |way| plan(100, 100, 0, way);
    let asked = way(RouteKind::Sweep, 1);
    let found = |budget| {
        let plan = fit(budget, false, asked, Free::Nothing, |way| Ok(plan(way)))?;
        Ok((plan.tiling.window, plan.n_together))
    };
    let needed = |window, n| {
        let statistics = Statistics::Sampled(n);
        let tiling = Tiling {
            window,
            statistics,
            ..asked.tiling
        };
        plan(Way { tiling, ..asked }).device.total()
    };
    let fitted = |budget: u64| found(budget).map_err(|error: FitError| error.to_string());
    assert_eq!(fitted(needed(64, 8)), Ok((64, 8)));
    assert_eq!(fitted(needed(64, 8) - 1), Ok((64, 4)));
    assert_eq!(fitted(needed(64, 4) - 1), Ok((32, 4)));
    assert_eq!(fitted(needed(8, 4)), Ok((8, 4)));
    let text = fitted(needed(8, 4) - 1).expect_err("too little");
    assert!(text.contains("does not hold decoding"), "{text}");
}

#[test]
fn sizes_are_read_as_people_write_them() {
    let read = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
    for (text, expected) in [
        ("6GB", 6_000_000_000),
        ("512MiB", 512 << 20),
        ("1.5 gib", 3 << 29),
        ("2k", 2000),
        ("7", 7),
        ("7B", 7),
    ] {
        assert_eq!(read(text), Ok(expected), "{text}");
    }
    for text in ["", "GB", "6XB", "-1GB", "6GBB", "6kmB", "1.2.3GB", "inf"] {
        assert!(read(text).is_err(), "{text}");
    }
}
