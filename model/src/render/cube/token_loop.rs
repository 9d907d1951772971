//! The token loop: what is launched for one token, and how that becomes a graph.

use std::cell::RefCell;

use burn::tensor::{DType, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::server::ServerError;

use super::attend::{Seen, attend};
use super::product::{Linear, Then};
use super::wave::Wave;
use super::{raw, read};
use crate::render::token_layer::TokenLayer;
use crate::render::transformer::Renderer;

/// The weights of the token loop.
#[derive(Debug)]
pub(in crate::render) struct TokenLoop {
    layers: Vec<TokenLayer<Linear>>,
    head: Linear,
    /// Embeddings of the codes, `[v, d]`, in single precision.
    pub(super) codes: CubeTensor,
    /// Why the device does not do graphs, once it has refused one.
    refusal: RefCell<Option<ServerError>>,
}

impl TokenLoop {
    /// Takes the layers of a renderer, as fixed in its precision, and its head, `[d, v]`.
    pub(in crate::render) fn new(renderer: &Renderer, head: Tensor<2>) -> Self {
        let layers = renderer.layers.iter();
        Self {
            layers: layers
                .map(|layer| TokenLayer::new(layer, Linear::new))
                .collect(),
            head: Linear::new(Some(&renderer.norm), head, renderer.head.bias.val()),
            codes: raw(renderer.tok_emb.weight.val().cast(DType::F32)),
            refusal: RefCell::default(),
        }
    }

    /// Gives why tokens are not written as replays of a graph, if they are not.
    pub(in crate::render) fn refusal(&self) -> Option<String> {
        self.refusal.borrow().as_ref().map(ToString::to_string)
    }

    #[cfg(test)]
    pub(in crate::render) fn refuse(&self, reason: ServerError) {
        self.refusal.replace(Some(reason));
    }

    /// Gives how many kernels [`step`](Self::step) launches.
    pub(in crate::render) fn n_kernels(&self) -> usize {
        let of = |layer: &TokenLayer<Linear>| if layer.cross.is_some() { 8 } else { 5 };
        self.layers.iter().map(of).sum::<usize>() + 2
    }

    /// Gives how many columns logits have.
    pub(super) fn columns(&self) -> usize {
        self.head.columns()
    }

    /// Writes `m` tokens of every row; gives those of the pictures, `[n · m]`.
    ///
    /// The first token is launched kernel by kernel, which compiles them; the second one is recorded, and
    /// it and all others are replays of that. What changes from token to token lies on the device: how many
    /// there are, and the states.
    ///
    /// # Errors
    /// When the device fails, or a recording comes to nothing: then the wave is lost, and whatever comes
    /// next is launched kernel by kernel.
    pub(in crate::render) fn write(&self, wave: &Wave, m: usize) -> Result<Vec<i32>, ServerError> {
        let recorded = m > 2 && self.refusal.borrow().is_none();
        match recorded {
            true => self.replay(wave, m).inspect_err(|refusal| {
                self.refusal.replace(Some(refusal.clone()));
            })?,
            false => (0..m).for_each(|_| self.step(wave)),
        }
        read(&wave.drawing.chosen)
    }

    fn replay(&self, wave: &Wave, m: usize) -> Result<(), ServerError> {
        let client = &wave.logits.client;
        client.graph_prepare()?;
        self.step(wave);
        if let Err(refusal) = client.start_capture() {
            // Nothing was recorded; this ends the preparation, which has nothing to give.
            drop(client.stop_capture());
            self.refusal.replace(Some(refusal));
            (1..m).for_each(|_| self.step(wave));
            return Ok(());
        }
        self.step(wave);
        let graph = client.stop_capture()?;
        for _ in 1..m {
            // SAFETY: all buffers of the graph belong to the weights and the wave, which outlive it and are
            // touched by nothing else; they were filled, and are read, by this thread and so on this stream.
            #[expect(unsafe_code, reason = "CubeCL cannot check what a graph reads")]
            unsafe { graph.replay() }?;
        }
        Ok(())
    }

    /// Launches a token of every row: from its states to the next ones.
    pub(in crate::render) fn step(&self, wave: &Wave) {
        let [mut z, mut next] = [0, 1].map(|n| &wave.states[n]);
        for (layer, seen) in self.layers.iter().zip(&wave.layers) {
            layer.all.launch(z, Then::Nothing, &wave.all);
            let written = Seen::Written {
                own: wave.own,
                bias: &wave.biases[seen.bias],
                tokens: &wave.drawing.tokens,
            };
            attend(&wave.all, &seen.pairs, written, &wave.attended);
            layer.out.launch(&wave.attended, Then::Added(z), next);
            (z, next) = (next, z);
            if let (Some(text), Some([queries, out])) = (&seen.text, &layer.cross) {
                queries.launch(z, Then::Nothing, &wave.queries);
                attend(&wave.queries, text, Seen::All, &wave.attended);
                out.launch(&wave.attended, Then::Added(z), next);
                (z, next) = (next, z);
            }
            layer.expand.launch(z, Then::Geglu, &wave.hidden);
            layer.contract.launch(&wave.hidden, Then::Added(z), next);
            (z, next) = (next, z);
        }
        self.head.launch(z, Then::Nothing, &wave.logits);
        wave.drawing
            .launch(&wave.logits, wave.rule, &wave.states[0]);
    }
}
