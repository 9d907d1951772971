//! Filling a store.

use super::{
    NO_TEXT, StoreSpec, Text, checked, length_of, parts, read_head, texts_path, tokens_path,
    write_head,
};
use crate::DataError;
use crate::lock::Lock;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Adds pictures to a store; nobody else has it open meanwhile.
#[derive(Debug)]
pub struct TokenWriter {
    spec: StoreSpec,
    tokens: End,
    texts: End,
    last_key: Option<u64>,
    _lock: Lock,
}

/// A file that is added to.
#[derive(Debug)]
struct End {
    path: PathBuf,
    file: File,
    record_bytes: usize,
    records: usize,
}

impl TokenWriter {
    /// Begins a store in a folder, or goes on with the one that is there: what an interrupted
    /// writer has left unfinished is cut off.
    ///
    /// # Errors
    ///
    /// [`DataError::OtherTokens`] if the store there is of another encoder or shape,
    /// [`DataError::InUse`] if it is open elsewhere, or another [`DataError`] if the disk refuses.
    ///
    /// # Panics
    ///
    /// If a number of the spec is 0.
    pub fn open(folder: &Path, spec: &StoreSpec) -> Result<Self, DataError> {
        assert!(spec.n_tokens() > 0 && spec.crops > 0, "a store of {spec}");
        fs::create_dir_all(folder).map_err(|source| DataError::Write {
            path: folder.to_owned(),
            source,
        })?;
        let mut tokens = End::open(tokens_path(folder), spec.token_bytes())?;
        let lock = Lock::exclusive(&tokens.path, &tokens.file)?;
        match read_head(folder)? {
            None => write_head(folder, spec)?,
            Some(found) if found == *spec => {}
            Some(found) => {
                return Err(DataError::OtherTokens {
                    path: folder.to_owned(),
                    found: found.to_string(),
                    expected: spec.to_string(),
                });
            }
        }
        let mut texts = End::open(texts_path(folder), spec.text_bytes())?;
        let last_key = cut_torn(spec, &mut tokens, &mut texts)?;
        Ok(Self {
            spec: spec.clone(),
            tokens,
            texts,
            last_key,
            _lock: lock,
        })
    }

    /// How many pictures the store holds, with all their crops.
    #[must_use]
    pub fn n_pictures(&self) -> usize {
        self.tokens.records / self.spec.crops
    }

    /// The key of the last picture, from which a caller knows where to go on.
    #[must_use]
    pub fn last_key(&self) -> Option<u64> {
        self.last_key
    }

    /// Adds the crops of a picture, and its text if it has one.
    ///
    /// # Shapes
    ///
    /// Each crop has `f * h * w` tokens, the text `t * d` states or `t` ids.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the disk refuses.
    ///
    /// # Panics
    ///
    /// If the number of crops, a length or the kind of the text is not that of the store.
    pub fn append(
        &mut self,
        key: u64,
        crops: &[&[u16]],
        text: Option<&Text>,
    ) -> Result<(), DataError> {
        assert_eq!(crops.len(), self.spec.crops, "crops of a picture");
        let number = match text {
            None => NO_TEXT,
            Some(text) => {
                let fits = self.spec.text.is_some_and(|spec| spec.fits(text));
                assert!(fits, "a text of another kind or size than {}", self.spec);
                self.texts.append(with_crc(text.to_bytes()))?;
                u32::try_from(self.texts.records - 1).expect("fewer texts than that fit on a disk")
            }
        };
        let mut records = Vec::with_capacity(self.spec.token_bytes() * crops.len());
        for (crop, tokens) in (0_u32..).zip(crops) {
            assert_eq!(tokens.len(), self.spec.n_tokens(), "tokens of a crop");
            let mut record = key.to_le_bytes().to_vec();
            record.extend(crop.to_le_bytes());
            record.extend(number.to_le_bytes());
            record.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
            records.extend(with_crc(record));
        }
        self.tokens.append(records)?;
        self.last_key = Some(key);
        Ok(())
    }

