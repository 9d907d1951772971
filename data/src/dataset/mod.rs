//! Pictures as Burn datasets, and the order in which a training sees its data.

mod deck;
mod folder;
mod prefetch;

pub use self::deck::Deck;
pub use self::folder::CropDataset;
pub use self::prefetch::Prefetch;
