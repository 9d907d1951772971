//! What a painting takes, before it is begun: numbers only.
//!
//! Memory is estimated from the largest things alive at the same time, in single precision; what
//! allocators keep back comes on top.

use std::fmt;
use std::str::FromStr;

use indicatif::BinaryBytes;
use nuwa_model::patch::{ContextEntry, GridSize, Route, Schedule, Step, Wave};
use nuwa_model::render::{Decoding, RendererConfig, TokenGrid};
use nuwa_model::vqgan::VqganConfig;
use nuwa_model::vqgan::tiled::{Statistics, Tiling};
use serde::Serialize;
use thiserror::Error;

use crate::model_run::{ModelRun, RIM};
use crate::pace::Pace;
use crate::painting::schedule;
use crate::task::{Layout, RouteKind, SizePx, TaskError};

/// Activations of the finest level alive at once in the VQGAN: what a block is given, normalized,
/// convolved, and its sum.
const ALIVE: u64 = 4;

/// The networks that paint, by their sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Networks {
    /// What writes the tokens.
    pub renderer: RendererConfig,
    /// What makes pixels of them.
    pub vqgan: VqganConfig,
    /// Weights of both.
    pub n_weights: usize,
}

/// How a painting is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The way through the patches.
    pub route: RouteKind,
    /// Most patches rendered as one batch.
    pub parallel: usize,
}

/// Bytes on the device. Weights stay; the pool and a wave are gone when windows are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceBytes {
    /// Both networks, and the layouts that a session copies: projections of queries, keys and
    /// values, the head, places.
    pub weights: u64,
    /// Keys and values of the most patches held at once.
    pub pool: u64,
    /// What the largest batch of patches computes with.
    pub wave: u64,
    /// What the windows of decoding that are computed together take.
    pub windows: u64,
}

/// Bytes in the memory of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HostBytes {
    /// The token grid.
    pub tokens: u64,
    /// The route and its batches.
    pub route: u64,
    /// Decoded pixels on their way to the disk.
    pub bands: u64,
}

/// Bytes on the disk, outputs aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiskBytes {
    /// The token file, without the given picture's own file.
    pub tokens: u64,
    /// Decoded pixels, until all outputs are written.
    pub spool: u64,
}

/// A painting in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The result.
    pub size: SizePx,
    /// Its patches.
    pub grid: GridSize,
    /// One patch.
    pub patch: SizePx,
    /// Patches to paint.
    pub n_open: usize,
    /// Patches that are known and only looked at.
    pub n_known: usize,
    /// The way through the patches.
    pub route: RouteKind,
    /// The fewest batches in which they could be painted.
    pub n_levels: usize,
    /// Most patches in a batch.
    pub parallel: usize,
    /// Patches of each batch that is painted.
    #[serde(skip)]
    pub waves: Vec<usize>,
    /// Most caches held at once.
    pub peak_pool: usize,
    /// Most caches held when one patch is painted after the other along the route.
    pub least_pool: usize,
    /// A window of decoding, rows and columns in tokens.
    pub window: [usize; 2],
    /// Windows decoded, those looked at for their statistics counted twice.
    pub n_windows: usize,
    /// Windows encoded, counted likewise.
    pub n_encoded: usize,
    /// On the device.
    pub device: DeviceBytes,
    /// On the host.
    pub host: HostBytes,
    /// On the disk.
    pub disk: DiskBytes,
}

impl Networks {
    /// Gives the sizes of a run.
    pub fn of(run: &ModelRun) -> Self {
        use burn::module::Module;
        Self {
            renderer: run.renderer_config.clone(),
            vqgan: run.vqgan_config.clone(),
            n_weights: run.renderer.num_params() + run.vqgan.num_params(),
        }
    }

    /// Gives the bytes of weights: those of both networks and `L (3d² + 3d) + V d + 4 m d` copied.
    pub fn weight_bytes(&self) -> u64 {
        let RendererConfig {
            d_model: d,
            n_layers,
            n_codes,
            ..
        } = self.renderer;
        let m = self.renderer.tokens_per_patch();
        bytes(self.n_weights + n_layers * (3 * d * d + 3 * d) + n_codes * d + 4 * m * d)
    }

    /// Gives the bytes of one patch in the pool: keys and values of every layer, `2 L m d`.
    pub fn cache_bytes(&self) -> u64 {
        let RendererConfig {
            d_model, n_layers, ..
        } = self.renderer;
        bytes(2 * n_layers * self.renderer.tokens_per_patch() * d_model)
    }

