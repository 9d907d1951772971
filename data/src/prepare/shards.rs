//! Tar shards as webdataset has them: files that share a name up to its first dot are one sample.

use super::folder::fitted;
use super::{Origin, Outcome, Plan, Run, Sizes, Watch, chain, settings};
use crate::image::{MOST_PIXELS, PictureFormat};
use crate::manifest::Skipped;
use crate::{DataError, Picture};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// A dataset of tar shards. The picture of a sample is a PNG, JPEG, WebP or TIFF file; its caption
/// is a `.txt` file, or `caption` or `text` in a `.json` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shards {
    /// One tar file, or a folder of them.
    pub path: PathBuf,
    /// Width and height in pixels of what is kept; without it pictures are kept bit for bit.
    pub size: Option<(usize, usize)>,
    /// How many samples are for measuring.
    pub sizes: Sizes,
    /// Where all of it comes from.
    pub origin: Origin,
}

/// The files of a sample by their ending: where they begin in the shard, and their bytes.
#[derive(Debug, Default)]
struct Sample {
    shard: PathBuf,
    name: String,
    files: BTreeMap<String, (u64, u64)>,
}

impl Shards {
    /// Makes the dataset in a folder, or what an earlier run has left to make.
    ///
    /// A shard that is cut off or damaged gives the samples before that place, and is listed.
    ///
    /// # Errors
    ///
    /// [`DataError`] if there is no shard, the output folder holds something else, or the disk
    /// refuses.
    pub fn prepare(&self, out: &Path, watch: Watch<'_>) -> Result<Outcome, DataError> {
        let (mut all, mut skipped) = (Vec::new(), Vec::new());
        for (name, shard) in self.shards()? {
            let mut samples = BTreeMap::new();
            if let Err(error) = index(&shard, &mut samples) {
                let reason = chain(&error);
                let item = name.clone();
                skipped.push(Skipped { item, reason });
            }
            let id = |(key, sample)| (format!("{name}/{key}"), sample);
            all.extend(samples.into_iter().map(id));
        }
        let plan = Plan {
            settings: settings("shards", self),
            origin: self.origin.clone(),
            items: self.sizes.split(all),
            skipped,
        };
        Run::open(plan, out)?.go(watch, |sample, sink| {
            let caption = sample.caption()?;
            let (ending, bytes) = sample.picture()?;
            let path = sample.path(&ending);
            let picture = Picture::decode(&bytes, &path, MOST_PIXELS)?;
            match self.size {
                Some(size) => sink.picture(&fitted(picture, &path, size)?, caption),
                None => sink.file(&bytes, &ending, &picture, caption),
            }
        })
    }

    /// The shards with their names, in the order of these.
    fn shards(&self) -> Result<Vec<(String, PathBuf)>, DataError> {
        let failed = |source| DataError::Read {
            path: self.path.clone(),
            source,
        };
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        if !self.path.is_dir() {
            File::open(&self.path).map_err(failed)?;
            return Ok(vec![(name(&self.path), self.path.clone())]);
        }
        let mut shards = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == "tar") {
                shards.push((name(&path), path));
            }
        }
        shards.sort();
        match shards.is_empty() {
            false => Ok(shards),
            true => Err(DataError::NothingToPrepare {
                path: self.path.clone(),
                what: ".tar shard",
            }),
        }
    }
}

/// Finds the samples of a shard without reading them.
fn index(shard: &Path, samples: &mut BTreeMap<String, Sample>) -> Result<(), DataError> {
    let failed = |source| DataError::Read {
        path: shard.to_owned(),
        source,
    };
    let file = File::open(shard).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (start, bytes) = (entry.raw_file_position(), entry.size());
        if start.checked_add(bytes).is_none_or(|end| end > length) {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        let base = path.rfind('/').map_or(0, |slash| slash + 1);
        let Some(dot) = path[base..].find('.') else {
            continue;
        };
        let (key, ending) = (&path[..base + dot], &path[base + dot + 1..]);
        let sample = samples.entry(key.to_owned()).or_insert_with(|| Sample {
            shard: shard.to_owned(),
            name: key.to_owned(),
            files: BTreeMap::new(),
        });
        sample.files.insert(ending.to_lowercase(), (start, bytes));
    }
    Ok(())
}

impl Sample {
    /// What errors call one of its files.
    fn path(&self, ending: &str) -> PathBuf {
        self.shard.join(format!("{}.{ending}", self.name))
    }

    fn picture(&self) -> Result<(String, Vec<u8>), DataError> {
        let is_picture = |ending: &&String| {
            PictureFormat::of(&self.path(ending)).is_ok_and(PictureFormat::is_readable)
        };
        let ending = self.files.keys().find(is_picture);
        let ending = ending.ok_or_else(|| DataError::NothingToPrepare {
            path: self.shard.join(&self.name),
            what: "PNG, JPEG, WebP or TIFF picture",
        })?;
        Ok((ending.clone(), self.bytes(ending)?))
    }

    fn caption(&self) -> Result<Option<String>, DataError> {
        let text = if self.files.contains_key("txt") {
            Some(String::from_utf8_lossy(&self.bytes("txt")?).into_owned())
        } else if self.files.contains_key("json") {
            let value: serde_json::Value =
                serde_json::from_slice(&self.bytes("json")?).map_err(|error| DataError::Line {
                    path: self.path("json"),
                    line: error.line(),
                    source: error.into(),
                })?;
            let text = value.get("caption").or_else(|| value.get("text"));
            text.and_then(|text| text.as_str()).map(str::to_owned)
        } else {
            None
        };
        let text = text.map(|text| text.trim().to_owned());
        Ok(text.filter(|text| !text.is_empty()))
    }

    fn bytes(&self, ending: &str) -> Result<Vec<u8>, DataError> {
        let (start, length) = self.files[ending];
        let read = || {
            let mut file = File::open(&self.shard)?;
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| DataError::Read {
            path: self.path(ending),
            source,
        })
    }
}
