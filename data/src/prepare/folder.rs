//! A folder of pictures and videos, with captions or without.

use super::captions::Captions;
use super::{Listing, Origin, Outcome, Plan, Run, Sizes, Watch, settings};
use crate::image::{MOST_PIXELS, PictureFormat};
use crate::manifest::Skipped;
use crate::video::{self, Cut};
use crate::{DataError, Picture};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// Frames per second of clips (\[P\] 4.1).
pub(super) const FPS: u32 = 5;

/// A dataset of whatever lies in a folder and the folders in it.
///
/// Captions come from one file for all, `captions.jsonl` or `captions.csv`, or from a `NAME.txt`
/// beside each picture. Videos are cut into clips that follow each other; what is left at the end
/// is dropped. Files that are neither are not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// The folder.
    pub folder: PathBuf,
    /// A file of captions; else the one that lies in the folder, if any.
    pub captions: Option<PathBuf>,
    /// Width and height in pixels of what is kept: scaled down until one side fits, cut in the
    /// middle. Without it pictures are kept as they are, bit for bit.
    pub size: Option<(usize, usize)>,
    /// Frames of a clip.
    pub frames: usize,
    /// How many items are for measuring. A video is one item: its clips stay together.
    pub sizes: Sizes,
    /// Where all of it comes from.
    pub origin: Origin,
}

/// A picture or video and what it shows.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) caption: Option<String>,
}

impl Folder {
    /// Makes the dataset in a folder, or what an earlier run has left to make.
    ///
    /// # Errors
    ///
    /// [`DataError`] if there is nothing to prepare, the captions cannot be read, the output
    /// folder holds something else, or the disk refuses.
    pub fn prepare(&self, out: &Path, watch: Watch<'_>) -> Result<Outcome, DataError> {
        let Listing { all, skipped } = find(&self.folder, self.captions.as_deref(), out)?;
        let plan = Plan {
            settings: settings("folder", self),
            origin: self.origin.clone(),
            items: self.sizes.split(all),
            skipped,
        };
        self.go(plan, out, watch)
    }

    /// Carries out a plan for pictures and videos.
    pub(super) fn go(
        &self,
        plan: Plan<Found>,
        out: &Path,
        watch: Watch<'_>,
    ) -> Result<Outcome, DataError> {
        let video = plan
            .items
            .iter()
            .find(|item| video::is_video(&item.what.path));
        if let (Some(video), None) = (video, self.size) {
            let path = video.what.path.clone();
            return Err(DataError::NoFrameSize { path });
        }
        Run::open(plan, out)?.go(watch, |found, sink| {
            let Found { path, caption } = found;
            match self.size.filter(|_| video::is_video(path)) {
                Some(size) => self.clips(path, size, &mut |clip| sink.clip(clip, caption.clone())),
                None => {
                    let read = |source| DataError::Read {
                        path: path.clone(),
                        source,
                    };
                    let bytes = fs::read(path).map_err(read)?;
                    let picture = Picture::decode(&bytes, path, MOST_PIXELS)?;
                    match self.size {
                        Some(size) => sink.picture(&fitted(picture, path, size)?, caption.clone()),
                        None => {
                            let ending = path.extension().unwrap_or_default().to_string_lossy();
                            sink.file(&bytes, &ending, &picture, caption.clone())
                        }
                    }
                }
            }
        })
    }

    /// Cuts a video into clips, one after another.
    fn clips(
        &self,
        path: &Path,
        size: (usize, usize),
        keep: &mut dyn FnMut(&[Picture]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let cut = Cut {
            size,
            fps: FPS,
            start: 0.0,
            frames: None,
        };
        let (mut clip, mut kept) = (Vec::new(), 0);
        video::each_frame(path, cut, &mut |frame| {
            clip.push(frame);
            if clip.len() == self.frames {
                keep(&clip)?;
                kept += 1;
                clip.clear();
            }
            Ok(())
        })?;
        if kept == 0 {
            return Err(DataError::TooShort {
                path: path.to_owned(),
                found: clip.len(),
                needed: self.frames,
            });
        }
        Ok(())
    }
}

/// Pictures and videos below a folder by name, and the captions that belong to none of them.
/// The folder of the output is left out, should it lie there.
pub(super) fn find(
    folder: &Path,
    captions: Option<&Path>,
    out: &Path,
) -> Result<Listing<Found>, DataError> {
    let captions = Captions::of(folder, captions)?;
    let mut names = Vec::new();
    walk(
        folder,
        String::new(),
        out.canonicalize().ok().as_deref(),
        &mut names,
    )?;
    names.retain(|name| {
        let path = Path::new(name);
        video::is_video(path) || PictureFormat::of(path).is_ok_and(PictureFormat::is_readable)
    });
    if names.is_empty() {
        return Err(DataError::NothingToPrepare {
            path: folder.to_owned(),
            what: "PNG, JPEG, WebP or TIFF picture and no video",
        });
    }
    // The order of a folder differs between machines.
    names.sort();
    let orphan = |item: String| Skipped {
        item,
        reason: "it has a caption, but there is no such picture".to_owned(),
    };
    let orphans = captions.without_picture(names.iter().map(String::as_str));
    let found = |name: String| {
        let caption = captions.get(folder, &name)?;
        let path = folder.join(&name);
        Ok((name, Found { path, caption }))
    };
    let all: Result<Vec<_>, DataError> = names.into_iter().map(found).collect();
    Ok(Listing {
        all: all?,
        skipped: orphans.into_iter().map(orphan).collect(),
    })
}

/// Names of all files below a folder, relative to it, with `/` between folders.
fn walk(
    folder: &Path,
    prefix: String,
    out: Option<&Path>,
    names: &mut Vec<String>,
) -> Result<(), DataError> {
    let failed = |source| DataError::Read {
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = format!("{prefix}{}", name.to_string_lossy());
        // A link to a folder may lead in a circle; one to a file is as good as the file.
        if entry.file_type().map_err(failed)?.is_dir() {
            if out.is_none() || path.canonicalize().ok().as_deref() != out {
                walk(&path, format!("{name}/"), out, names)?;
            }
        } else if path.is_file() {
            names.push(name);
        }
    }
    Ok(())
}

/// The picture scaled down until one side fits, and cut in the middle.
pub(super) fn fitted(
    picture: Picture,
    path: &Path,
    (w, h): (usize, usize),
) -> Result<Picture, DataError> {
    let scale = f64::max(w as f64 / picture.w() as f64, h as f64 / picture.h() as f64);
    if scale > 1.0 {
        return Err(DataError::TooSmall {
            path: path.to_owned(),
            w: picture.w(),
            h: picture.h(),
            needed: w.max(h),
        });
    }
    let side = |length: usize, least: usize| ((length as f64 * scale).round() as usize).max(least);
    let picture = picture.resize(side(picture.w(), w), side(picture.h(), h));
    let (x, y) = ((picture.w() - w) / 2, (picture.h() - h) / 2);
    Ok(picture.crop(x, y, w, h))
}