    /// Gives the bytes that one patch of a batch is painted with, when it sees `n` others. With
    /// `s = (n + 1) m + 1` places looked at: while AR writes, keys and values of every layer and one
    /// more, `2 (L + 1) s d`; while a pass runs, the inputs of all layers, one context, the scores
    /// and the hidden states of one layer, `L (m + 1) d + 2 s d + heads (m + 1) s + 12 (m + 1) d`,
    /// and for NAR and P-NAR the scores of the codes, `m V`. The larger of both.
    pub fn patch_bytes(&self, n: usize) -> u64 {
        let RendererConfig {
            d_model: d,
            n_layers,
            n_codes,
            decoding,
            ..
        } = self.renderer;
        let m = self.renderer.tokens_per_patch();
        let (s, own) = ((n + 1) * m + 1, m + 1);
        let pass =
            n_layers * own * d + 2 * s * d + self.renderer.n_heads() * own * s + 12 * own * d;
        bytes(match decoding {
            Decoding::Ar => pass.max(2 * (n_layers + 1) * s * d),
            Decoding::Nar | Decoding::Pnar => pass + m * n_codes,
        })
    }

    /// Gives the bytes that a window of `h · w` tokens is decoded, or encoded, with: four times the
    /// largest activation. A level works at its own width, and at that of the coarser one where
    /// that has just been enlarged.
    pub fn window_bytes(&self, [h, w]: [usize; 2]) -> u64 {
        let VqganConfig {
            ch, multipliers, ..
        } = &self.vqgan;
        let stride = self.vqgan.stride();
        let level = |i: usize| {
            let width = multipliers[i..].iter().take(2).max().copied().unwrap_or(1);
            ch * width * (h * stride >> i) * (w * stride >> i)
        };
        let largest = (0..multipliers.len()).map(level).max().unwrap_or(0);
        ALIVE * bytes(largest)
    }
}

impl Plan {
    /// Plans a painting of the unknown tokens of a grid.
    ///
    /// # Errors
    /// When there is no route.
    pub fn new(
        networks: &Networks,
        layout: &Layout,
        tokens: &TokenGrid,
        given: Option<SizePx>,
        way: Way,
    ) -> Result<Self, TaskError> {
        let route = layout.route(tokens, way.route)?;
        let schedule = schedule(&route, way.parallel);
        let stride = networks.vqgan.stride();
        let tiling = Tiling::of_stride(stride);
        let patch = networks.renderer.patch;
        let is_open = |position: usize| is_open(tokens, &route.steps()[position], networks);
        let is_painted = |wave: &&Wave| wave.steps.iter().any(|&position| is_open(position));
        let waves: Vec<usize> = {
            let painted = schedule.waves().iter().filter(is_painted);
            painted.map(|wave| wave.steps.len()).collect()
        };
        let n_open = (0..route.steps().len()).filter(|&p| is_open(p)).count();
        let whole = rimmed([tokens.size().h, tokens.size().w]);
        let (window, n_windows, n_together) = windows(&tiling, whole);
        let encoded = given.map(|size| {
            let tokens = [size.h, size.w].map(|side| side.div_ceil(stride));
            windows(&tiling, rimmed(tokens))
        });
        let together = encoded.map_or(0, |(window, _, n)| networks.window_bytes(window) * n as u64);
        let longest = route.steps().iter().map(|step| step.context.len()).max();
        let widest = waves.iter().max().copied().unwrap_or(0);
        let device = DeviceBytes {
            weights: networks.weight_bytes(),
            pool: networks.cache_bytes() * schedule.peak_pool() as u64,
            wave: networks.patch_bytes(longest.unwrap_or(0)) * widest as u64,
            windows: together.max(networks.window_bytes(window) * n_together as u64),
        };
        let size = layout.size;
        Ok(Self {
            size,
            grid: layout.grid,
            patch: SizePx {
                w: patch.w * stride,
                h: patch.h * stride,
            },
            n_open,
            n_known: route.steps().len() - n_open,
            route: way.route,
            n_levels: route.n_levels(),
            parallel: way.parallel,
            waves,
            peak_pool: schedule.peak_pool(),
            least_pool: route.peak_pool(),
            window,
            n_windows: n_windows + n_together,
            n_encoded: encoded.map_or(0, |(_, n, together)| n + together),
            device,
            host: HostBytes {
                tokens: bytes(tokens.codes().len()),
                route: route_bytes(&route, &schedule),
                bands: band_bytes(&tiling, whole, stride),
            },
            disk: DiskBytes {
                tokens: token_file_bytes(n_open, patch.count(), given.map(|_| tokens)),
                spool: 3 * (size.w * size.h) as u64,
            },
        })
    }

    /// Gives the seconds of encoding, painting and decoding, at a measured pace.
    pub fn seconds(&self, pace: &Pace) -> [f64; 3] {
        let painted: f64 = self.waves.iter().map(|&n| pace.wave(n)).sum();
        [
            self.n_encoded as f64 * pace.encoded_window,
            painted + self.n_known as f64 * pace.known_patch,
            self.n_windows as f64 * pace.decoded_window,
        ]
    }

