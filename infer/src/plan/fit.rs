//! A plan that fits into a budget of memory.

use nuwa_model::render::PoolKind;
use nuwa_model::vqgan::tiled::{Statistics, Tiling};
use thiserror::Error;

use super::{Bytes, Plan, Stage, Way};
use crate::task::{RouteKind, TaskError};

/// Fewest windows whose statistics stand for the whole picture.
const FEWEST_SAMPLED: usize = 4;
/// Shortest side of a window, in tokens; the margins around it are about as wide.
const SHORTEST_WINDOW: usize = 8;

/// Why no plan fits.
#[derive(Debug, Error)]
pub enum FitError {
    /// The leanest plan still takes too much.
    #[error(
        "a budget of {} does not hold {what}, which takes {}, even by the leanest way",
        Bytes(*budget), Bytes(*needed)
    )]
    TooMuch {
        /// The budget in bytes.
        budget: u64,
        /// What does not fit.
        what: String,
        /// Its bytes.
        needed: u64,
    },
    /// There is no way at all.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// What may be changed besides batches, pool and windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Free {
    /// Nothing: the route was asked for.
    Nothing,
    /// The route.
    Route,
}

/// Gives the first plan that fits into a budget of bytes. Where painting does not fit: smaller and
/// smaller batches, then the same with a pool of half the size, then the same along the short side.
/// Where decoding does not: fewer windows at once, then smaller ones.
///
/// # Errors
/// When none fits, or there is no route.
pub fn fit(
    budget: u64,
    is_shared: bool,
    asked: Way,
    free: Free,
    plan: impl Fn(Way) -> Result<Plan, TaskError>,
) -> Result<Plan, FitError> {
    let mut way = asked;
    loop {
        let planned = plan(way)?;
        let Some((stage, what, needed)) = planned.excess(budget, is_shared) else {
            return Ok(planned);
        };
        let leaner = match stage {
            Stage::Painting => leaner_painting(way, asked, free),
            Stage::Decoding => leaner_tiling(way.tiling).map(|tiling| Way { tiling, ..way }),
        };
        way = leaner.ok_or(FitError::TooMuch {
            budget,
            what,
            needed,
        })?;
    }
}

fn leaner_painting(way: Way, asked: Way, free: Free) -> Option<Way> {
    if way.parallel > 1 {
        let parallel = way.parallel / 2;
        return Some(Way { parallel, ..way });
    }
    let parallel = asked.parallel;
    if way.pool == PoolKind::KeyValues {
        let pool = PoolKind::States;
        return Some(Way {
            pool,
            parallel,
            ..way
        });
    }
    (free == Free::Route && way.route != RouteKind::Sweep).then_some(Way {
        route: RouteKind::Sweep,
        pool: asked.pool,
        parallel,
        ..way
    })
}

fn leaner_tiling(tiling: Tiling) -> Option<Tiling> {
    if tiling.whole > 0 {
        return Some(Tiling { whole: 0, ..tiling });
    }
    if let Statistics::Sampled(count) = tiling.statistics
        && count > FEWEST_SAMPLED
    {
        let statistics = Statistics::Sampled((count / 2).max(FEWEST_SAMPLED));
        return Some(Tiling {
            statistics,
            ..tiling
        });
    }
    let window = tiling.window / 2;
    (window >= SHORTEST_WINDOW).then_some(Tiling { window, ..tiling })
}
