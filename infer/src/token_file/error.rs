//! What can go wrong with a token file.

use std::path::PathBuf;

use thiserror::Error;

use super::VERSION;

/// Why a token file cannot be used.
#[derive(Debug, Error)]
pub enum TokenFileError {
    /// The disk refuses.
    #[error("cannot {doing} {path}")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another kind of file.
    #[error("{0} is not a token file")]
    NotOne(PathBuf),
    /// A format from the future.
    #[error("{path} has format {found}; this program reads up to {VERSION}: use a newer one")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The beginning, without which the rest means nothing, is damaged.
    #[error("{path} is damaged at its beginning: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part, and how.
        what: String,
    },
    /// A part that is whole, yet cannot be right.
    #[error("{path}: {what}")]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// Another program writes it now.
    #[error("{0} is being painted by another program")]
    InUse(PathBuf),
    /// Too much for one part.
    #[error("{path}: {what} is larger than 4 GiB, the most a token file takes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Which part.
        what: &'static str,
    },
    /// The file could not be put in place.
    #[error(transparent)]
    Pending(#[from] nuwa_data::DataError),
}