    /// Makes sure that all of it is on the disk.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the disk refuses.
    pub fn finish(self) -> Result<(), DataError> {
        self.texts.sync()?;
        self.tokens.sync()
    }
}

fn with_crc(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// Cuts off, at the end of both files, what is not a whole picture. Gives the last key.
fn cut_torn(spec: &StoreSpec, tokens: &mut End, texts: &mut End) -> Result<Option<u64>, DataError> {
    let mut pictures = tokens.records / spec.crops;
    let (last, texts_used) = loop {
        if pictures == 0 {
            break (None, 0);
        }
        let Some(key) = whole_picture(spec, tokens, pictures - 1)? else {
            pictures -= 1;
            continue;
        };
        // The last picture may have no text while the disk has lost one of a picture before it.
        match last_text(spec, tokens, pictures)? {
            None => break (Some(key), 0),
            Some((_, text)) if is_whole(texts, text)? => break (Some(key), text + 1),
            Some((picture, _)) => pictures = picture,
        }
    };
    tokens.cut(pictures * spec.crops)?;
    texts.cut(texts_used)?;
    Ok(last)
}

/// The key of a picture; nothing if one of its crops is damaged.
fn whole_picture(
    spec: &StoreSpec,
    tokens: &mut End,
    picture: usize,
) -> Result<Option<u64>, DataError> {
    let (mut record, mut key) = (Vec::new(), None);
    for crop in 0..spec.crops {
        tokens.read(picture * spec.crops + crop, &mut record)?;
        key = parts(&record)
            .filter(|it| it.crop as usize == crop)
            .map(|it| it.key);
        if key.is_none() {
            break;
        }
    }
    Ok(key)
}

/// The last of the first `pictures` that has a text, and that text.
fn last_text(
    spec: &StoreSpec,
    tokens: &mut End,
    pictures: usize,
) -> Result<Option<(usize, usize)>, DataError> {
    let mut record = Vec::new();
    for picture in (0..pictures).rev() {
        tokens.read(picture * spec.crops, &mut record)?;
        if let Some(text) = parts(&record).and_then(|parts| parts.text) {
            return Ok(Some((picture, text as usize)));
        }
    }
    Ok(None)
}

/// Whether a record is there with the bytes that were written.
fn is_whole(file: &mut End, record: usize) -> Result<bool, DataError> {
    if record >= file.records {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    file.read(record, &mut bytes)?;
    Ok(checked(&bytes).is_some())
}

impl End {
    fn open(path: PathBuf, record_bytes: usize) -> Result<Self, DataError> {
        let options = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .clone();
        let file = options.open(&path).map_err(|source| DataError::Write {
            path: path.clone(),
            source,
        })?;
        let bytes = length_of(&path, &file)?;
        Ok(Self {
            records: (bytes / record_bytes as u64) as usize,
            path,
            file,
            record_bytes,
        })
    }

    fn read(&mut self, record: usize, bytes: &mut Vec<u8>) -> Result<(), DataError> {
        bytes.resize(self.record_bytes, 0);
        let place = SeekFrom::Start((record * self.record_bytes) as u64);
        let read = self
            .file
            .seek(place)
            .and_then(|_| self.file.read_exact(bytes));
        read.map_err(|source| DataError::Read {
            path: self.path.clone(),
            source,
        })
    }

    /// Adds one record or more.
    fn append(&mut self, bytes: Vec<u8>) -> Result<(), DataError> {
        self.file
            .write_all(&bytes)
            .map_err(|source| self.failed(source))?;
        self.records += bytes.len() / self.record_bytes;
        Ok(())
    }

    fn cut(&mut self, records: usize) -> Result<(), DataError> {
        let bytes = (records * self.record_bytes) as u64;
        self.file
            .set_len(bytes)
            .map_err(|source| self.failed(source))?;
        self.records = records;
        Ok(())
    }

    fn sync(&self) -> Result<(), DataError> {
        self.file.sync_all().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> DataError {
        DataError::Write {
            path: self.path.clone(),
            source,
        }
    }
}
