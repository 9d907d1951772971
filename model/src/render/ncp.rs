//! Nearby Context Pool (\[P\] §3.3, Eq. 12): the caches of patches that later patches will see.

use std::collections::HashMap;

use burn::tensor::Tensor;
use serde::Serialize;

use super::attention::KeyValues;
use crate::patch::{Step, Wave};

/// Cache a_n of a patch for training: the inputs of all L layers, `[b, m, d]` each (\[P\] Eq. 12).
///
/// Never holds a graph: gradients live and die inside one step.
#[derive(Debug, Clone)]
pub struct PatchCache {
    pub(super) states: Vec<Tensor<3>>,
}

impl PatchCache {
    /// Takes the layer inputs of a pass, off the graph.
    pub(super) fn detached(states: Vec<Tensor<3>>) -> Self {
        Self {
            states: states.into_iter().map(Tensor::inner).collect(),
        }
    }

    /// Gives the input of every layer, `[b, m, d]` each, tokens in the order they were written.
    pub fn states(&self) -> &[Tensor<3>] {
        &self.states
    }
}

/// What the pool of a painting keeps of each patch. The tokens painted are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolKind {
    /// Each layer's projected keys and values: weights are fixed, so projecting once is enough. The
    /// relative embedding is added when a patch looks, because it depends on where it looks from.
    #[default]
    KeyValues,
    /// Each layer's input, as in training: half the memory, projected again by every wave that
    /// looks.
    States,
}

/// Cache of a patch for inference, as its pool's [`PoolKind`] says.
#[derive(Debug, Clone)]
pub struct PatchMemory {
    pub(super) layers: Vec<Kept>,
}

/// What is kept of one layer.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few per patch, each far larger on the device"
)]
pub(super) enum Kept {
    Pairs(KeyValues),
    /// `[b, m, d]`.
    States(Tensor<3>),
}

/// The pool: caches by the route position of their patch.
///
/// Which entries a step selects and which expire is fixed by the route; the pool only looks it up.
#[derive(Debug)]
pub struct Ncp<E> {
    entries: HashMap<usize, E>,
    peak: usize,
}

impl<E> Default for Ncp<E> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            peak: 0,
        }
    }
}

impl<E> Ncp<E> {
    /// Gives the caches of a step's context, in route order.
    ///
    /// # Panics
    /// When a cache was never added or has expired: the route and the calls disagree.
    pub fn select(&self, step: &Step) -> Vec<&E> {
        let find = |position| {
            self.entries
                .get(position)
                .expect("the route keeps every context")
        };
        step.context
            .iter()
            .map(|entry| find(&entry.position))
            .collect()
    }

    /// Gives the caches of a step's context as [`select`](Self::select) does, with `blank` for those
    /// that are not held.
    pub fn select_or<'a>(&'a self, step: &Step, blank: &'a E) -> Vec<&'a E> {
        let find = |position| self.entries.get(position).unwrap_or(blank);
        step.context
            .iter()
            .map(|entry| find(&entry.position))
            .collect()
    }

    /// Adds the cache of the patch at a route position.
    pub fn add(&mut self, position: usize, cache: E) {
        self.entries.insert(position, cache);
        self.peak = self.peak.max(self.entries.len());
    }

    /// Removes the caches that no step after this one selects.
    pub fn remove(&mut self, step: &Step) {
        self.drop_all(&step.expires);
    }

    /// Removes the caches that no wave after this one selects.
    pub fn remove_wave(&mut self, wave: &Wave) {
        self.drop_all(&wave.expires);
    }

    fn drop_all(&mut self, positions: &[usize]) {
        for position in positions {
            self.entries.remove(position);
        }
    }

    /// Gives the positions held, in order.
    pub fn positions(&self) -> Vec<usize> {
        let mut positions: Vec<_> = self.entries.keys().copied().collect();
        positions.sort_unstable();
        positions
    }

    /// Gives the number of caches held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives the most caches held so far.
    pub fn peak(&self) -> usize {
        self.peak
    }
}
