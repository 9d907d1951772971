//! The text tower of CLIP: token ids to states. Axes: `b` batch, `t` text length, `d` width.

use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::nn::attention::generate_autoregressive_mask;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig};
use burn::tensor::{Device, Int, Tensor};

use super::encoder::{ClipEncoder, EncoderShape};
use crate::assert_shape;

/// How a CLIP text tower is built; the fields are those of its published `config.json`.
#[derive(Config, Debug, PartialEq, Eq)]
pub struct ClipTextConfig {
    /// Width d of the states.
    pub hidden_size: usize,
    /// Width inside the perceptrons.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of attention heads.
    pub num_attention_heads: usize,
    /// Number of token ids.
    pub vocab_size: usize,
    /// Longest text, in tokens.
    pub max_position_embeddings: usize,
}

impl ClipTextConfig {
    /// The text tower that goes with the ViT-B/32 image tower.
    pub fn vit_b32() -> Self {
        Self {
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            vocab_size: 49408,
            max_position_embeddings: 77,
        }
    }

    /// Says what is wrong with the numbers, if anything.
    ///
    /// # Errors
    /// The first field that describes no network.
    pub fn check(&self) -> Result<(), String> {
        let fields = [
            ("hidden_size", self.hidden_size, 1 << 16),
            ("intermediate_size", self.intermediate_size, 1 << 18),
            ("num_hidden_layers", self.num_hidden_layers, 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 10),
            ("vocab_size", self.vocab_size, 1 << 24),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                1 << 16,
            ),
        ];
        for (field, value, most) in fields {
            if !(1..=most).contains(&value) {
                return Err(format!("{field} is {value}, expected 1 to {most}"));
            }
        }
        let heads = self.num_attention_heads;
        if !self.hidden_size.is_multiple_of(heads) {
            return Err(format!(
                "num_attention_heads is {heads}, expected a divisor of hidden_size {}",
                self.hidden_size
            ));
        }
        Ok(())
    }

    /// Makes the network with random weights, which are allocated when first used.
    pub fn init(&self, device: &Device) -> ClipText {
        let initializer = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        let embedding = |rows| {
            let config = EmbeddingConfig::new(rows, self.hidden_size);
            config.with_initializer(initializer.clone()).init(device)
        };
        let encoder = EncoderShape {
            width: self.hidden_size,
            expanded: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
        };
        ClipText {
            embeddings: ClipTextEmbeddings {
                token_embedding: embedding(self.vocab_size),
                position_embedding: embedding(self.max_position_embeddings),
            },
            encoder: encoder.init(device),
            final_layer_norm: LayerNormConfig::new(self.hidden_size).init(device),
        }
    }
}

/// The text tower. Field names are those of the released weights.
#[derive(Module, Debug)]
pub struct ClipText {
    embeddings: ClipTextEmbeddings,
    encoder: ClipEncoder,
    final_layer_norm: LayerNorm,
}

impl ClipText {
    /// Gives the last hidden states after the final LayerNorm, which the renderer attends to.
    ///
    /// Each position sees itself and those before it; padding is seen like any token.
    ///
    /// # Shapes
    /// ids `[b, t]`, below the size of the vocabulary, t at most the longest text; the result
    /// `[b, t, d]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [b, t] = ids.dims();
        let mask = generate_autoregressive_mask(1, t, &ids.device()); // [1, t, t]
        let states = self
            .encoder
            .forward(self.embeddings.forward(ids), Some(mask));
        let [_, _, d] = states.dims();
        assert_shape!(states, [b, t, d]);
        self.final_layer_norm.forward(states)
    }
}

/// What a token is and where it stands, each looked up in a table.
#[derive(Module, Debug)]
pub struct ClipTextEmbeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

impl ClipTextEmbeddings {
    fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, t] = ids.dims();
        let positions = self.position_embedding.weight.val().narrow(0, 0, t); // [t, d]
        self.token_embedding.forward(ids) + positions.unsqueeze() // [b, t, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_sees_no_later_one_but_padding_before_it() {
        let config = ClipTextConfig {
            hidden_size: 16,
            intermediate_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            vocab_size: 20,
            max_position_embeddings: 6,
        };
        let device = Device::flex();
        let tower = config.init(&device);
        let forward = |ids: [[i32; 5]; 1]| tower.forward(Tensor::from_data(ids, &device));
        let states = forward([[1, 0, 3, 4, 5]]);
        assert_eq!(states.dims(), [1, 5, 16]);
        let difference = |other: Tensor<3>, from: usize, to: usize| {
            let change = (states.clone() - other)
                .abs()
                .slice([0..1, from..to, 0..16]);
            change.max().into_scalar::<f32>()
        };
        let later = forward([[1, 0, 3, 9, 9]]);
        assert_eq!(difference(later.clone(), 0, 3), 0.0);
        assert!(difference(later, 3, 5) > 1e-3);
        let padding = forward([[1, 2, 3, 4, 5]]);
        assert!(difference(padding, 2, 5) > 1e-4, "padding is attended to");
    }
}
