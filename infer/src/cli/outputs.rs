//! Files that are given and files that are written.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use nuwa_data::image::MOST_PIXELS;
use nuwa_data::pending::folder_of;
use nuwa_data::{Picture, Spool, out};
use sha2::{Digest, Sha256};

use super::Misuse;
use super::args::Common;
use super::events::{self, Event};
use crate::canvas::Development;
use crate::model_run::ModelRun;
use crate::painting::Painting;
use crate::task::SizePx;

/// Where a painting goes.
pub(super) struct Outputs {
    /// The token file, if one is wanted.
    pub(super) tokens: Option<PathBuf>,
    /// Pictures.
    pub(super) pixels: Vec<PathBuf>,
}

impl Outputs {
    /// Sorts paths by their endings and finds out whether that many frames can be written to them.
    pub(super) fn check(paths: &[PathBuf], size: SizePx, frames: usize) -> anyhow::Result<Self> {
        let (tokens, pixels): (Vec<_>, Vec<_>) =
            paths.iter().cloned().partition(|path| is_token_file(path));
        if tokens.len() > 1 {
            return Err(Misuse("one painting has one token file".into()).into());
        }
        for path in &pixels {
            out::check(path, size.w, size.h, frames)?;
        }
        let tokens = tokens.into_iter().next();
        Ok(Self { tokens, pixels })
    }

    /// Gives the paths of one of several paintings: name-1.png and so on.
    pub(super) fn numbered(&self, number: usize, of: usize) -> Self {
        let path = |path: &PathBuf| {
            if of == 1 {
                return path.clone();
            }
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let ending = path.extension().unwrap_or_default().to_string_lossy();
            path.with_file_name(format!("{stem}-{number}.{ending}"))
        };
        Self {
            tokens: self.tokens.as_ref().map(path),
            pixels: self.pixels.iter().map(path).collect(),
        }
    }
}

/// Tells by its ending whether a file holds tokens.
pub(super) fn is_token_file(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "nuwa")
}

/// A file that was given, and what it holds.
pub(super) struct GivenFile {
    pub(super) picture: Picture,
    pub(super) bytes: Vec<u8>,
    pub(super) hash: String,
}

impl GivenFile {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let digest = Sha256::digest(&bytes);
        Ok(Self {
            picture: Picture::decode(&bytes, path, MOST_PIXELS)?,
            hash: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            bytes,
        })
    }

    /// Takes a picture that is in no file, and goes into none.
    pub(super) fn of(picture: Picture) -> Self {
        Self {
            picture,
            bytes: Vec::new(),
            hash: String::new(),
        }
    }
}

pub(super) fn say_paths(file: Option<&Path>, pixels: &[PathBuf], common: &Common) {
    for path in file.into_iter().chain(pixels.iter().map(PathBuf::as_path)) {
        match common.json {
            true => events::say(&Event::Written { path }),
            false => say!("{}", path.display()),
        }
    }
}

/// Makes room for the pixels of a painting, if any are wanted.
pub(super) fn develop<'a>(
    run: &'a ModelRun,
    painting: &Painting,
    paths: &[PathBuf],
    blend: usize,
) -> anyhow::Result<Option<Development<'a>>> {
    let Some(first) = paths.first() else {
        return Ok(None);
    };
    let (layout, given) = (painting.layout, painting.given.clone());
    let SizePx { w, h } = layout.size;
    let spool = Spool::create(folder_of(first), w, h, layout.frames)?;
    let development = Development::new(run, layout, given, blend, spool);
    Ok(Some(development))
}

/// Decodes what is left of a painting and writes it to every path.
#[expect(clippy::print_stderr, reason = "this is the log")]
pub(super) fn write(
    painting: &Painting,
    development: Option<Development>,
    paths: &[PathBuf],
    quiet: bool,
) -> anyhow::Result<()> {
    let Some(development) = development else {
        return Ok(());
    };
    let (before, start) = (development.spent(), Instant::now());
    let spool = development.finish(&painting.tokens)?;
    let options = out::Options {
        description: Some(painting.header.description()),
        ..out::Options::default()
    };
    for path in paths {
        out::write(&spool, path, &options)?;
    }
    if !quiet {
        eprintln!(
            "decoded and written in {:.1} s",
            (before + start.elapsed()).as_secs_f64()
        );
    }
    Ok(())
}
