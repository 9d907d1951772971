//! Orders, plans and schedules.

use nuwa_model::patch::{Extent, GridSize, Order, PatchIndex, PatchRect, Route, TokenSize};
use nuwa_model::render::{Ncp, pnar, walk_tokens};
use nuwa_train::schedule::learning_rate;

use super::Outputs;
use super::case::{Array, Case};

pub(super) fn orders(case: &Case) -> Outputs {
    let [h, w, f] = case.get("/grid");
    let [hp, wp, fp] = case.get("/patch");
    let grid = GridSize { f, h, w };
    let places = |walk: &[PatchIndex]| {
        let values = walk
            .iter()
            .flat_map(|p| [p.h as f64, p.w as f64, p.f as f64])
            .collect();
        Array::new([walk.len(), 3], values)
    };
    let mut out = Outputs::new();
    for order in Order::ALL {
        let time = Order::RightDown
            .walk(grid)
            .map(|index| order.rank(index, grid) as f64);
        out.insert(
            format!("{order:?}.time"),
            Array::new([f, h, w], time.collect()),
        );
        let walk: Vec<PatchIndex> = order.walk(grid).collect();
        out.insert(format!("{order:?}.walk"), places(&walk));
        let tokens = walk_tokens(
            order,
            TokenSize {
                f: fp,
                h: hp,
                w: wp,
            },
        );
        out.insert(format!("{order:?}.tokens"), places(&tokens));
    }
    out
}

/// Builds the route of a case from its description, not from its list of steps.
pub(super) fn route(case: &Case, [eh, ew, ef]: [usize; 3]) -> Route {
    let [h, w, f] = case.get("/plan/shape");
    let grid = GridSize { f, h, w };
    let extent = Extent {
        w: ew,
        h: eh,
        f: ef,
    };
    let order = |pointer: &str| Order::ALL[case.get::<usize>(pointer)];
    match case.get::<String>("/plan/how").as_str() {
        "grid" => {
            let known = case.get("/plan/known_frames");
            Route::continuing(grid, extent, order("/plan/order"), known)
        }
        "outpaint" => {
            let [top, left, height, width] = case.get("/plan/known");
            let known = PatchRect {
                top,
                left,
                height,
                width,
            };
            Route::outpainting(grid, extent, known, order("/plan/known_order"))
        }
        how => panic!("{}: plan made by {how:?}", case.name()),
    }
    .expect("the case describes a route")
}

fn ragged(out: &mut Outputs, name: &str, lists: &[Vec<usize>]) {
    let mut start = vec![0];
    start.extend(lists.iter().scan(0, |at, list| {
        *at += list.len();
        Some(*at)
    }));
    out.insert(format!("{name}_start"), Array::list(start));
    out.insert(name.into(), Array::list(lists.concat()));
}

pub(super) fn plan(case: &Case) -> Outputs {
    let route = route(case, case.get("/extent"));
    let mut out = Outputs::new();
    let row = |step: &nuwa_model::patch::Step| {
        let PatchIndex { f, h, w } = step.index;
        [h, w, f, step.order.row(), usize::from(step.known)].map(|x| x as f64)
    };
    let n = route.steps().len();
    out.insert(
        "steps".into(),
        Array::new([n, 5], route.steps().iter().flat_map(row).collect()),
    );
    let lists = |of: &dyn Fn(&nuwa_model::patch::Step) -> Vec<usize>| -> Vec<Vec<usize>> {
        route.steps().iter().map(of).collect()
    };
    ragged(
        &mut out,
        "context",
        &lists(&|s| s.context.iter().map(|e| e.position).collect()),
    );
    let own = route.extent().own_row();
    let rows = lists(&|s| {
        std::iter::once(own)
            .chain(s.context.iter().map(|e| e.row))
            .collect()
    });
    ragged(&mut out, "rpe_row", &rows);
    let mut pool = Ncp::default();
    let mut alive = Vec::new();
    let mut kept = 0;
    for (position, step) in route.steps().iter().enumerate() {
        assert_eq!(pool.select(step).len(), step.context.len());
        pool.add(position, ());
        pool.remove(step);
        kept = kept.max(pool.len());
        alive.push(pool.positions());
    }
    ragged(&mut out, "alive", &alive);
    assert_eq!(pool.peak(), route.peak_pool());
    out.insert("peak".into(), Array::list([pool.peak(), kept]));
    out.insert(
        "level".into(),
        Array::list(route.steps().iter().map(|s| s.level)),
    );
    out
}

pub(super) fn schedule(case: &Case) -> Outputs {
    let mut out = Outputs::new();
    let schedules: Vec<(usize, f64, f64)> = case.get("/schedules");
    for (n, (total, peak, warmup)) in schedules.into_iter().enumerate() {
        let rates: Vec<f64> = (0..=total)
            .map(|s| learning_rate(s, total, peak, warmup) / peak)
            .collect();
        out.insert(format!("rate.{n}"), Array::new([rates.len()], rates));
    }
    let rounds: usize = case.get("/pnar_rounds");
    let u: Vec<f64> = case.get("/u");
    for m in case.get::<Vec<usize>>("/pnar_sizes") {
        out.insert(
            format!("pnar_counts.{m}"),
            Array::list(pnar::masked_counts(m, rounds)),
        );
        let training = u.iter().map(|&u| pnar::training_count(u, m));
        out.insert(format!("pnar_training_counts.{m}"), Array::list(training));
    }
    let heat = pnar::temperatures(rounds);
    out.insert("pnar_temperatures".into(), Array::new([rounds], heat));
    out
}
