//! A wave that is being written: where its contexts and its tokens lie. Axes as in [`Session`].

use burn::tensor::{Int, Tensor, TensorData};

use super::attention::KeyValues;
use super::job::PatchJob;
use super::ncp::{Kept, PatchMemory};
use super::session::Session;
use super::transformer::index_data;
use super::{Feed, HEAD_WIDTH};

/// Keys and values of one layer while a wave is written: context first, then BOS and the tokens. The
/// token loop writes into it, and so does the next wave.
#[derive(Debug)]
pub(super) struct Buffer {
    pairs: Option<KeyValues>,
}

impl Buffer {
    /// Writes pairs to rows from `row` and places from `at` on.
    fn put(&mut self, [row, at]: [usize; 2], new: KeyValues) {
        // Taken out, the tensors have one owner and are written in place.
        let KeyValues { keys, values } = self.pairs.take().expect("put back by every call");
        let [b, heads, t, width] = new.keys.dims();
        let place = [row..row + b, 0..heads, at..at + t, 0..width];
        self.pairs = Some(KeyValues {
            keys: keys.slice_assign(place.clone(), new.keys),
            values: values.slice_assign(place, new.values),
        });
    }

    fn pairs(&self) -> &KeyValues {
        self.pairs.as_ref().expect("put back by every call")
    }

    /// Gives what lies in it, for kernels that write there themselves.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    pub(super) fn into_pairs(self) -> KeyValues {
        self.pairs.expect("put back by every call")
    }
}

/// A wave that is being written.
pub(super) struct Desk {
    pub(super) buffers: Vec<Buffer>,
    /// What hides places that are not there, or not written yet: for all layers, or one for each.
    pub(super) biases: Vec<Tensor<4>>,
    pub(super) texts: Vec<Option<KeyValues>>,
    /// Where BOS goes.
    pub(super) own: usize,
}

impl Session {
    /// Runs all layers on the states `[g · b, t, d]` of own tokens from the one at `at` on, BOS being 0;
    /// `see` is shown what enters each layer.
    pub(super) fn advance(
        &self,
        desk: &mut Desk,
        mut z: Tensor<3>,
        at: usize,
        mut see: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let (first, [_, t, _]) = (desk.own + at, z.dims());
        let weights = self.tokens.as_ref().expect("an autoregressive model");
        if !weights.head.is_bounded() {
            for bias in &mut desk.biases {
                let [n, heads, _, _] = bias.dims();
                let place = [0..n, 0..heads, 0..1, first..first + t];
                let hidden = std::mem::replace(bias, Tensor::empty([1, 1, 1, 1], &self.device));
                *bias = hidden.slice_fill(place, 0.0);
            }
        }
        z = self.renderer.precision.of(z);
        for (l, layer) in weights.layers.iter().enumerate() {
            see(&z);
            let (queries, pairs) = layer.project(z.clone());
            desk.buffers[l].put([0, first], pairs);
            let bias = desk.biases[l % desk.biases.len()].clone();
            let written = (desk.buffers[l].pairs().clone(), bias, first + 1);
            z = layer.forward(z, queries, written, desk.texts[l].as_ref());
        }
        z
    }

    /// Gives the caches of the patches on the desk.
    pub(super) fn kept(&self, desk: &Desk, g: usize) -> Vec<PatchMemory> {
        let m = self.config.tokens_per_patch();
        let own = |x: &Tensor<4>| x.clone().narrow(2, desk.own + 1, m);
        let of = |buffer: &Buffer| {
            let KeyValues { keys, values } = buffer.pairs();
            Kept::Pairs(KeyValues {
                keys: own(keys),
                values: own(values),
            })
        };
        self.split_wave(&desk.buffers.iter().map(of).collect::<Vec<_>>(), g)
    }

    /// Puts the contexts of a wave where its tokens will look for them.
    pub(super) fn lay_out(&self, jobs: &[PatchJob]) -> Desk {
        let (rows, m) = (jobs.len() * self.batch, self.config.tokens_per_patch());
        let longest = jobs.iter().map(|job| job.context.len()).max().unwrap_or(0);
        let own = longest * m;
        let buffers = self.buffers(rows, own + m + 1);
        let places = buffers[0].pairs().keys.dims()[2];
        let mut desk = Desk {
            buffers,
            biases: Vec::new(),
            texts: self.wave_texts(jobs),
            own,
        };
        let post = self.config.feed == Feed::Post;
        let heads = self.config.n_heads();
        // Post-RPE sets heads apart.
        let biased = if post { heads } else { 1 };
        // Where kernels look no further than to the token that is written, its places are open.
        let weights = self.tokens.as_ref();
        let is_bounded = weights.is_none_or(|weights| weights.head.is_bounded());
        let open = if is_bounded { own } else { places };
        let seen = jobs.iter().flat_map(|job| {
            let seen = job.context.len() * m;
            let row = move |at| match at < seen || at >= open {
                true => 0.0,
                false => f32::NEG_INFINITY,
            };
            (0..self.batch * biased).flat_map(move |_| (0..places).map(row))
        });
        let seen = TensorData::new(seen.collect(), [rows, biased, 1, places]);
        let bias = Tensor::<4>::from_data(seen, &self.device);
        for (l, layer) in self.renderer.layers.iter().enumerate() {
            let mut bias = bias.clone();
            for (g, job) in jobs
                .iter()
                .enumerate()
                .filter(|(_, job)| !job.context.is_empty())
            {
                let (row, n) = (g * self.batch, job.context.len());
                let shifts: Tensor<1, Int> = Tensor::from_data(index_data(&job.rows), &self.device);
                let shifts = layer.shifts(shifts, self.config.extent.own_row());
                for (at, memory) in job.context.iter().enumerate() {
                    let mut pairs = self.pairs(l, memory);
                    if !post {
                        let shift = shifts.clone().narrow(0, at, 1).cast(pairs.keys.dtype());
                        pairs.keys = pairs.keys + shift.reshape([1, heads, 1, HEAD_WIDTH]);
                    }
                    desk.buffers[l].put([row, at * m], pairs);
                }
                if post {
                    let shifts = shifts.transpose().reshape([1, heads, 1, n, 1]);
                    let shifts = shifts.expand([self.batch, heads, 1, n, m]);
                    let place = [row..row + self.batch, 0..heads, 0..1, 0..n * m];
                    bias = bias.slice_assign(place, shifts.reshape([self.batch, heads, 1, n * m]));
                }
            }
            // Post-RPE has a table in every layer.
            if l == 0 || post {
                desk.biases.push(bias);
            }
        }
        desk
    }

    /// Gives a buffer for every layer: those of the wave before, if they do, or zeros.
    fn buffers(&self, rows: usize, places: usize) -> Vec<Buffer> {
        let heads = self.config.n_heads();
        let does = |buffer: &Buffer| {
            let [have, _, room, _] = buffer.pairs().keys.dims();
            // Backends that look at all places would look at too many.
            let has_room = room == places || (room > places && self.exact().is_some());
            have == rows && has_room
        };
        let last = self.desk.take();
        if last.first().is_some_and(does) {
            return last;
        }
        drop(last);
        let empty = || self.zeros([rows, heads, places, HEAD_WIDTH]);
        let buffer = |_| Buffer {
            pairs: Some(KeyValues {
                keys: empty(),
                values: empty(),
            }),
        };
        (0..self.renderer.layers.len()).map(buffer).collect()
    }

    pub(super) fn put_away(&self, desk: Desk) {
        self.desk.replace(desk.buffers);
    }
}
