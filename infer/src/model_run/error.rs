//! Why a run cannot paint.

use std::path::PathBuf;

use nuwa_model::vqgan::Misfit;
use thiserror::Error;

use crate::task::SizePx;

/// Networks that cannot paint together, or not with what is here.
#[derive(Debug, Error)]
pub enum RunError {
    /// A network could not be read.
    #[error(transparent)]
    Checkpoint(#[from] nuwa_model::error::Error),
    /// The run's config is not understood.
    #[error("{}: {what}", path.display())]
    Config {
        /// The config.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The networks were not trained together.
    #[error("the renderer writes {renderer} codes, the VQGAN has {vqgan}")]
    Codes {
        /// Codes of the renderer.
        renderer: usize,
        /// Codes of the VQGAN.
        vqgan: usize,
    },
    /// A renderer that is told what to paint in words.
    #[error("the renderer is told in words what to paint, but the run has no `text` network")]
    NeedsText,
    /// A text network whose states the renderer does not read.
    #[error("the renderer reads text states of width {renderer}, the text network has {text}")]
    TextWidth {
        /// Width the renderer reads.
        renderer: usize,
        /// Width of the states.
        text: usize,
    },
    /// More codes than a token file can tell apart.
    #[error("a codebook of {0} codes; token files take up to 65534")]
    TooManyCodes(usize),
    /// A renderer whose patches reach over frames. None of the papers' does, and none is trained
    /// here.
    #[error("this renderer paints {0} frames at once; only one after the other is possible")]
    Frames(usize),
    /// The pixel-guided decoder reads other tokens than the VQGAN writes.
    #[error("pg-vqgan was not made from this run's VQGAN: {0}")]
    Guided(Misfit),
    /// The pixel-guided decoder takes frames whole.
    #[error(
        "pg-vqgan decodes up to {most} px at once, and a frame has {size}; a run without it \
         decodes frames of any size, each on its own"
    )]
    LargeFrame {
        /// The frame.
        size: SizePx,
        /// The most pixels it can have.
        most: usize,
    },
}
