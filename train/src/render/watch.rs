//! What a strategy tells those who watch it.

use super::optimize::PatchReport;
use super::task::RenderTask;

/// An update that was made.
#[derive(Debug)]
pub struct Update<'a> {
    /// Updates so far, this one counted.
    pub updates: u64,
    /// The patch it was made for.
    pub patch: PatchReport,
    /// Its learning rate.
    pub rate: f64,
    /// Weights after it.
    pub task: &'a RenderTask,
}

/// Hears of what happens while the strategy trains.
pub trait Watch: Send + Sync {
    /// An update was made.
    fn updated(&self, _update: &Update) {}
    /// Gives the weights that held-out records judge, if they are not the learner's.
    fn judged(&self) -> Option<RenderTask> {
        None
    }
    /// Held-out records were rendered with this mean loss.
    fn validated(&self, _loss: f64) {}
    /// The learner is about to hand out its checkpoint after so many updates.
    fn checkpointing(&self, _updates: u64) {}
}

/// Nobody hears of it.
impl Watch for () {}
