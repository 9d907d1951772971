//! What a painting takes, by where it takes it.

use serde::Serialize;

/// Bytes on the device. Weights stay; a wave is gone when windows are decoded, and the pool, too, unless
/// the picture is decoded while it is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DeviceBytes {
    /// Both networks, and the layouts that a session copies: those of the token loop, the
    /// head, places.
    pub weights: u64,
    /// Keys and values of the most patches held at once.
    pub pool: u64,
    /// What the largest batch of patches computes with.
    pub wave: u64,
    /// What the windows of decoding that are computed together take, with the pool if it is still there.
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
