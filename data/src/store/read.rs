//! Reading from a store.

use super::{
    StoreSpec, Text, checked, head_path, length_of, parts, read_head, texts_path, tokens_path,
};
use crate::DataError;
use crate::lock::Lock;
use burn::data::dataset::{Dataset, DatasetError};
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A crop of a picture as tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSample {
    /// The key the picture was stored with.
    pub key: u64,
    /// Which crop of it this is.
    pub crop: usize,
    /// Its tokens, rows of frames: `f * h * w` of them.
    pub tokens: Vec<u16>,
    /// Its text, of the kind and size that the store has.
    pub text: Option<Text>,
}

/// A store that is read from, by any number of processes and threads, while nobody writes to it.
#[derive(Debug)]
pub struct TokenStore {
    spec: StoreSpec,
    tokens: Records,
    texts: Records,
}

/// A file of records, mapped into memory.
#[derive(Debug)]
struct Records {
    path: PathBuf,
    /// Nothing where the file is empty: that cannot be mapped everywhere.
    bytes: Option<Mmap>,
    record_bytes: usize,
    records: usize,
    /// Given back after the mapping.
    _lock: Lock,
}

impl TokenStore {
    /// Opens the store in a folder.
    ///
    /// # Errors
    ///
    /// [`DataError::OtherTokens`] if its encoder has not the given fingerprint,
    /// [`DataError::InUse`] while it is written to, or another [`DataError`] if there is no store
    /// or it cannot be read.
    pub fn open(folder: &Path, fingerprint: &str) -> Result<Self, DataError> {
        let spec = read_head(folder)?.ok_or_else(|| DataError::Read {
            path: head_path(folder),
            source: io::ErrorKind::NotFound.into(),
        })?;
        if spec.fingerprint != fingerprint {
            return Err(DataError::OtherTokens {
                path: folder.to_owned(),
                found: format!("encoder {}", spec.fingerprint),
                expected: format!("encoder {fingerprint}"),
            });
        }
        let mut tokens = Records::open(tokens_path(folder), spec.token_bytes())?;
        let texts = Records::open(texts_path(folder), spec.text_bytes())?;
        // What a killed writer has left of a picture does not count.
        tokens.records -= tokens.records % spec.crops.max(1);
        Ok(Self {
            spec,
            tokens,
            texts,
        })
    }

    /// What the store holds.
    #[must_use]
    pub fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    /// How many records there are: pictures times crops. Record `i` is crop `i % crops` of picture
    /// `i / crops`.
    #[must_use]
    pub fn n_records(&self) -> usize {
        self.tokens.records
    }

    /// A record.
    ///
    /// # Errors
    ///
    /// [`DataError::DamagedRecord`] if it has other bytes than were written.
    ///
    /// # Panics
    ///
    /// If there is no such record.
    pub fn sample(&self, index: usize) -> Result<TokenSample, DataError> {
        let parts = parts(self.tokens.get(index)).ok_or_else(|| self.tokens.damaged(index))?;
        let tokens = parts.tokens.chunks_exact(2);
        let text = parts
            .text
            .map(|text| self.text(text as usize))
            .transpose()?;
        Ok(TokenSample {
            key: parts.key,
            crop: parts.crop as usize,
            tokens: tokens
                .map(|it| u16::from_le_bytes([it[0], it[1]]))
                .collect(),
            text,
        })
    }

    fn text(&self, index: usize) -> Result<Text, DataError> {
        // A picture with a text in a store without texts is damage of the same kind.
        let spec = self.spec.text.filter(|_| index < self.texts.records);
        let spec = spec.ok_or_else(|| self.texts.damaged(index))?;
        let text = checked(self.texts.get(index)).ok_or_else(|| self.texts.damaged(index))?;
        Ok(spec.read(text))
    }
}

impl Dataset<TokenSample> for TokenStore {
    fn get(&self, index: usize) -> Result<TokenSample, DatasetError> {
        self.sample(index).map_err(DatasetError::new)
    }

    fn len(&self) -> usize {
        self.n_records()
    }
}

impl Records {
    #[expect(unsafe_code, reason = "there is no safe way to map a file")]
    fn open(path: PathBuf, record_bytes: usize) -> Result<Self, DataError> {
        let failed = |source| DataError::Read {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(failed)?;
        let lock = Lock::shared(&path, &file)?;
        let bytes = length_of(&path, &file)?;
        let mapped = match bytes {
            0 => None,
            // SAFETY: a mapped file must not be cut while it is read. Our writers take the lock
            // that is held here shared before they cut, and else only add to the end.
            _ => Some(unsafe { Mmap::map(&file) }.map_err(failed)?),
        };
        Ok(Self {
            records: (bytes / record_bytes as u64) as usize,
            path,
            bytes: mapped,
            record_bytes,
            _lock: lock,
        })
    }

    fn get(&self, record: usize) -> &[u8] {
        assert!(record < self.records, "record {record} of {}", self.records);
        let bytes = self.bytes.as_deref().expect("a file of records is mapped");
        &bytes[record * self.record_bytes..][..self.record_bytes]
    }

    fn damaged(&self, record: usize) -> DataError {
        DataError::DamagedRecord {
            path: self.path.clone(),
            record,
        }
    }
}
