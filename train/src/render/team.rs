//! Several devices on one batch: each renders its share of the pictures, and all make the same
//! update from the gradients of all shares together. This is the only place where devices meet.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::distributed::{
    DistributedConfig, DistributedContext, ReduceOperation, all_reduce,
};
use burn::tensor::{Device, Tensor};

use super::batch::RenderBatch;
use super::task::RenderTask;

/// How devices add up their gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// The first device adds all up and hands out the sum: any devices can.
    AtTheFirst,
    /// All at once, as CUDA devices can (NCCL).
    Collective,
}

/// One of the devices that work on a batch together.
pub(super) struct Member {
    rank: usize,
    size: usize,
    way: Way,
}

/// How a member comes to the sum.
enum Way {
    Alone,
    /// With a line from and to each of the others.
    First(Vec<(Receiver<Given>, Sender<Given>)>),
    /// With a line to and from the first.
    Other(Sender<Given>, Receiver<Given>),
    Collective {
        devices: Vec<Device>,
        /// Keeps the connections open.
        _context: Arc<DistributedContext>,
    },
}

/// What a member has to give, or gets back.
struct Given {
    gradients: GradientsParams,
    loss: Tensor<1>,
}

/// Why a line can be cut.
const GONE: &str = "the other devices work for as long as this one";

impl Member {
    /// Gives the only member.
    pub(super) fn alone() -> Self {
        Self {
            rank: 0,
            size: 1,
            way: Way::Alone,
        }
    }

    /// Gives a member for each device; the first leads.
    pub(super) fn team(devices: &[Device], meeting: Meeting) -> Vec<Self> {
        let size = devices.len();
        let ways: Vec<Way> = match (size, meeting) {
            (1, _) => vec![Way::Alone],
            (_, Meeting::Collective) => {
                let devices: Vec<Device> = devices
                    .iter()
                    .map(|device| device.clone().without_autodiff())
                    .collect();
                let config = DistributedConfig {
                    all_reduce_op: ReduceOperation::Sum,
                };
                let context = Arc::new(DistributedContext::init(devices.clone(), config));
                let way = |_| Way::Collective {
                    devices: devices.clone(),
                    _context: context.clone(),
                };
                (0..size).map(way).collect()
            }
            (_, Meeting::AtTheFirst) => {
                let mut lines = Vec::new();
                let mut others = Vec::new();
                for _ in 1..size {
                    let (to_first, from_other) = channel();
                    let (to_other, from_first) = channel();
                    lines.push((from_other, to_other));
                    others.push(Way::Other(to_first, from_first));
                }
                let first = std::iter::once(Way::First(lines));
                first.chain(others).collect()
            }
        };
        let members = ways.into_iter().enumerate();
        members
            .map(|(rank, way)| Self { rank, size, way })
            .collect()
    }

    /// Gives this member's part of a batch.
    pub(super) fn share(&self, batch: &RenderBatch) -> RenderBatch {
        let b = batch.tokens.batch();
        let from = |rank: usize| rank * b / self.size;
        match self.size {
            1 => batch.clone(),
            _ => batch.part(from(self.rank)..from(self.rank + 1)),
        }
    }

    /// Adds up what all members give; each gets the same numbers, on its own device.
    ///
    /// # Panics
    /// When another member has ended its work.
    pub(super) fn sum(
        &self,
        task: &RenderTask,
        gradients: GradientsParams,
        loss: Tensor<1>,
    ) -> (GradientsParams, Tensor<1>) {
        let device = loss.device();
        let here = |given: Given| {
            let gradients = given.gradients.to_device(&device, task);
            (gradients, given.loss.to_device(&device))
        };
        match &self.way {
            Way::Alone => (gradients, loss),
            Way::First(lines) => {
                let (mut sum, mut losses) = (GradientsAccumulator::new(), loss);
                sum.accumulate(task, gradients);
                for (from, _) in lines {
                    let (gradients, loss) = here(from.recv().expect(GONE));
                    sum.accumulate(task, gradients);
                    losses = losses + loss;
                }
                let gradients = sum.grads();
                for (_, to) in lines {
                    let given = Given {
                        gradients: Each::of(task, &gradients, None),
                        loss: losses.clone(),
                    };
                    // One that is gone has said so where it ended.
                    let _ = to.send(given);
                }
                (gradients, losses)
            }
            Way::Other(to, from) => {
                to.send(Given { gradients, loss }).expect(GONE);
                here(from.recv().expect(GONE))
            }
            Way::Collective { devices, .. } => {
                let loss = Collective(devices).of(loss);
                let gradients = Each::of(task, &gradients, Some(Collective(devices)));
                (gradients, loss)
            }
        }
    }
}

/// Sums over CUDA devices.
struct Collective<'a>(&'a [Device]);

impl Collective<'_> {
    fn of<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        all_reduce(tensor, ReduceOperation::Sum, self.0.to_vec()).resolve()
    }
}

/// Copies gradients, or what is the sum of them on all devices.
struct Each<'a> {
    gradients: &'a GradientsParams,
    given: GradientsParams,
    sum: Option<Collective<'a>>,
}

impl<'a> Each<'a> {
    fn of(
        task: &RenderTask,
        gradients: &'a GradientsParams,
        sum: Option<Collective<'a>>,
    ) -> GradientsParams {
        let mut each = Self {
            gradients,
            given: GradientsParams::new(),
            sum,
        };
        task.visit(&mut each);
        each.given
    }
}

impl ModuleVisitor for Each<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let gradient = match &self.sum {
                Some(sum) => sum.of(gradient),
                None => gradient,
            };
            self.given.register(param.id, gradient);
        }
    }
}
