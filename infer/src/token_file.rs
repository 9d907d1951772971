//! The token file, `.nuwa`: the master of a painting. Pixels can be made from it again at any time.
//!
//! It begins with a magic number and the version of the format, and goes on in parts, each with
//! a checksum: `head` (what is painted, by what; JSON), `pict` and `mask` (the files that were given,
//! as they were), `know` (the tokens known from them), then one `done` for every finished patch. Parts
//! are only ever added. Killed at any moment, a painting loses the patch in flight; a part that was
//! cut off or changed ends what can be read, and everything before it is good.

mod chunk;
mod error;

pub use error::TokenFileError;

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nuwa_data::pending::PendingFile;

use self::chunk::{Chunks, Kind, Rest};
use crate::request::Header;

/// Begins every token file. Like that of a PNG it shows when a transfer changed line ends.
const MAGIC: [u8; 8] = *b"NUWA\r\n\x1a\n";
/// Version of the format this program writes, the newest it reads.
pub const VERSION: u32 = 1;
/// Stands for a token that is not known.
pub const UNKNOWN: u16 = u16::MAX;
/// Bytes before the first part.
const START: u64 = 12;
/// How often a growing file is forced to the disk. A crash of the program loses nothing without it.
const SYNC_EVERY: Duration = Duration::from_secs(5);

const HEAD: Kind = *b"head";
const PICTURE: Kind = *b"pict";
const MASK: Kind = *b"mask";
const KNOWN: Kind = *b"know";
const DONE: Kind = *b"done";

/// What a painting starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// What is painted, by what.
    pub header: Header,
    /// The given picture's file, as it was.
    pub picture: Option<Vec<u8>>,
    /// The given mask's file, as it was.
    pub mask: Option<Vec<u8>>,
    /// Tokens known from the picture, `[f, h, w]` of the whole grid; [`UNKNOWN`] elsewhere. Empty
    /// when nothing is known.
    pub known: Vec<u16>,
}

/// A finished patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its position in the route.
    pub position: usize,
    /// Its tokens, in the order they were written.
    pub tokens: Vec<u16>,
}

/// A token file as it was found.
#[derive(Debug, PartialEq)]
pub struct Found {
    /// What the painting started from.
    pub start: Start,
    /// The patches finished so far.
    pub records: Vec<Record>,
    /// What is wrong behind them, if anything.
    pub damage: Option<Damage>,
    /// Bytes up to the end of the last good part.
    good: u64,
}

/// What is wrong behind the last good part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The last part was not written to its end: the program was killed, or the file was cut.
    Cut,
    /// The next part is not what was written; what follows it is lost with it.
    Changed,
}

/// A token file that a painting adds to. Other programs are kept from it.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    file: File,
    synced: Instant,
}

impl TokenFile {
    /// Begins a file, in place of any that has its name.
    ///
    /// # Errors
    /// When it cannot be written; what was there before is still there then.
    pub fn create(path: &Path, start: &Start) -> Result<Self, TokenFileError> {
        let mut pending = PendingFile::create(path)?;
        let head = serde_json::to_vec(&start.header).expect("plain numbers and strings");
        let known: Vec<u8> = start
            .known
            .iter()
            .flat_map(|code| code.to_le_bytes())
            .collect();
        let mut bytes = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        let parts = [
            (HEAD, "the header", Some(&head)),
            (PICTURE, "the picture", start.picture.as_ref()),
            (MASK, "the mask", start.mask.as_ref()),
            (
                KNOWN,
                "the known tokens",
                (!known.is_empty()).then_some(&known),
            ),
        ];
        for (kind, what, content) in parts {
            let Some(content) = content else { continue };
            if u32::try_from(content.len()).is_err() {
                let path = path.to_owned();
                return Err(TokenFileError::TooLarge { path, what });
            }
            bytes.extend(chunk::bytes(kind, content));
        }
        pending.write_all(&bytes).map_err(disk("write", path))?;
        pending.commit()?;
        let mut file = Self::lock(path)?;
        file.file
            .seek(SeekFrom::End(0))
            .map_err(disk("write", path))?;
        Ok(file)
    }

    /// Goes on with a file: drops what is damaged at its end and adds behind the rest.
    ///
    /// # Errors
    /// When it cannot be written, or another program does so.
    pub fn resume(path: &Path, found: &Found) -> Result<Self, TokenFileError> {
        let mut file = Self::lock(path)?;
        let cut = file.file.set_len(found.good);
        cut.and_then(|()| file.file.seek(SeekFrom::Start(found.good)))
            .map_err(disk("write", path))?;
        Ok(file)
    }

