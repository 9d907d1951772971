//! Procedural landscapes with true captions: public data without a download, for tests,
//! experiments and demonstrations.
//!
//! A [`Scene`] is what a seed shows: [`Attributes`] (sky, clouds, sun, land, water, trees) and
//! where everything lies. It is drawn at any size and moment: lengths are shares of the height,
//! so 64 and 512 pixels show the same scene, and every motion is a function of time. The same
//! attributes are read back from pixels alone by [`recover`], which judges pictures that a model
//! has painted for a caption.
//!
//! Coordinates: `u` to the right from the middle of the picture, `v` downwards from its top, both
//! in heights of the picture; time in seconds.

mod attributes;
mod backdrop;
mod foreground;
mod noise;
mod palette;
mod phrase;
mod recover;
mod ridge;
mod scene;
mod trees;

pub use self::attributes::{Attributes, Clouds, Land, Sky, Sun, Trees, Water};
pub use self::phrase::CaptionError;
pub use self::recover::{recover, recover_film};
pub use self::scene::Scene;

/// Frames per second of every clip (\[P\] LHQ-V and PeppaPig are cut at this rate).
pub const FPS: f64 = 5.0;
