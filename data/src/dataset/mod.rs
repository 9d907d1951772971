//! Pictures as Burn datasets, what there is to read, and the order in which a training sees it.

mod deck;
mod folder;
mod framing;
mod list;
mod prefetch;
mod tokens;

pub use self::deck::Deck;
pub use self::folder::CropDataset;
pub use self::framing::Framing;
pub use self::list::{Entry, Listing, is_prepared};
pub use self::prefetch::Prefetch;
pub use self::tokens::{TokenBatch, TokenBatches};
