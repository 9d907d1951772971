//! Stage one: what a VQGAN is trained against.
//!
//! [`loss`] holds both sides of the game, [`discriminator`] the adversary.

pub mod codebook;
pub mod discriminator;
pub mod loss;
