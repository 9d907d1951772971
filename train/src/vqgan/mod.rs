//! Stage one: the VQGAN and what it is trained against.
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
mod players;
mod run;
mod source;
mod training;

pub use command::{VqganArgs, run as command};
pub use config::{VqganRunConfig, VqganTrainingConfig};
pub use painter::Painter;
pub use players::{Players, StepReport};
pub use run::{VqganJob, VqganOutcome, run};
