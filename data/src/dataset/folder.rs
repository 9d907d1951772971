//! Random crops of one picture or of a folder of pictures.

use crate::augment::Pipeline;
use crate::image::PictureFormat;
use crate::{DataError, Picture, Sample, keyed};
use burn::data::dataset::{Dataset, DatasetError};
use std::fs;
use std::path::{Path, PathBuf};

/// How many bytes of decoded pictures are kept; what comes after is read each time.
const KEPT_BYTES: usize = 1 << 30;

/// A dataset of random crops. Item `i` is the same whenever and wherever it is asked for: it
/// depends on the seed and on `i` alone.
#[derive(Debug)]
pub struct CropDataset {
    entries: Vec<Entry>,
    pipeline: Pipeline,
    seed: u64,
    len: usize,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    caption: Option<String>,
}

#[derive(Debug)]
enum Source {
    Kept(Picture),
    OnDisk(PathBuf),
}

impl CropDataset {
    /// `len` crops of pictures in memory, the pictures taking turns.
    ///
    /// # Panics
    ///
    /// If there is no picture, or one has a side shorter than a crop.
    #[must_use]
    pub fn new(pictures: Vec<Picture>, pipeline: Pipeline, seed: u64, len: usize) -> Self {
        assert!(!pictures.is_empty(), "a dataset of no pictures");
        for picture in &pictures {
            assert!(
                picture.w().min(picture.h()) >= pipeline.px,
                "crops of {} px out of {picture:?}",
                pipeline.px
            );
        }
        let entry = |picture| Entry {
            source: Source::Kept(picture),
            caption: None,
        };
        Self {
            entries: pictures.into_iter().map(entry).collect(),
            pipeline,
            seed,
            len,
        }
    }

    /// `len` crops of the picture at `path`, or of the pictures in the folder at `path`, which
    /// take turns by name. A text file of the same name ending in `.txt` is a picture's caption.
    ///
    /// Pictures are read here as far as 1 GiB of memory goes, and checked; the others are read
    /// when they are asked for.
    ///
    /// # Errors
    ///
    /// [`DataError`] if there is no picture, or one cannot be read or is smaller than a crop.
    pub fn open(path: &Path, pipeline: Pipeline, seed: u64, len: usize) -> Result<Self, DataError> {
        let mut kept_bytes = 0;
        let mut entries = Vec::new();
        for path in pictures_at(path)? {
            let caption = caption_of(&path)?;
            let source = if kept_bytes < KEPT_BYTES {
                let picture = read(&path, pipeline.px)?;
                kept_bytes += picture.rgb().len();
                Source::Kept(picture)
            } else {
                Source::OnDisk(path)
            };
            entries.push(Entry { source, caption });
        }
        Ok(Self {
            entries,
            pipeline,
            seed,
            len,
        })
    }
}

impl Dataset<Sample> for CropDataset {
    fn get(&self, index: usize) -> Result<Sample, DatasetError> {
        assert!(index < self.len, "item {index} of {}", self.len);
        let mut rng = keyed::rng(self.seed, &[index as u64]);
        let entry = &self.entries[index % self.entries.len()];
        let pixels = match &entry.source {
            Source::Kept(picture) => self.pipeline.apply(picture, &mut rng),
            Source::OnDisk(path) => {
                let picture = read(path, self.pipeline.px).map_err(DatasetError::new)?;
                self.pipeline.apply(&picture, &mut rng)
            }
        };
        Ok(Sample {
            pixels,
            caption: entry.caption.clone(),
        })
    }

    fn len(&self) -> usize {
        self.len
    }
}

/// A picture that crops of `px` pixels can be taken from.
fn read(path: &Path, px: usize) -> Result<Picture, DataError> {
    let picture = Picture::read(path)?;
    let (w, h) = (picture.w(), picture.h());
    if w.min(h) < px {
        return Err(DataError::TooSmall {
            path: path.to_owned(),
            w,
            h,
            needed: px,
        });
    }
    Ok(picture)
}

/// The picture itself, or the pictures in a folder by name.
pub(super) fn pictures_at(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| DataError::Read {
        path: path.to_owned(),
        source,
    };
    let mut pictures = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_picture = PictureFormat::of(&file).is_ok_and(PictureFormat::is_readable);
        if is_picture && file.is_file() {
            pictures.push(file);
        }
    }
    if pictures.is_empty() {
        return Err(DataError::NoPictures {
            path: path.to_owned(),
        });
    }
    // The order of a folder differs between machines.
    pictures.sort();
    Ok(pictures)
}

