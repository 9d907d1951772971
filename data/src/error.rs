//! What can go wrong between the disk and pixels.

use std::io;
use std::path::PathBuf;

/// Why a picture or a dataset could not be read or written.
///
/// The messages leave out their source, so that a chain of causes prints every part once.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file or folder cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file holds something else than a picture we read.
    #[error("{path} is not a PNG, JPEG, WebP or TIFF picture")]
    NotAPicture {
        /// The file.
        path: PathBuf,
    },
    /// The picture is damaged, cut off, or of a kind its decoder does not know.
    #[error("cannot decode {path}")]
    Decode {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        source: ::image::ImageError,
    },
    /// The JPEG data stops before its end marker.
    #[error("{path} is cut off: the JPEG data has no end")]
    CutOff {
        /// The file.
        path: PathBuf,
    },
    /// The JPEG holds printing inks instead of colors.
    #[error("{path} is a CMYK JPEG; save it as RGB first")]
    Cmyk {
        /// The file.
        path: PathBuf,
    },
    /// The picture has more pixels than the caller allows.
    #[error("{path} has {w}x{h} pixels, the limit is {limit_px} pixels in all")]
    TooManyPixels {
        /// The file.
        path: PathBuf,
        /// Its width in pixels.
        w: u64,
        /// Its height in pixels.
        h: u64,
        /// The most pixels that would have been read.
        limit_px: u64,
    },
    /// The picture is too small for the crops asked for.
    #[error("{path} has {w}x{h} pixels, crops of {needed}x{needed} were asked for")]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// Its width in pixels.
        w: usize,
        /// Its height in pixels.
        h: usize,
        /// The side of a crop in pixels.
        needed: usize,
    },
    /// The folder holds no picture.
    #[error("{path} holds no PNG, JPEG, WebP or TIFF picture")]
    NoPictures {
        /// The folder.
        path: PathBuf,
    },
    /// The file's ending does not say which format to write.
    #[error(
        "{path} does not end in .png, .jpg, .webp, .tif or .dzi, nor for a film in .mp4, .webm, \
         .gif, .apng or / for a folder"
    )]
    UnknownEnding {
        /// The file.
        path: PathBuf,
    },
    /// The format cannot hold a picture of this size.
    #[error("{path} cannot hold {w}x{h} pixels: {rule}")]
    Unencodable {
        /// The file.
        path: PathBuf,
        /// The picture's width in pixels.
        w: usize,
        /// The picture's height in pixels.
        h: usize,
        /// What the format can hold, and what to use instead.
        rule: &'static str,
    },
    /// A film in a format for still pictures, or a still picture in one for films.
    #[error("{path} cannot hold {frames} frame{}: {rule}", if *.frames == 1 { "" } else { "s" })]
    FrameCount {
        /// The file.
        path: PathBuf,
        /// How many frames there are.
        frames: usize,
        /// What to use instead.
        rule: &'static str,
    },
    /// The folder to be written exists and holds something else.
    #[error("{path} exists and holds something else than an earlier output")]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// The program that encodes films is not installed.
    #[error(
        "{path} needs the program ffmpeg, which was not found; .gif, .apng or a folder (a name \
         ending in /) need no other program"
    )]
    NoFfmpeg {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The program that encodes films has failed.
    #[error("ffmpeg cannot write {path}: {reason}")]
    Ffmpeg {
        /// The file.
        path: PathBuf,
        /// The last line it printed.
        reason: String,
    },
    /// The disk would be full before the work is done.
    #[error("{path} needs up to {needed} bytes, the disk has {available} left")]
    DiskTooSmall {
        /// The file.
        path: PathBuf,
        /// The most bytes the file and the work on it can take.
        needed: u64,
        /// The bytes that are free.
        available: u64,
    },
    /// The file cannot be created, filled or given its name.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The encoder refused the picture.
    #[error("cannot encode {path}")]
    Encode {
        /// The file.
        path: PathBuf,
        /// The encoder's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The program that decodes videos is not installed.
    #[error("reading {path} needs the program ffmpeg, which was not found")]
    NoFfmpegToRead {
        /// The video.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The program that decodes videos has failed.
    #[error("ffmpeg cannot read {path}: {reason}")]
    Undecodable {
        /// The video.
        path: PathBuf,
        /// The last line it printed.
        reason: String,
    },
    /// The video has fewer frames than a clip.
    #[error("{path} has {found} frames where a clip begins, a clip has {needed}")]
    TooShort {
        /// The video.
        path: PathBuf,
        /// How many frames there are.
        found: usize,
        /// How many were asked for.
        needed: usize,
    },
    /// There are videos, and it is not said how large their frames shall be.
    #[error("{path} is a video: say how large its frames shall be")]
    NoFrameSize {
        /// The first of them.
        path: PathBuf,
    },
    /// The place holds nothing that could be prepared.
    #[error("{path} holds no {what}")]
    NothingToPrepare {
        /// The place.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The folder holds a dataset that was prepared in another way.
    #[error("{path} was prepared with other settings; choose another folder")]
    OtherPreparation {
        /// Its journal.
        path: PathBuf,
    },
    /// Another process works on it.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A line is not what it should be.
    #[error("line {line} of {path} is damaged")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of captions lacks a column.
    #[error("{path} names no {what}: the first line has to hold {names}")]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
        /// What the column may be called.
        names: &'static str,
    },
    /// The tokens were made by another encoder, or have another shape.
    #[error("{path} holds tokens of {found}, not of {expected}")]
    OtherTokens {
        /// The store.
        path: PathBuf,
        /// What it says about itself.
        found: String,
        /// What was asked for.
        expected: String,
    },
    /// A record of a store has other bytes than were written.
    #[error("record {record} of {path} is damaged")]
    DamagedRecord {
        /// The file.
        path: PathBuf,
        /// The record, from 0.
        record: usize,
    },
}

impl DataError {
    /// Whether the place of the output is in the way, or a program that is missing, so that it is
    /// of no use to go on with the next file.
    pub(crate) fn stops_everything(&self) -> bool {
        matches!(
            self,
            Self::Write { .. }
                | Self::Encode { .. }
                | Self::DiskTooSmall { .. }
                | Self::Unencodable { .. }
                | Self::NoFfmpegToRead { .. }
        )
    }
}
