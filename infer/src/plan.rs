//! What a painting takes, before it is begun: numbers only.
//!
//! Memory is estimated from the largest things alive at the same time, in single precision; what
//! allocators keep back comes on top.

mod amount;
mod fit;
mod memory;
mod networks;
mod windows;

use nuwa_model::patch::{ContextEntry, GridSize, Route, Schedule, Step, Wave};
use nuwa_model::render::{PoolKind, TokenGrid};
use nuwa_model::vqgan::tiled::{Sweep, Tiling};
use serde::Serialize;

pub use self::amount::Bytes;
pub use self::fit::{FitError, Free, fit};
pub use self::memory::{DeviceBytes, DiskBytes, HostBytes};
pub use self::networks::Networks;
use self::windows::{Windows, rimmed};
use crate::canvas::sweep;
use crate::pace::Pace;
use crate::painting::schedule;
use crate::task::{Layout, RouteKind, SizePx, TaskError};

/// How a painting is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The way through the patches.
    pub route: RouteKind,
    /// Most patches rendered as one batch.
    pub parallel: usize,
    /// What the pool keeps of a patch.
    pub pool: PoolKind,
    /// How pictures are cut for the VQGAN.
    pub tiling: Tiling,
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
    /// What the pool keeps of a patch.
    pub pool: PoolKind,
    /// How pictures are cut for the VQGAN.
    #[serde(skip)]
    pub tiling: Tiling,
    /// Patches of each batch that is painted.
    #[serde(skip)]
    pub waves: Vec<usize>,
    /// Most caches held at once.
    pub peak_pool: usize,
    /// Most caches held when one patch is painted after the other along the route.
    pub least_pool: usize,
    /// A window of decoding, rows and columns in tokens.
    pub window: [usize; 2],
    /// Windows decoded at once, for their statistics.
    pub n_together: usize,
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
        let patch = networks.renderer.patch;
        let open: Vec<bool> = {
            let codes = |step: &Step| tokens.cut(step.index, step.order, patch);
            let steps = route.steps().iter();
            steps
                .map(|step| codes(step).contains(&TokenGrid::UNKNOWN))
                .collect()
        };
        let is_painted = |wave: &&Wave| wave.steps.iter().any(|&position| open[position]);
        let painted = schedule.waves().iter().filter(is_painted);
        let waves: Vec<usize> = painted.map(|wave| wave.steps.len()).collect();
        let n_open = open.iter().filter(|&&open| open).count();
        let stride = networks.vqgan.stride();
        let tiling = way.tiling;
        let whole = rimmed([tokens.size().h, tokens.size().w]);
        let decoded = Windows::new(&tiling, whole, sweep(layout));
        let encoded = given.map(|size| rimmed(in_tokens(size, stride)));
        let encoded = encoded.map(|size| Windows::new(&tiling, size, Sweep::Down));
        // Frames after the first are decoded whole where they are guided: frame and guide.
        let guided = match networks.is_guided && layout.frames > 1 {
            true => 2 * networks.window_bytes(whole),
            false => 0,
        };
        let longest = route.steps().iter().map(|step| step.context.len()).max();
        let widest = waves.iter().max().copied().unwrap_or(0);
        let pool = networks.cache_bytes(way.pool) * schedule.peak_pool() as u64;
        let wave = networks.patch_bytes(longest.unwrap_or(0)) * widest as u64;
        // A long picture is decoded while it is painted: the pool and the last wave's buffers stay.
        let beside = if decoded.n_stretches > 1 {
            pool + wave
        } else {
            0
        };
        let device = DeviceBytes {
            weights: networks.weight_bytes(),
            pool,
            wave,
            windows: (decoded.bytes(networks) + beside)
                .max(
                    encoded
                        .as_ref()
                        .map_or(0, |windows| windows.bytes(networks)),
                )
                .max(guided),
        };
        let host = HostBytes {
            tokens: bytes(tokens.codes().len()),
            route: route_bytes(&route, &schedule),
            bands: band_bytes(&decoded, whole, stride),
        };
        let size = layout.size;
        Ok(Self {
            size,
            grid: layout.grid,
            patch: networks.patch_px(),
            n_open,
            n_known: route.steps().len() - n_open,
            route: way.route,
            n_levels: route.n_levels(),
            parallel: way.parallel,
            pool: way.pool,
            tiling,
            waves,
            peak_pool: schedule.peak_pool(),
            least_pool: route.peak_pool(),
            window: decoded.size,
            n_together: decoded.n_together,
            n_windows: layout.frames * decoded.n_passes(),
            n_encoded: encoded.map_or(0, |windows| windows.n_passes()),
            device,
            host,
            disk: DiskBytes {
                tokens: token_file_bytes(n_open, patch.count(), given.map(|_| tokens)),
                spool: 3 * (size.w * size.h * layout.frames) as u64,
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

    /// Gives the way that was planned.
    pub fn way(&self) -> Way {
        let Self {
            route,
            parallel,
            pool,
            tiling,
            ..
        } = *self;
        Way {
            route,
            parallel,
            pool,
            tiling,
        }
    }

    /// Names the first stage that does not fit into a budget, and what it takes. Where the device
    /// computes in the host's memory, that counts too.
    fn excess(&self, budget: u64, is_shared: bool) -> Option<(Stage, String, u64)> {
        let DeviceBytes {
            weights,
            pool,
            wave,
            windows,
        } = self.device;
        let host = if is_shared { self.host.total() } else { 0 };
        let caches = self.peak_pool;
        let stages = [
            (Stage::Painting, "the weights".to_owned(), weights),
            (
                Stage::Painting,
                format!("the weights and a pool of {caches} caches"),
                weights + pool,
            ),
            (
                Stage::Painting,
                format!("painting ({} of it the pool)", Bytes(pool)),
                weights + pool + wave + host,
            ),
            (
                Stage::Decoding,
                format!("decoding ({} of it the windows)", Bytes(windows)),
                weights + windows + host,
            ),
        ];
        stages.into_iter().find(|(_, _, needed)| *needed > budget)
    }
}

/// What memory is taken for, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Painting,
    Decoding,
}

fn in_tokens(size: SizePx, stride: usize) -> [usize; 2] {
    [size.h, size.w].map(|side| side.div_ceil(stride))
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
    let waves = size_of_val(schedule.waves());
    (steps + waves + 2 * route.steps().len() * place) as u64
}

/// A band along the short side and the part of it that is carried on, three channels each.
fn band_bytes(windows: &Windows, size: [usize; 2], stride: usize) -> u64 {
    let short = size[0].min(size[1]);
    2 * bytes(3 * short * windows.band * stride * stride)
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

#[cfg(test)]
mod tests;
