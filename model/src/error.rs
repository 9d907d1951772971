//! What can go wrong in this crate because of a file or a user.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::checkpoint::Kind;

/// Everything a file, a user or a device can make fail in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done: "open", "write" and so on.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A weight file is cut short, corrupt, or not of the format it should be.
    #[error("cannot read weights from {}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader of that format said.
        reason: String,
    },
    /// A weight file could not be written.
    #[error("cannot write weights to {}: {reason}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        reason: String,
    },
    /// A `config.json` is not valid, or not of the expected fields.
    #[error("cannot read {}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Which field, and what is wrong with it.
        reason: String,
    },
    /// A checkpoint was written by another version of the format.
    #[error("{} has format {found}, this program reads format {expected}", path.display())]
    FormatVersion {
        /// The `config.json`.
        path: PathBuf,
        /// The version this program reads.
        expected: u64,
        /// The version in the file.
        found: String,
    },
    /// A checkpoint holds another network than the one asked for.
    #[error("{} holds a {found}, not a {expected}", path.display())]
    Kind {
        /// The `config.json`.
        path: PathBuf,
        /// The network asked for.
        expected: Kind,
        /// The network in the file.
        found: Kind,
    },
    /// The tensors of a file are not those of the network.
    #[error("the weights in {} do not fit the network:{}", path.display(), lines(mismatches))]
    Tensors {
        /// The weight file.
        path: PathBuf,
        /// Every tensor that is missing, too much, or of another shape or type.
        mismatches: Vec<Mismatch>,
    },
    /// Weights that are NaN or infinite.
    #[error("NaN or infinite weights in {}: {}", path.display(), tensors.join(", "))]
    NotFinite {
        /// The weight file.
        path: PathBuf,
        /// Every tensor that holds such a value.
        tensors: Vec<String>,
    },
    /// No architecture of the expected kind has tensors like those in the file.
    #[error("{} is not a {kind} this program knows: {reason}", path.display())]
    Architecture {
        /// The weight file.
        path: PathBuf,
        /// What the file was expected to hold.
        kind: Kind,
        /// Which tensor speaks against it.
        reason: String,
    },
}

impl Error {
    /// Wraps an operating system error with what was being done, and to which file.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Wraps what the reader of a weight format said about a file.
    pub(crate) fn damaged(path: &Path) -> impl Fn(&dyn fmt::Display) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Damaged {
            path: path.clone(),
            reason: reason.to_string(),
        }
    }
}

/// One tensor of a file that does not fit the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The network has this tensor, the file does not.
    Missing {
        /// Name under which the file should have it.
        name: String,
        /// Shape the network expects.
        expected: Vec<usize>,
    },
    /// The file has this tensor, the network does not.
    Extra {
        /// Name in the file.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// Both have this tensor, with different shapes.
    Shape {
        /// Name in the file.
        name: String,
        /// Shape the network expects.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// Both have this tensor, but the file holds no floating point numbers there.
    Type {
        /// Name in the file.
        name: String,
        /// Type of the numbers in the file.
        found: String,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, expected } => {
                write!(f, "missing {name}: expected {expected:?}, found nothing")
            }
            Self::Extra { name, found } => {
                write!(f, "extra {name}: expected nothing, found {found:?}")
            }
            Self::Shape {
                name,
                expected,
                found,
            } => {
                write!(
                    f,
                    "misshapen {name}: expected {expected:?}, found {found:?}"
                )
            }
            Self::Type { name, found } => {
                write!(f, "mistyped {name}: expected floating point, found {found}")
            }
        }
    }
}

fn lines(mismatches: &[Mismatch]) -> String {
    mismatches
        .iter()
        .map(|mismatch| format!("\n  {mismatch}"))
        .collect()
}