    /// Names the first stage that does not fit into a budget, and what it takes. Where the device
    /// computes in the host's memory, that counts too.
    fn excess(&self, budget: u64, is_shared: bool) -> Option<(String, u64)> {
        let DeviceBytes {
            weights,
            pool,
            wave,
            windows,
        } = self.device;
        let host = if is_shared { self.host.total() } else { 0 };
        let caches = self.peak_pool;
        let stages = [
            ("the weights".to_owned(), weights),
            (
                format!("the weights and a pool of {caches} caches"),
                weights + pool,
            ),
            (
                format!("painting ({} of it the pool)", Bytes(pool)),
                weights + pool + wave + host,
            ),
            (
                format!("decoding ({} of it the windows)", Bytes(windows)),
                weights + windows + host,
            ),
        ];
        stages.into_iter().find(|(_, needed)| *needed > budget)
    }
}

impl DeviceBytes {
    /// Gives the most bytes at any time.
    pub fn total(&self) -> u64 {
        self.weights + (self.pool + self.wave).max(self.windows)
    }
}

impl HostBytes {
    /// Gives all bytes.
    pub fn total(&self) -> u64 {
        self.tokens + self.route + self.bands
    }
}

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

fn is_open(tokens: &TokenGrid, step: &Step, networks: &Networks) -> bool {
    tokens
        .cut(step.index, step.order, networks.renderer.patch)
        .contains(&TokenGrid::UNKNOWN)
}

/// Decoding and encoding reach beyond the tokens by a rim.
fn rimmed(size: [usize; 2]) -> [usize; 2] {
    size.map(|side| side + 2 * RIM)
}

/// Gives the largest window of a grid of tokens, how many there are, and how many of them are
/// computed at once for their statistics.
fn windows(tiling: &Tiling, size: [usize; 2]) -> ([usize; 2], usize, usize) {
    let spans = size.map(|side| tiling.spans(side));
    let around = 2 * (tiling.blend + tiling.margin);
    let side = |axis: usize| {
        let longest = spans[axis].iter().map(ExactSizeIterator::len).max();
        size[axis].min(longest.unwrap_or(0) + around)
    };
    let n = spans[0].len() * spans[1].len();
    let together = match tiling.statistics {
        Statistics::Sampled(count) => n.min(count),
        Statistics::PerWindow | Statistics::Exact => 1,
    };
    ([side(0), side(1)], n, together)
}

/// Steps with their contexts and expiries, and the batches with theirs.
fn route_bytes(route: &Route, schedule: &Schedule) -> u64 {
    let place = size_of::<usize>();
    let of_step = |step: &Step| {
        size_of::<Step>()
            + step.context.len() * size_of::<ContextEntry>()
            + step.expires.len() * place
    };
    let steps: usize = route.steps().iter().map(of_step).sum();
    let waves = schedule.waves().len() * size_of::<Wave>();
    (steps + waves + 2 * route.steps().len() * place) as u64
}

/// A band along the short side and the part of it that is carried on, three channels each.
fn band_bytes(tiling: &Tiling, size: [usize; 2], stride: usize) -> u64 {
    let [short, long] = [size[0].min(size[1]), size[0].max(size[1])];
    let longest = tiling.spans(long).iter().map(ExactSizeIterator::len).max();
    let deep = longest.unwrap_or(0) + 2 * tiling.blend;
    2 * bytes(3 * short * deep * stride * stride)
}

/// The header, known tokens, and for each patch its tokens at two bytes behind its position and a
/// head of its own.
fn token_file_bytes(n_open: usize, m: usize, known: Option<&TokenGrid>) -> u64 {
    const HEADER: usize = 1024;
    const AROUND: usize = 4 + 12;
    (HEADER + known.map_or(0, |known| 2 * known.codes().len()) + n_open * (2 * m + AROUND)) as u64
}

/// Bytes of as many numbers in single precision.
fn bytes(n: usize) -> u64 {
    (n * size_of::<f32>()) as u64
}

/// A number of bytes, written `6GB`, `512MiB` or plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size such as 6GB or 512MiB");
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim().to_ascii_lowercase();
        let power = |letter: &str| "kmgt".find(letter).map(|at| at as i32 + 1);
        let factor = match unit.as_str() {
            "" | "b" => 1.0,
            unit => {
                let (base, letter) = match (unit.strip_suffix("ib"), unit.strip_suffix('b')) {
                    (Some(letter), _) => (1024.0_f64, letter),
                    (None, Some(letter)) => (1000.0, letter),
                    (None, None) => (1000.0, unit),
                };
                let letter = Some(letter).filter(|letter| letter.len() == 1);
                base.powi(letter.and_then(power).ok_or_else(wrong)?)
            }
        };
        Ok(Self((number * factor) as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BinaryBytes(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests;
