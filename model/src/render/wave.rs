//! Several patches of one wave as one batch: their contexts side by side, padded to the longest,
//! and their caches apart again. Axes as in [`Session`].

use burn::tensor::{Int, Tensor, TensorData};

use super::HEAD_WIDTH;
use super::attention::KeyValues;
use super::block::LayerContext;
use super::config::Feed;
use super::job::PatchJob;
use super::ncp::{Kept, PatchMemory};
use super::session::Session;
use super::transformer::index_data;

impl Session {
    /// Gives what layer `l` sees of the context, for all jobs: shorter contexts are padded with
    /// zeros that `padding` hides.
    pub(super) fn context(
        &self,
        l: usize,
        jobs: &[PatchJob],
        padding: Option<&Tensor<4>>,
    ) -> Option<LayerContext> {
        let n = jobs
            .iter()
            .map(|job| job.context.len())
            .max()
            .filter(|&n| n > 0)?;
        let s = n * self.config.tokens_per_patch();
        let mut parts: Vec<LayerContext> =
            jobs.iter().map(|job| self.job_context(l, job, s)).collect();
        let joined = match parts.len() {
            1 => parts.remove(0),
            _ => {
                let biases: Option<Vec<_>> = parts.iter().map(|part| part.bias.clone()).collect();
                let (keys, values) = parts
                    .into_iter()
                    .map(|part| (part.pairs.keys, part.pairs.values))
                    .unzip();
                LayerContext {
                    pairs: KeyValues {
                        keys: Tensor::cat(keys, 0),
                        values: Tensor::cat(values, 0),
                    },
                    bias: biases.map(|biases| Tensor::cat(biases, 0)),
                }
            }
        };
        let bias = match (joined.bias, padding) {
            (Some(bias), Some(padding)) => Some(bias + padding.clone()),
            (bias, padding) => bias.or(padding.cloned()),
        };
        Some(LayerContext {
            pairs: joined.pairs,
            bias,
        })
    }

    fn job_context(&self, l: usize, job: &PatchJob, s: usize) -> LayerContext {
        let heads = self.config.n_heads();
        let empty = |s| self.zeros([self.batch, heads, s, HEAD_WIDTH]);
        let post = self.config.feed == Feed::Post;
        if job.context.is_empty() {
            let bias = post.then(|| Tensor::zeros([self.batch, heads, 1, s], &self.device));
            return LayerContext {
                pairs: KeyValues {
                    keys: empty(s),
                    values: empty(s),
                },
                bias,
            };
        }
        let pairs = job.context.iter().map(|memory| self.pairs(l, memory));
        let (keys, values) = pairs.map(|pairs| (pairs.keys, pairs.values)).unzip();
        let pairs = KeyValues {
            keys: Tensor::cat(keys, 2),
            values: Tensor::cat(values, 2),
        };
        let rows: Tensor<1, Int> = Tensor::from_data(index_data(&job.rows), &self.device);
        let context = self.renderer.layers[l].relate(pairs, rows, self.config.extent.own_row());
        let missing = s - job.context.len() * self.config.tokens_per_patch();
        let bias = context.bias.map(|bias| {
            let bias = bias.expand([self.batch as i64, -1, -1, -1]);
            match missing {
                0 => bias,
                _ => {
                    let rest = Tensor::zeros([self.batch, heads, 1, missing], &self.device);
                    Tensor::cat(vec![bias, rest], 3)
                }
            }
        });
        let KeyValues { keys, values } = context.pairs;
        let pairs = match missing {
            0 => KeyValues { keys, values },
            _ => KeyValues {
                keys: Tensor::cat(vec![keys, empty(missing)], 2),
                values: Tensor::cat(vec![values, empty(missing)], 2),
            },
        };
        LayerContext { pairs, bias }
    }

    /// Gives keys and values of layer `l` of a patch in the pool.
    pub(super) fn pairs(&self, l: usize, memory: &PatchMemory) -> KeyValues {
        match &memory.layers[l] {
            Kept::Pairs(pairs) => pairs.clone(),
            Kept::States(states) => match self.exact() {
                // What the token loop would have kept, to the bit.
                Some(weights) => weights.layers[l].project(states.clone()).1,
                None => self.renderer.layers[l].project(states.clone()),
            },
        }
    }

    /// Hides the padding of shorter contexts, `[g · b, 1, 1, s]`; nothing when all are equally long.
    pub(super) fn padding(&self, jobs: &[PatchJob]) -> Option<Tensor<4>> {
        let n = jobs.iter().map(|job| job.context.len()).max()?;
        if jobs.iter().all(|job| job.context.len() == n) {
            return None;
        }
        let m = self.config.tokens_per_patch();
        let mut bias = Vec::with_capacity(jobs.len() * self.batch * n * m);
        for job in jobs {
            for _ in 0..self.batch {
                let seen = job.context.len() * m;
                bias.extend(std::iter::repeat_n(0.0, seen));
                bias.extend(std::iter::repeat_n(f32::NEG_INFINITY, n * m - seen));
            }
        }
        let data = TensorData::new(bias, [jobs.len() * self.batch, 1, 1, n * m]);
        Some(Tensor::from_data(data, &self.device))
    }

    /// Gives the place embeddings of a wave, `[g · b, m, d]`.
    pub(super) fn wave_places(&self, jobs: &[PatchJob]) -> Tensor<3> {
        let of = |job: &PatchJob| {
            let places = self.places[job.order.row()].clone().unsqueeze::<3>();
            places.expand([self.batch as i64, -1, -1])
        };
        Tensor::cat(jobs.iter().map(of).collect(), 0)
    }

    /// Gives the BOS states of a wave, `[g · b, 1, d]`.
    pub(super) fn wave_begin(&self, jobs: &[PatchJob]) -> Tensor<3> {
        let of = |job: &PatchJob| self.renderer.begin(job.order, self.batch);
        Tensor::cat(jobs.iter().map(of).collect(), 0)
    }

    /// Splits what is kept of a wave into caches of its patches.
    pub(super) fn split_wave(&self, layers: &[Kept], g: usize) -> Vec<PatchMemory> {
        let of = |layer: &Kept, g: usize| match layer {
            Kept::Pairs(KeyValues { keys, values }) => Kept::Pairs(KeyValues {
                keys: self.part(keys, g),
                values: self.part(values, g),
            }),
            Kept::States(states) => Kept::States(self.part(states, g)),
        };
        let memory = |g: usize| PatchMemory {
            layers: layers.iter().map(|layer| of(layer, g)).collect(),
        };
        (0..g).map(memory).collect()
    }

    /// Copies the rows of one patch out of a wave: a view would keep the whole buffer alive as long
    /// as the pool keeps the patch.
    fn part<const D: usize>(&self, x: &Tensor<D>, g: usize) -> Tensor<D> {
        owned(x.clone().narrow(0, g * self.batch, self.batch))
    }

    /// Gives zeros as states are.
    pub(super) fn zeros<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        self.renderer.precision.zeros(shape, &self.device)
    }

    pub(super) fn token_tensor(&self, tokens: &[i32], m: usize) -> Tensor<2, Int> {
        let data = TensorData::new(tokens.to_vec(), [tokens.len() / m, m]);
        Tensor::from_data(data, &self.device)
    }
}

/// Copies a view to memory of its own, laid out by its shape.
pub(super) fn owned<const D: usize>(view: Tensor<D>) -> Tensor<D> {
    let shape = view.dims();
    Tensor::zeros(shape, (&view.device(), view.dtype())).slice_assign(shape.map(|n| 0..n), view)
}
