//! Drawing AR tokens, a cube for each picture: the rank is found by its value, since devices sort badly.
//! Thresholds cut the range of the logits into parts, whatever lies above each is counted or weighed at
//! once, and the part that holds the rank is cut again. The token then becomes the next state.

mod kernel;

use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use self::kernel::{Done, draw_kernel};
use super::{UNITS, element};
use crate::render::sampling::{Choice, Sampler};

/// How a token is drawn, as [`Sampler::token`] does it.
///
/// Codes whose logits are equal to the bit at the end of the `top_k` likeliest are all drawn from.
#[derive(Debug, Clone, Copy)]
pub(in crate::render) struct Rule {
    top_k: usize,
    top_p: f32,
    temperature: f32,
    smoothing: f32,
    /// The scale of guidance and the pictures painted at once: a patch has their rows, and then the same
    /// many that are told what is not wanted.
    guidance: Option<(f32, usize)>,
}

impl Rule {
    /// Takes a sampler's rule, and guidance as a scale and how many pictures are painted at once.
    pub(in crate::render) fn new<U>(sampler: &Sampler<U>, guidance: Option<(f32, usize)>) -> Self {
        match sampler.choice {
            // Smoothing keeps the order.
            Choice::Greedy => Self {
                top_k: 1,
                top_p: 1.0,
                temperature: 1.0,
                smoothing: 0.0,
                guidance,
            },
            Choice::Drawn {
                top_k,
                top_p,
                temperature,
            } => Self {
                top_k: top_k.max(1),
                top_p: top_p as f32,
                temperature: temperature as f32,
                smoothing: sampler.smoothing as f32,
                guidance,
            },
        }
    }
}

/// What drawing reads and writes. Axes: `n` pictures of all patches, `r` their rows, `m` tokens of a patch,
/// `v` codes, `d` width.
#[derive(Debug)]
pub(in crate::render) struct Drawing {
    /// Uniform numbers, `[n, m]`.
    pub(in crate::render) uniforms: CubeTensor,
    /// Codes that are given, `[n, m]`, negative where none is.
    pub(in crate::render) given: CubeTensor,
    /// Codes that were drawn, `[n, m]`.
    pub(in crate::render) chosen: CubeTensor,
    /// How many tokens of each row are there, `[r]`; one more afterwards.
    pub(in crate::render) tokens: CubeTensor,
    /// Embeddings of the codes, `[v, d]`.
    pub(in crate::render) codes: CubeTensor,
    /// Embeddings of the places, `[r, m, d]`.
    pub(in crate::render) places: CubeTensor,
}

impl Drawing {
    /// Draws a token of every picture from logits, of which each of `[r, ≥ v]` has v, and makes the next
    /// states `[r, d]`.
    pub(in crate::render) fn launch(&self, logits: &CubeTensor, rule: Rule, states: &CubeTensor) {
        let [v, d] = [0, 1].map(|axis| self.codes.meta.shape()[axis]);
        let [n, m] = [0, 1].map(|axis| self.given.meta.shape()[axis]);
        let (scale, pictures) = rule.guidance.unwrap_or((1.0, 1));
        draw_kernel::launch(
            &states.client,
            CubeCount::Static(n as u32, 1, 1),
            CubeDim::new_1d(UNITS as u32),
            logits.clone().into_buffer_arg(),
            self.uniforms.clone().into_buffer_arg(),
            self.given.clone().into_buffer_arg(),
            self.codes.clone().into_buffer_arg(),
            self.places.clone().into_buffer_arg(),
            self.chosen.clone().into_buffer_arg(),
            self.tokens.clone().into_buffer_arg(),
            states.clone().into_buffer_arg(),
            v as u32,
            logits.meta.shape()[1] as u32,
            m as u32,
            d as u32,
            pictures as u32,
            scale,
            rule.top_k.min(v) as f32,
            rule.top_p,
            rule.temperature,
            rule.smoothing / v as f32,
            Done {
                guided: rule.guidance.is_some(),
                smoothed: rule.smoothing > 0.0,
            },
            rule.top_k < v,
            rule.top_p < 1.0,
            element(states.dtype),
        );
    }
}
