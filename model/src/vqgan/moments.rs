//! Mean and variance of group normalization: of the features at hand, or given from outside.
//!
//! A picture that is decoded in windows has one mean and variance per normalization and group, but
//! no window sees them. A [`Norms`] rides through a network and hands every normalization the
//! moments it shall use, or collects them.

use burn::nn::GroupNorm;
use burn::tensor::{Tensor, s};

use super::blocks::{NORM_EPSILON, NORM_GROUPS};

/// Mean and variance of each group of one normalization, pooled over windows.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    count: f64,
    /// Mean and sum of squared deviations of each group.
    groups: Vec<(f64, f64)>,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            count: 0.0,
            groups: vec![(0.0, 0.0); NORM_GROUPS],
        }
    }
}

impl Moments {
    /// Adds the values of feature maps `[b, c, h, w]`.
    fn add(&mut self, x: Tensor<4>) {
        let count = (x.dims().iter().product::<usize>() / NORM_GROUPS) as f64;
        let groups = x.swap_dims(0, 1).reshape([NORM_GROUPS as i32, -1]);
        let mean = groups.clone().mean_dim(1);
        let squares = (groups - mean.clone()).square().sum_dim(1);
        let total = self.count + count;
        let added = on_host(mean).into_iter().zip(on_host(squares));
        for (group, (mean, squares)) in self.groups.iter_mut().zip(added) {
            let apart = mean - group.0;
            group.0 += apart * count / total;
            group.1 += squares + apart * apart * self.count * count / total;
        }
        self.count = total;
    }

    /// Gives moments between these and others.
    pub(super) fn mixed(&self, other: &Self, share: f64) -> Self {
        let between = |a: f64, b: f64| a + share * (b - a);
        let variance = |moments: &Self, squares: f64| squares / moments.count;
        let groups = self.groups.iter().zip(&other.groups);
        let groups = groups.map(|(&(mean, squares), &(their_mean, their_squares))| {
            let variance = between(variance(self, squares), variance(other, their_squares));
            (between(mean, their_mean), variance)
        });
        Self {
            count: 1.0,
            groups: groups.collect(),
        }
    }

    /// Gives the slope and shift of each channel that normalize with these moments.
    fn line(&self, norm: &GroupNorm) -> Line {
        let (gamma, beta) = affine(norm);
        let ([c], device) = (gamma.dims(), gamma.device());
        let of_channel = |value: &dyn Fn(f64, f64) -> f64| {
            let values = (0..c).map(|channel| {
                let (mean, squares) = self.groups[channel * NORM_GROUPS / c];
                value(mean, squares / self.count) as f32
            });
            Tensor::<1>::from_floats(values.collect::<Vec<_>>().as_slice(), &device)
        };
        let scale = of_channel(&|_, variance| (variance + NORM_EPSILON).sqrt().recip());
        let mean = of_channel(&|mean, _| mean);
        let slope = scale * gamma;
        let shift = beta - mean * slope.clone();
        Line { slope, shift }
    }
}

/// A slope and a shift for each channel, `[c]`.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) slope: Tensor<1>,
    pub(crate) shift: Tensor<1>,
}

impl Line {
    /// Gives slope · x + shift of feature maps `[b, c, h, w]`.
    pub(crate) fn of(self, x: Tensor<4>) -> Tensor<4> {
        let [_, c, _, _] = x.dims();
        x * self.slope.reshape([1, c, 1, 1]) + self.shift.reshape([1, c, 1, 1])
    }
}

/// What a normalization does with its features.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, taken apart where it is made"
)]
pub(crate) enum Norm {
    /// It takes their own moments.
    Own,
    /// The moments are given.
    Given(Line),
}

/// The part of a feature map that counts: rows and columns in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Core {
    /// Rows and columns of tokens that the whole map covers.
    pub(crate) of: [usize; 2],
    /// First row and column that counts.
    pub(crate) start: [usize; 2],
    /// Rows and columns that count.
    pub(crate) size: [usize; 2],
}

impl Core {
    fn cut(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = x.dims();
        let range = |axis: usize, side: usize| {
            let scale = side / self.of[axis];
            self.start[axis] * scale..(self.start[axis] + self.size[axis]) * scale
        };
        x.slice(s![.., .., range(0, h), range(1, w)])
    }
}

/// Where the normalizations of one pass through a network take their moments from, in the order
/// the pass meets them.
#[derive(Debug, Default)]
pub(crate) struct Norms<'a> {
    /// Moments of the first ones.
    known: &'a [Moments],
    /// What the others do; without it, each takes the moments of its own features.
    survey: Option<Survey<'a>>,
    met: usize,
}

#[derive(Debug)]
struct Survey<'a> {
    /// What counts of each map of the batch.
    cores: Vec<Core>,
    found: &'a mut Vec<Moments>,
    /// Whether the pass goes on after the first moments found, with these.
    goes_on: bool,
}

impl<'a> Norms<'a> {
    /// Each takes the moments of its own features.
    pub(crate) fn own() -> Self {
        Self::default()
    }

    /// Each takes the moments given.
    pub(crate) fn given(known: &'a [Moments]) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// Each takes the joint moments of the cores of all maps of the batch, and notes them.
    pub(crate) fn joint(cores: Vec<Core>, found: &'a mut Vec<Moments>) -> Self {
        Self {
            known: &[],
            survey: Some(Survey {
                cores,
                found,
                goes_on: true,
            }),
            met: 0,
        }
    }

    /// The first one beyond `known` adds the moments of its features to `found`, and ends the pass.
    pub(crate) fn next(known: &'a [Moments], core: Core, found: &'a mut Vec<Moments>) -> Self {
        Self {
            known,
            survey: Some(Survey {
                cores: vec![core],
                found,
                goes_on: false,
            }),
            met: 0,
        }
    }

    /// Normalizes features `[b, c, h, w]`, or ends the pass.
    pub(crate) fn normalize(&mut self, norm: &GroupNorm, x: Tensor<4>) -> Option<Tensor<4>> {
        Some(match self.meet(norm, &x)? {
            Norm::Own => norm.forward(x),
            Norm::Given(line) => line.of(x),
        })
    }

    /// Tells what the next normalization does with its features, or ends the pass.
    pub(crate) fn meet(&mut self, norm: &GroupNorm, x: &Tensor<4>) -> Option<Norm> {
        let at = self.met;
        self.met += 1;
        if let Some(moments) = self.known.get(at) {
            return Some(Norm::Given(moments.line(norm)));
        }
        let Some(Survey {
            cores,
            found,
            goes_on,
        }) = &mut self.survey
        else {
            return Some(Norm::Own);
        };
        let at = at - self.known.len();
        if found.len() == at {
            found.push(Moments::default());
        }
        for (map, core) in cores.iter().enumerate() {
            found[at].add(core.cut(x.clone().narrow(0, map, 1)));
        }
        goes_on.then(|| Norm::Given(found[at].line(norm)))
    }
}

/// Gives γ and β of a normalization.
pub(crate) fn affine(norm: &GroupNorm) -> (Tensor<1>, Tensor<1>) {
    let value = |param: &Option<burn::module::Param<Tensor<1>>>| {
        param.as_ref().expect("our norms are affine").val()
    };
    (value(&norm.gamma), value(&norm.beta))
}

fn on_host(values: Tensor<2>) -> Vec<f64> {
    let data = values.into_data().convert_dtype(burn::tensor::DType::F64);
    data.try_into_vec().expect("converted to f64")
}