/// What is written beside a picture.
pub(super) fn caption_of(picture: &Path) -> Result<Option<String>, DataError> {
    let path = picture.with_extension("txt");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Upright;
    use crate::batch::PixelBatcher;
    use burn::data::dataloader::DataLoaderBuilder;
    use burn::tensor::Device;

    fn texture(w: usize, h: usize) -> Picture {
        let byte = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
        Picture::new(w, h, (0..3 * w * h).map(byte).collect())
    }

    fn one_shot(seed: u64) -> CropDataset {
        let pipeline = Pipeline::one_shot(16, Upright::Free);
        CropDataset::new(vec![texture(40, 30)], pipeline, seed, 10)
    }

    #[test]
    fn an_item_depends_on_seed_and_index_alone() {
        let (first, second) = (one_shot(1), one_shot(1));
        let forward: Vec<Sample> = (0..10).map(|i| first.get(i).unwrap()).collect();
        for index in (0..10).rev() {
            assert_eq!(second.get(index).unwrap(), forward[index]);
        }
        assert_ne!(forward[0], forward[1]);
        assert_ne!(forward[0], one_shot(2).get(0).unwrap());
        assert_eq!(first.len(), 10);
    }

    #[test]
    fn a_folder_gives_its_pictures_by_name_with_their_captions() {
        let folder = tempfile::tempdir().unwrap();
        // Written from the last to the first, so that no order but that by name is likely.
        for byte in (0..9).rev() {
            let path = folder.path().join(format!("{byte}.tiff"));
            Picture::filled(20, 20, [byte; 3]).write(&path).unwrap();
        }
        fs::write(folder.path().join("1.txt"), " a flat color\n").unwrap();
        for name in ["notes.md", "film.mp4", "3.dzi"] {
            fs::write(folder.path().join(name), "no picture").unwrap();
        }
        fs::create_dir(folder.path().join("0.png")).unwrap();
        let data = CropDataset::open(folder.path(), Pipeline::plain(8), 0, 11).unwrap();
        let samples: Vec<Sample> = (0..11).map(|index| data.get(index).unwrap()).collect();
        let colors: Vec<u8> = samples.iter().map(|item| item.pixels.rgb()[0]).collect();
        assert_eq!(colors, [0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1]);
        assert_eq!(samples[0].caption, None);
        assert_eq!(samples[1].caption.as_deref(), Some("a flat color"));

        let single = CropDataset::open(&folder.path().join("1.tiff"), Pipeline::plain(8), 0, 1);
        assert_eq!(single.unwrap().get(0).unwrap(), samples[1]);
    }

    #[test]
    fn a_picture_left_on_the_disk_gives_the_same_crops() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        texture(40, 30).write(&path).unwrap();
        let mut late = one_shot(1);
        late.entries[0].source = Source::OnDisk(path.clone());
        assert_eq!(late.get(3).unwrap(), one_shot(1).get(3).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(late.get(3).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn places_without_usable_pictures_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| CropDataset::open(path, Pipeline::plain(16), 0, 1).unwrap_err();
        assert!(matches!(open(folder.path()), DataError::NoPictures { .. }));
        let path = folder.path().join("a.png");
        assert!(matches!(open(&path), DataError::Read { .. }));
        texture(40, 15).write(&path).unwrap();
        let line = open(&path).to_string();
        assert!(
            line.ends_with("has 40x15 pixels, crops of 16x16 were asked for"),
            "{line}"
        );
        fs::write(&path, "text").unwrap();
        assert!(matches!(open(folder.path()), DataError::NotAPicture { .. }));
    }

    #[test]
    fn a_data_loader_makes_whole_batches() {
        let loader = DataLoaderBuilder::new(PixelBatcher)
            .batch_size(4)
            .set_device(Device::flex())
            .build(one_shot(1));
        let sizes: Vec<[usize; 4]> = loader
            .iter()
            .map(|batch| batch.unwrap().pixels.dims())
            .collect();
        assert_eq!(sizes, [[4, 3, 16, 16], [4, 3, 16, 16], [2, 3, 16, 16]]);
    }
}
