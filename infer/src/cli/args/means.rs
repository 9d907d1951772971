//! Arguments that say how a painting is done, and not what is painted.

use std::str::FromStr;

use clap::Args;

use crate::plan::Bytes;

#[derive(Debug, Args)]
pub(in crate::cli) struct Means {
    /// Most patches rendered as one batch, or auto: as many as the device makes use of. The picture
    /// is the same.
    #[arg(long, default_value = "auto", value_name = "auto|N")]
    pub(in crate::cli) parallel: Parallel,
    /// Memory that the painting may take, such as 6GB or 512MiB: batches, then the pool of patches,
    /// then the windows of decoding are made smaller, and the route another one unless it is
    /// given, until it fits.
    #[arg(long, value_name = "SIZE")]
    pub(in crate::cli) budget_memory: Option<Bytes>,
    /// Show a small picture of the painting in the terminal, every few seconds.
    #[arg(long)]
    pub(in crate::cli) preview: bool,
}

/// Patches in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Parallel {
    /// As many as the device makes use of.
    Auto,
    /// At most this many.
    Most(u32),
}

impl FromStr for Parallel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(n @ 1..)) => Ok(Self::Most(n)),
            _ => Err("it is auto, or a number from 1 on".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_auto_or_a_number() {
        assert_eq!("auto".parse(), Ok(Parallel::Auto));
        assert_eq!("1".parse(), Ok(Parallel::Most(1)));
        for text in ["0", "-1", "many", "", "1.5"] {
            assert!(text.parse::<Parallel>().is_err(), "{text}");
        }
    }
}
