//! What a session is asked to write, or to read.

use super::adc::TokenGrid;
use super::ncp::PatchMemory;
use crate::patch::{Order, PatchIndex, Step};

/// One patch of a wave: where it is, how it is written, what it sees.
#[derive(Debug, Clone)]
pub struct PatchJob<'a> {
    /// Place of the patch: the key of its random numbers.
    pub index: PatchIndex,
    /// Order in which its tokens are written.
    pub order: Order,
    /// Caches of the context, in route order.
    pub context: Vec<&'a PatchMemory>,
    /// Row of the relative table for each context patch.
    pub rows: Vec<usize>,
    /// Tokens that are given, `[b · m]` in the order they are written; [`TokenGrid::UNKNOWN`] where
    /// they are to be written.
    pub given: Vec<i32>,
}

impl<'a> PatchJob<'a> {
    /// Gives the job of a route's step.
    pub fn new(step: &Step, context: Vec<&'a PatchMemory>, given: Vec<i32>) -> Self {
        let rows = step.context.iter().map(|entry| entry.row).collect();
        Self {
            index: step.index,
            order: step.order,
            context,
            rows,
            given,
        }
    }

    /// Tells whether there is a token to be written.
    pub fn is_open(&self) -> bool {
        self.given.contains(&TokenGrid::UNKNOWN)
    }

    /// Gives the same job without its context.
    pub(super) fn alone(&self) -> Self {
        Self {
            context: Vec::new(),
            rows: Vec::new(),
            ..self.clone()
        }
    }

    /// Gives the same job with all its tokens.
    pub fn with(&self, given: Vec<i32>) -> Self {
        Self {
            given,
            ..self.clone()
        }
    }
}
