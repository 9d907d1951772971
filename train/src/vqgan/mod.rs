//! Stage one: the VQGAN and what it is trained against; and the pixel-guided decoder, trained alike.
//!
//! [`loss`] holds both sides of the game, [`discriminator`] the adversary, [`Players`] what both
//! are between steps; [`run`] trains them on a dataset, whatever [`Painter`] they are.

pub mod codebook;
mod command;
mod config;
pub mod discriminator;
mod kept;
pub mod loss;
mod painter;
pub mod perceptual;
pub mod pixel_guided;
mod players;
pub mod rate;
mod run;
mod source;
mod training;

pub use command::{VqganArgs, run as command};
pub use config::{VqganRunConfig, VqganTrainingConfig};
pub use painter::{Pace, Painter};
pub use pixel_guided::Guided;
pub use players::{Players, StepReport};
pub use run::{VqganJob, VqganOutcome, run};
