//! Pictures as Burn datasets.

mod folder;

pub use self::folder::CropDataset;
