//! The parts a token file is made of: length, kind, content, checksum, like those of a PNG.
//!
//! A part is whole or it is not there: a file cut off anywhere, or changed anywhere, reads as the
//! parts before the place.

use std::io::{self, Read};

use crc32fast::Hasher;

/// What a part holds, four letters.
pub(super) type Kind = [u8; 4];

/// Bytes around the content: length and kind before it, checksum after it.
const FRAME: usize = 12;

/// A part that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) kind: Kind,
    pub(super) content: Vec<u8>,
}

/// What follows the parts that are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    None,
    /// A part that was not written to its end.
    Cut,
    /// A part that is not what was written.
    Changed,
}

/// Gives a part as bytes: content length, kind, content, CRC-32 of kind and content; numbers are
/// little-endian.
///
/// # Panics
/// When the content is longer than a length can say, 4 GiB.
pub(super) fn bytes(kind: Kind, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("checked by the caller");
    let mut bytes = Vec::with_capacity(content.len() + FRAME);
    bytes.extend(length.to_le_bytes());
    bytes.extend(kind);
    bytes.extend(content);
    bytes.extend(checksum(kind, content).to_le_bytes());
    bytes
}

/// Reads parts from a file, one after the other.
pub(super) struct Chunks<R> {
    file: R,
    /// Bytes that the file has from here on.
    left: u64,
    /// Where the next part starts, in bytes from where reading began.
    pub(super) at: u64,
    pub(super) rest: Rest,
}

impl<R: Read> Chunks<R> {
    /// Reads a file that has `left` bytes from here on.
    pub(super) fn new(file: R, left: u64) -> Self {
        Self {
            file,
            left,
            at: 0,
            rest: Rest::None,
        }
    }

    /// Gives the next part, or nothing where the whole parts end; [`rest`](Self::rest) says why.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Chunk>> {
        if self.left == 0 {
            return Ok(None);
        }
        let cut = |chunks: &mut Self| {
            chunks.rest = Rest::Cut;
            Ok(None)
        };
        if self.left < FRAME as u64 {
            return cut(self);
        }
        let [length, kind]: [[u8; 4]; 2] = [self.four()?, self.four()?];
        let length = u64::from(u32::from_le_bytes(length));
        if self.left < FRAME as u64 + length {
            return cut(self);
        }
        let mut content = vec![0; length as usize];
        self.file.read_exact(&mut content)?;
        if u32::from_le_bytes(self.four()?) != checksum(kind, &content) {
            self.rest = Rest::Changed;
            return Ok(None);
        }
        self.left -= FRAME as u64 + length;
        self.at += FRAME as u64 + length;
        Ok(Some(Chunk { kind, content }))
    }

    fn four(&mut self) -> io::Result<[u8; 4]> {
        let mut four = [0; 4];
        self.file.read_exact(&mut four)?;
        Ok(four)
    }
}

fn checksum(kind: Kind, content: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&kind);
    hasher.update(content);
    hasher.finalize()
}
