//! What is to be encoded: which pictures, at which size, how many at a time.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::bail;
use nuwa_data::dataset::{Entry, Framing, Listing, is_prepared};
use nuwa_data::{DataError, Picture, video};
use nuwa_model::checkpoint::{self, CONFIG_FILE, Kind};
use nuwa_model::vqgan::VqganConfig;
use nuwa_model::vqgan::tiled::Tiling;

use super::arguments::{SplitChoice, TokenizeArgs};
use crate::cli::Misuse;
use crate::prepare::PixelSize;

/// As many values make a batch of small pictures worth its memory.
const BATCH_VALUES: usize = 1 << 25;
/// The most pictures in a batch, however small.
const MOST_BATCH: usize = 64;
/// Codes that a token of 16 bits can name.
const MOST_CODES: usize = 1 << 16;

/// Everything that is decided before a network is loaded.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) listing: Listing,
    /// Which part of the data it is, for who asks again.
    pub(super) split: &'static str,
    pub(super) cut: Cut,
    /// Frames, rows and columns of tokens of a crop.
    pub(super) grid: [usize; 3],
    /// Frames that are encoded at once.
    pub(super) batch: usize,
    /// Pictures that are read, encoded and stored together. Groups begin at fixed places of the
    /// list, so that an interrupted store goes on with batches of the same pictures: those of
    /// others may round differently.
    pub(super) group: usize,
    /// Whether frames are too large to be encoded whole.
    pub(super) tiled: bool,
}

/// How a picture or clip becomes frames of crops.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub(super) framing: Framing,
    pub(super) frames: usize,
}

impl Plan {
    pub(super) fn new(args: &TokenizeArgs, vqgan: &VqganConfig) -> anyhow::Result<Self> {
        if vqgan.n_codes > MOST_CODES {
            bail!(
                "the VQGAN has {} codes, a store names {MOST_CODES}",
                vqgan.n_codes
            );
        }
        let stride = vqgan.stride();
        if let Some(PixelSize(w, h)) = args.size
            && !(w.is_multiple_of(stride) && h.is_multiple_of(stride))
        {
            let text = format!("--size {w}x{h} is not in whole tokens of {stride} pixels");
            return Err(Misuse(text).into());
        }
        let prepared = is_prepared(&args.data);
        if args.split.is_some() && !prepared && args.data.is_dir() {
            let data = args.data.display();
            let text = format!("--split needs a prepared dataset; {data} has no manifest");
            return Err(Misuse(text).into());
        }
        let split = match prepared {
            true => args.split.unwrap_or(SplitChoice::Train),
            false => SplitChoice::All,
        };
        let listing = Listing::read(&args.data, split.split())?;
        let given = |PixelSize(w, h)| (w, h);
        let (w, h, frames) = match (args.size.map(given), args.frames) {
            (Some((w, h)), Some(frames)) => (w, h, frames.into()),
            (size, frames) => {
                let (w, h, f) = first_size(&listing, &args.data)?;
                let whole = (w / stride * stride, h / stride * stride);
                if size.is_none() && (whole.0 == 0 || whole.1 == 0) {
                    bail!("the first picture has {w}x{h} pixels, a token has {stride}x{stride}");
                }
                let (w, h) = size.unwrap_or(whole);
                (w, h, frames.map_or(f, usize::from))
            }
        };
        let crops = usize::from(args.crops);
        // Frames are encoded with their continuation.
        let [rows, columns] = [h, w].map(|side| side / stride + 2 * Tiling::MARGIN);
        let n_tokens = rows.saturating_mul(columns);
        let pixels = n_tokens.saturating_mul(stride * stride);
        let values = vqgan
            .ch
            .saturating_mul(pixels)
            .max(n_tokens.saturating_mul(n_tokens));
        let batch = (BATCH_VALUES / values).clamp(1, MOST_BATCH);
        let framing = Framing {
            w,
            h,
            crops,
            seed: args.seed,
        };
        Ok(Self {
            listing,
            split: split.name(),
            cut: Cut { framing, frames },
            grid: [frames, h / stride, w / stride],
            batch,
            group: (batch / (crops * frames)).max(1),
            tiled: n_tokens > Tiling::of_stride(stride).whole,
        })
    }

    /// Gives how many groups there are.
    pub(super) fn n_groups(&self) -> usize {
        self.listing.entries.len().div_ceil(self.group)
    }

    /// Gives the entries of a group.
    pub(super) fn entries(&self, group: usize) -> Range<usize> {
        let start = group * self.group;
        start..self.listing.entries.len().min(start + self.group)
    }
}

impl Cut {
    /// Reads a picture or clip and gives the frames of its crops, crop after crop.
    pub(super) fn read(&self, entry: &Entry) -> Result<Vec<Picture>, DataError> {
        let mut clip = video::read_clip(&entry.path)?;
        if clip.len() < self.frames {
            return Err(DataError::TooShort {
                path: entry.path.clone(),
                found: clip.len(),
                needed: self.frames,
            });
        }
        clip.truncate(self.frames);
        Ok(self.framing.crops(entry.key, &clip))
    }
}

/// Gives width, height and frames of the first picture, as the list tells them or as the first file
/// that can be read has them.
fn first_size(listing: &Listing, data: &Path) -> anyhow::Result<(usize, usize, usize)> {
    let mut reason = None;
    for entry in &listing.entries {
        if let Some(size) = entry.size {
            return Ok(size);
        }
        match video::read_clip(&entry.path) {
            Ok(clip) if !clip.is_empty() => return Ok((clip[0].w(), clip[0].h(), clip.len())),
            Ok(_) => {}
            Err(error) => reason = Some(error),
        }
    }
    let nothing = format!("nothing in {} can be read", data.display());
    Err(match reason {
        Some(error) => anyhow::Error::new(error).context(nothing),
        None => anyhow::Error::msg(nothing),
    })
}

/// Finds a network: in the folder itself, or under its name in the run that the folder is.
pub(crate) fn network_folder(folder: &Path, name: &str) -> PathBuf {
    let inside = folder.join(name);
    let is_run = !folder.join(CONFIG_FILE).exists() && inside.join(CONFIG_FILE).exists();
    if is_run { inside } else { folder.to_owned() }
}

/// Reads how the VQGAN is built.
pub(crate) fn vqgan_config(folder: &Path) -> anyhow::Result<VqganConfig> {
    let config: VqganConfig = checkpoint::read_config(folder, Kind::Vqgan)?;
    config.check()?;
    Ok(config)
}