    fn lock(path: &Path) -> Result<Self, TokenFileError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(disk("write", path))?;
        file.try_lock()
            .map_err(|_| TokenFileError::InUse(path.to_owned()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            synced: Instant::now(),
        })
    }

    /// Adds a finished patch.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn add(&mut self, record: &Record) -> Result<(), TokenFileError> {
        let position = u32::try_from(record.position).expect("routes are shorter than that");
        let mut content = position.to_le_bytes().to_vec();
        content.extend(record.tokens.iter().flat_map(|code| code.to_le_bytes()));
        // One call, so that a kill leaves all of it or a piece that is seen to be one.
        let written = self.file.write_all(&chunk::bytes(DONE, &content));
        written.map_err(disk("write", &self.path))?;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    /// Forces what was added to the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&mut self) -> Result<(), TokenFileError> {
        self.synced = Instant::now();
        self.file.sync_data().map_err(disk("write", &self.path))
    }
}

/// Reads a token file, as far as it is good.
///
/// # Errors
/// When it is not one, comes from a newer program, or is damaged before its first patch.
pub fn read(path: &Path) -> Result<Found, TokenFileError> {
    let file = File::open(path).map_err(disk("read", path))?;
    let length = file.metadata().map_err(disk("read", path))?.len();
    let mut file = BufReader::new(file);
    let mut first = Vec::new();
    let taken = file.by_ref().take(START).read_to_end(&mut first);
    taken.map_err(disk("read", path))?;
    let version = first.strip_prefix(&MAGIC);
    let Some(version) = version.and_then(|version| version.try_into().ok()) else {
        return Err(TokenFileError::NotOne(path.to_owned()));
    };
    let found = u32::from_le_bytes(version);
    if found == 0 {
        return Err(TokenFileError::NotOne(path.to_owned()));
    }
    if found > VERSION {
        let path = path.to_owned();
        return Err(TokenFileError::Newer { path, found });
    }
    parts(path, Chunks::new(file, length - START))
}

fn parts(path: &Path, mut chunks: Chunks<impl Read>) -> Result<Found, TokenFileError> {
    let contradiction = |what: String| TokenFileError::Contradiction {
        path: path.to_owned(),
        what,
    };
    let (mut header, mut picture, mut mask, mut known) = (None, None, None, Vec::new());
    let mut records = Vec::new();
    let mut good = START;
    while let Some(chunk) = chunks.next().map_err(disk("read", path))? {
        match chunk.kind {
            HEAD => {
                let read = serde_json::from_slice::<Header>(&chunk.content);
                header = Some(read.map_err(|error| contradiction(error.to_string()))?);
            }
            PICTURE => picture = Some(chunk.content),
            MASK => mask = Some(chunk.content),
            KNOWN => known = codes(&chunk.content),
            DONE if chunk.content.len() >= 4 => {
                let (position, tokens) = chunk.content.split_at(4);
                let position = u32::from_le_bytes(position.try_into().expect("four bytes"));
                records.push(Record {
                    position: position as usize,
                    tokens: codes(tokens),
                });
            }
            kind => {
                let kind = String::from_utf8_lossy(&kind).into_owned();
                return Err(contradiction(format!("no part is called {kind:?}")));
            }
        }
        good = START + chunks.at;
    }
    let damage = match chunks.rest {
        Rest::None => None,
        Rest::Cut => Some(Damage::Cut),
        Rest::Changed => Some(Damage::Changed),
    };
    let damaged = |what: &str| TokenFileError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let header = header.ok_or_else(|| damaged("it has no header"))?;
    let start = Start {
        header,
        picture,
        mask,
        known,
    };
    let given =
        |hash: &Option<String>, content: &Option<Vec<u8>>| hash.is_some() == content.is_some();
    let request = &start.header.request;
    let whole = given(&request.picture, &start.picture)
        && given(&request.mask, &start.mask)
        && !(request.picture.is_some() && start.known.is_empty());
    if !whole {
        return Err(damaged("what was given with the request is missing"));
    }
    Ok(Found {
        start,
        records,
        damage,
        good,
    })
}

fn codes(bytes: &[u8]) -> Vec<u16> {
    bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

fn disk(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TokenFileError {
    let path = path.to_owned();
    move |source| TokenFileError::Disk {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
