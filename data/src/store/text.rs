//! What a store keeps of a caption.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind and size of the texts of a store, all of which are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TextSpec {
    /// States that a frozen text tower has made.
    States {
        /// Places of a text, padding included.
        length: usize,
        /// Numbers of a state.
        width: usize,
    },
    /// Ids of tokens, for a text tower that is trained together with what reads it.
    Ids {
        /// Ids of a text, padding included.
        length: usize,
    },
}

/// One text.
#[derive(Debug, Clone, PartialEq)]
pub enum Text {
    /// States, `[t, d]`.
    States(Vec<f32>),
    /// Ids, `[t]`.
    Ids(Vec<u16>),
}

impl TextSpec {
    /// Numbers of one text.
    #[must_use]
    pub fn n_numbers(self) -> usize {
        match self {
            Self::States { length, width } => length * width,
            Self::Ids { length } => length,
        }
    }

    /// Bytes of one text.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::States { .. } => 4 * self.n_numbers(),
            Self::Ids { .. } => 2 * self.n_numbers(),
        }
    }

    /// Whether a text is of this kind and size.
    #[must_use]
    pub fn fits(self, text: &Text) -> bool {
        match (self, text) {
            (Self::States { .. }, Text::States(states)) => states.len() == self.n_numbers(),
            (Self::Ids { .. }, Text::Ids(ids)) => ids.len() == self.n_numbers(),
            _ => false,
        }
    }

    /// Takes a text out of its bytes.
    pub(super) fn read(self, bytes: &[u8]) -> Text {
        match self {
            Self::States { .. } => {
                let states = bytes.as_chunks::<4>().0;
                Text::States(states.iter().map(|&it| f32::from_le_bytes(it)).collect())
            }
            Self::Ids { .. } => {
                let ids = bytes.as_chunks::<2>().0;
                Text::Ids(ids.iter().map(|&it| u16::from_le_bytes(it)).collect())
            }
        }
    }
}

impl Text {
    /// Gives its bytes, little-endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::States(states) => states.iter().flat_map(|it| it.to_le_bytes()).collect(),
            Self::Ids(ids) => ids.iter().flat_map(|it| it.to_le_bytes()).collect(),
        }
    }
}

impl fmt::Display for TextSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::States { length, width } => write!(formatter, "{length}x{width} states"),
            Self::Ids { length } => write!(formatter, "{length} ids"),
        }
    }
}
