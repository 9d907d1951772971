//! How a painting is done on the machine at hand: the route where it is left open, the batch, and
//! what is made smaller to keep to a budget of memory.
//!
//! Batches and pool change nothing of what is painted. Windows do, a little: statistics of fewer or
//! smaller ones round colors otherwise, and may encode a given picture into other tokens.

use nuwa_data::Picture;
use nuwa_model::device;
use nuwa_model::render::{PoolKind, TokenGrid};

use super::args::{Common, Means, Parallel};
use crate::model_run::ModelRun;
use crate::painting::choose_route;
use crate::plan::{Bytes, Free, Networks, Plan, Way, fit};
use crate::request::Request;
use crate::task::{Layout, RouteKind, SizePx};

/// Patches of a batch, where that is left open, on a processor. With the shipped weights on two cores
/// 1, 4, 8 and 16 paint about 1260, 1540, 1700 and 1900 tokens/s; the pool grows with them.
const MOST_ON_CPU: usize = 8;
/// On a GPU, which wants more work at once.
const MOST_ON_GPU: usize = 32;
/// What a batch takes at most where it is left open: any machine holds that beside the networks.
const SMALL_WAVE_BYTES: u64 = 1 << 30;

/// What is to be painted, as far as it decides what that takes.
pub(super) struct Subject<'a> {
    pub(super) request: &'a Request,
    pub(super) layout: Layout,
    /// The tokens; what is known in them is any code.
    pub(super) tokens: &'a TokenGrid,
    /// What is encoded first.
    pub(super) given: Option<&'a Picture>,
    /// Pictures painted at once.
    pub(super) n: usize,
}

/// Tells whether the device computes in the memory and at the pace of the host.
pub(super) fn is_cpu(common: &Common) -> anyhow::Result<bool> {
    Ok(device::is_host(&common.device.open()?))
}

/// Chooses the way a subject is painted: along `route`, or by a route of its own.
pub(super) fn choose(
    run: &ModelRun,
    subject: &Subject,
    route: Option<RouteKind>,
    means: &Means,
    common: &Common,
) -> anyhow::Result<Plan> {
    let is_cpu = is_cpu(common)?;
    let guided = run.text.is_some() && subject.request.guidance.is_some();
    let networks = Networks::of(
        run,
        subject.n * if guided { 2 } else { 1 },
        subject.request.precision,
    );
    let given = subject.given.map(SizePx::of);
    let plan = |way| Plan::new(&networks, &subject.layout, subject.tokens, given, way);
    let asked = Way {
        route: match route {
            Some(kind) => kind,
            None => choose_route(run, &subject.layout, subject.tokens)?,
        },
        parallel: match (means.parallel, is_cpu) {
            (Parallel::Most(n), _) => n as usize,
            (Parallel::Auto, true) => MOST_ON_CPU,
            (Parallel::Auto, false) => MOST_ON_GPU,
        },
        pool: PoolKind::default(),
        tiling: run.tiling,
    };
    if let Some(Bytes(budget)) = means.budget_memory {
        let free = match route {
            Some(_) => Free::Nothing,
            None => Free::Route,
        };
        return Ok(fit(budget, is_cpu, asked, free, plan)?);
    }
    let mut planned = plan(asked)?;
    while means.parallel == Parallel::Auto
        && planned.parallel > 1
        && planned.device.wave > SMALL_WAVE_BYTES
    {
        let parallel = planned.parallel / 2;
        planned = plan(Way { parallel, ..asked })?;
    }
    Ok(planned)
}
