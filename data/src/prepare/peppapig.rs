//! Cartoon clips with captions, PeppaPig (\[P\] 4.1): films cut where their subtitles say, 9,000
//! clips to learn from and 1,000 to measure with.

use super::subtitles::{self, Cue};
use super::{Listing, Origin, Outcome, Plan, Run, Sizes, Watch, chain, settings};
use crate::DataError;
use crate::manifest::Skipped;
use crate::video::{self, Cut};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The caption of a clip that nobody could describe.
const NO_CAPTION: &str = "N/A";

/// A dataset of films and what their subtitles tell: for `NAME.mp4` those in `NAME.srt` or
/// `NAME.vtt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeppaPig {
    /// The folder of films and subtitles.
    pub folder: PathBuf,
    /// Width and height of the frames in pixels (\[P\]: 1024 x 1024).
    pub size: (usize, usize),
    /// Frames of a clip (\[P\]: 5, at 5 a second), from the moment its subtitle appears.
    pub frames: usize,
    /// How many clips go where.
    pub sizes: Sizes,
    /// Where it comes from.
    pub origin: Origin,
}

impl PeppaPig {
    /// The numbers of the paper, with a seed that says which ones.
    #[must_use]
    pub fn sizes(seed: u64) -> Sizes {
        Sizes {
            train: Some(9_000),
            test: 1_000,
            seed,
        }
    }

    /// Makes the dataset in a folder, or what an earlier run has left to make.
    ///
    /// # Errors
    ///
    /// [`DataError`] if there is no film, ffmpeg is missing, the output folder holds something
    /// else, or the disk refuses.
    pub fn prepare(&self, out: &Path, watch: Watch<'_>) -> Result<Outcome, DataError> {
        let Listing { all, skipped } = self.cues()?;
        let plan = Plan {
            settings: settings("peppapig", self),
            origin: self.origin.clone(),
            items: self.sizes.split(all),
            skipped,
        };
        Run::open(plan, out)?.go(watch, |(film, cue), sink| {
            let cut = Cut {
                size: self.size,
                fps: super::folder::FPS,
                start: cue.start,
                frames: Some(self.frames),
            };
            let mut clip = Vec::new();
            video::each_frame(film, cut, &mut |frame| {
                clip.push(frame);
                Ok(())
            })?;
            if clip.len() < self.frames {
                return Err(DataError::TooShort {
                    path: film.clone(),
                    found: clip.len(),
                    needed: self.frames,
                });
            }
            sink.clip(&clip[..self.frames], Some(cue.text.clone()))
        })
    }

    /// Every subtitle that is a caption, by film and time, and the films without subtitles.
    fn cues(&self) -> Result<Listing<(PathBuf, Cue)>, DataError> {
        let failed = |source| DataError::Read {
            path: self.folder.clone(),
            source,
        };
        let mut films = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            films.push(entry.map_err(failed)?.path());
        }
        films.retain(|path| video::is_video(path));
        films.sort();
        if films.is_empty() {
            return Err(DataError::NothingToPrepare {
                path: self.folder.clone(),
                what: "video",
            });
        }
        let (mut all, mut skipped) = (Vec::new(), Vec::new());
        for film in films {
            let name = film
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            match subtitles_of(&film) {
                Ok(cues) => all.extend(
                    cues.into_iter()
                        .filter(is_caption)
                        .enumerate()
                        .map(|(index, cue)| (format!("{name}/{index:05}"), (film.clone(), cue))),
                ),
                Err(error) => skipped.push(Skipped {
                    item: name,
                    reason: chain(&error),
                }),
            }
        }
        Ok(Listing { all, skipped })
    }
}

fn is_caption(cue: &Cue) -> bool {
    !cue.text.is_empty() && !cue.text.eq_ignore_ascii_case(NO_CAPTION)
}

fn subtitles_of(film: &Path) -> Result<Vec<Cue>, DataError> {
    let vtt = film.with_extension("vtt");
    match vtt.is_file() {
        true => subtitles::read(&vtt),
        false => subtitles::read(&film.with_extension("srt")),
    }
}
