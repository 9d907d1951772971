//! What can go wrong with a painting.

use std::path::PathBuf;

use thiserror::Error;

use crate::task::TaskError;
use crate::token_file::TokenFileError;

/// Why a painting cannot begin or go on.
#[derive(Debug, Error)]
pub enum PaintingError {
    /// The file holds another painting.
    #[error("{path} is another painting ({}); --force paints over it", .differences.join("; "))]
    Different {
        /// The file.
        path: PathBuf,
        /// What differs, the file's value first.
        differences: Vec<String>,
    },
    /// The file's tokens do not fit its own request.
    #[error("{path} contradicts itself: {what}")]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The tokens were made by another VQGAN.
    #[error("{path} was painted with another VQGAN ({theirs}, not {ours})")]
    OtherVqgan {
        /// The file.
        path: PathBuf,
        /// Fingerprint in the file.
        theirs: String,
        /// Fingerprint of the run.
        ours: String,
    },
    /// The picture kept in the file cannot be read back.
    #[error("the picture kept in {0}")]
    Kept(PathBuf, #[source] nuwa_data::DataError),
    /// The token file cannot be used.
    #[error(transparent)]
    File(#[from] TokenFileError),
    /// The request is impossible.
    #[error(transparent)]
    Task(#[from] TaskError),
}
