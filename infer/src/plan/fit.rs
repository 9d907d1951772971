//! A plan that fits into a budget of memory.

use thiserror::Error;

use super::{Bytes, Plan, Way};
use crate::task::{RouteKind, TaskError};

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

/// Gives the first plan that fits into a budget of bytes: smaller and smaller batches along the
/// route asked for, then the same along the short side.
///
/// # Errors
/// When none fits, or there is no route.
pub fn fit(
    budget: u64,
    is_shared: bool,
    asked: Way,
    plan: impl Fn(Way) -> Result<Plan, TaskError>,
) -> Result<Plan, FitError> {
    let batches = || std::iter::successors(Some(asked.parallel), |&n| (n > 1).then_some(n / 2));
    let sweep = (asked.route != RouteKind::Sweep).then_some(RouteKind::Sweep);
    let mut least = None;
    for route in std::iter::once(asked.route).chain(sweep) {
        for parallel in batches() {
            let plan = plan(Way { route, parallel })?;
            match plan.excess(budget, is_shared) {
                None => return Ok(plan),
                excess => least = excess,
            }
        }
    }
    let (what, needed) = least.expect("a batch of one was tried");
    Err(FitError::TooMuch {
        budget,
        what,
        needed,
    })
}
