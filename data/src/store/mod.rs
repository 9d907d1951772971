//! Tokens and texts on disk, so that the encoders run once and not in every epoch.
//!
//! A store is a folder: `store.json` says what is in it, `tokens.bin` holds one record for each
//! crop of a picture, `texts.bin` one for each caption. Records of a file are all of one size, so
//! that the place of one is a product and no index is needed, and each ends in its checksum.
//! Files are only ever added to; what a killed process has left unfinished is cut off.
//!
//! ours: flat files that are mapped into memory, and not a database. All records of a store have
//! one shape and are asked for by number, which is what a database would have to look up; and the
//! one that `burn-dataset` has comes with another set of Burn's features.
//!
//! | record of `tokens.bin` | bytes, little-endian |
//! | --- | --- |
//! | key of the picture | 8 |
//! | number of the crop | 4 |
//! | number of its text, or all ones | 4 |
//! | tokens, rows of frames | 2 each |
//! | CRC-32 of all before | 4 |
//!
//! A record of `texts.bin` is the text and its CRC-32. A text is what a frozen tower has made of it,
//! states of 4 bytes for each number, or the ids that a tower which is still learning reads, 2 bytes
//! each.

mod read;
mod text;
mod write;

pub use self::read::{TokenSample, TokenStore};
pub use self::text::{Text, TextSpec};
pub use self::write::TokenWriter;

use crate::DataError;
use crate::pending::PendingFile;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Changes when the files change.
const VERSION: u32 = 2;
/// Where the number of a text would be, if there were one.
const NO_TEXT: u32 = u32::MAX;
/// Bytes of a token record before its tokens.
const HEAD_BYTES: usize = 16;
const CRC_BYTES: usize = 4;

/// What a store holds. All of it has to fit for a store to be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreSpec {
    /// Names the weights of the encoder: tokens of another one mean something else.
    pub fingerprint: String,
    /// Frames, rows and columns of tokens of a record.
    pub tokens: [usize; 3],
    /// What is kept of captions; none where they are not stored.
    pub text: Option<TextSpec>,
    /// Records of each picture, which are different crops of it.
    pub crops: usize,
}

/// What the first file of any store has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// The first file of a store.
#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    #[serde(flatten)]
    spec: StoreSpec,
}

impl StoreSpec {
    /// Tokens of one record.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.tokens.iter().product()
    }

    fn token_bytes(&self) -> usize {
        HEAD_BYTES + 2 * self.n_tokens() + CRC_BYTES
    }

    fn text_bytes(&self) -> usize {
        self.text.map_or(0, TextSpec::bytes) + CRC_BYTES
    }
}

impl fmt::Display for StoreSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [f, h, w] = self.tokens;
        write!(
            formatter,
            "encoder {}, {f}x{h}x{w} tokens",
            self.fingerprint
        )?;
        if let Some(text) = self.text {
            write!(formatter, ", texts of {text}")?;
        }
        write!(formatter, ", {} crops", self.crops)
    }
}

fn head_path(folder: &Path) -> PathBuf {
    folder.join("store.json")
}

fn tokens_path(folder: &Path) -> PathBuf {
    folder.join("tokens.bin")
}

fn texts_path(folder: &Path) -> PathBuf {
    folder.join("texts.bin")
}

/// Reads what a store says about itself; nothing where there is no store.
fn read_head(folder: &Path) -> Result<Option<StoreSpec>, DataError> {
    let path = head_path(folder);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DataError::Read { path, source }),
    };
    let damaged = |error: serde_json::Error| DataError::Line {
        path: path.clone(),
        line: error.line(),
        source: error.into(),
    };
    // First: what another version says of its contents may not be understood.
    let Version { version } = serde_json::from_str(&text).map_err(damaged)?;
    if version != VERSION {
        return Err(DataError::OtherTokens {
            path,
            found: format!("version {version}"),
            expected: format!("version {VERSION}"),
        });
    }
    let head: Head = serde_json::from_str(&text).map_err(damaged)?;
    Ok(Some(head.spec))
}

fn write_head(folder: &Path, spec: &StoreSpec) -> Result<(), DataError> {
    let path = head_path(folder);
    let head = Head {
        version: VERSION,
        spec: spec.clone(),
    };
    let text = serde_json::to_string_pretty(&head).expect("a head of plain values");
    let mut file = PendingFile::create(&path)?;
    writeln!(file, "{text}").map_err(|source| DataError::Write { path, source })?;
    file.commit()
}

fn length_of(path: &Path, file: &File) -> Result<u64, DataError> {
    let metadata = file.metadata().map_err(|source| DataError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(metadata.len())
}

/// A record of tokens, taken apart.
struct Parts<'a> {
    key: u64,
    crop: u32,
    text: Option<u32>,
    tokens: &'a [u8],
}

/// Takes a record apart; nothing if its checksum is wrong.
fn parts(record: &[u8]) -> Option<Parts<'_>> {
    let body = checked(record)?;
    let (head, tokens) = body.split_at(HEAD_BYTES);
    let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let text = number(12);
    Some(Parts {
        key: u64::from(number(0)) | u64::from(number(4)) << 32,
        crop: number(8),
        text: (text != NO_TEXT).then_some(text),
        tokens,
    })
}

/// A record without its checksum; nothing if that is wrong.
fn checked(record: &[u8]) -> Option<&[u8]> {
    let (body, crc) = record.split_at(record.len() - CRC_BYTES);
    (crc32fast::hash(body).to_le_bytes() == *crc).then_some(body)
}

#[cfg(test)]
mod tests;
