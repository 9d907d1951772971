//! The end of a training that no longer gets better.

use std::sync::Arc;

use burn::train::EarlyStoppingStrategy;
use burn::train::metric::store::EventStoreClient;

use super::run_watch::RunWatch;

/// Ends a training when its held-out loss has not fallen for so long.
///
/// It asks the watch, and not Burn's store of metrics, which forgets at the end of a process what a
/// run that goes on has to know.
#[derive(Clone)]
pub(super) struct Patience {
    watch: Arc<RunWatch>,
    /// Updates it may take to become better.
    updates: u64,
}

impl Patience {
    /// Waits for so many updates; none waits for the end.
    pub(super) fn new(watch: &Arc<RunWatch>, updates: u64) -> Option<Self> {
        let watch = watch.clone();
        (updates > 0).then_some(Self { watch, updates })
    }

    /// Gives the updates of the best weights, if it has waited long enough for better ones.
    pub(super) fn lost(&self) -> Option<u64> {
        let (_, best) = self.watch.best()?;
        (self.watch.updates().saturating_sub(best) >= self.updates).then_some(best)
    }
}

impl EarlyStoppingStrategy for Patience {
    fn should_stop(&mut self, _: usize, _: &EventStoreClient) -> bool {
        self.lost().is_some()
    }
}
