//! The transformer blocks of CLIP. Axes: `b` batch, `h` heads here, `t` text length, `d` width.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Bool, Device, Tensor};

/// Width, depth and heads of a stack of blocks.
pub(super) struct EncoderShape {
    pub(super) width: usize,
    pub(super) expanded: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
}

/// A stack of pre-norm transformer blocks.
#[derive(Module, Debug)]
pub struct ClipEncoder {
    layers: Vec<ClipLayer>,
}

impl EncoderShape {
    pub(super) fn init(&self, device: &Device) -> ClipEncoder {
        ClipEncoder {
            layers: (0..self.layers).map(|_| self.layer(device)).collect(),
        }
    }

    fn layer(&self, device: &Device) -> ClipLayer {
        let linear = |from, to| LinearConfig::new(from, to).init(device);
        let (d, expanded) = (self.width, self.expanded);
        ClipLayer {
            layer_norm1: LayerNormConfig::new(d).init(device),
            self_attn: ClipAttention {
                q_proj: linear(d, d),
                k_proj: linear(d, d),
                v_proj: linear(d, d),
                out_proj: linear(d, d),
                heads: self.heads,
            },
            layer_norm2: LayerNormConfig::new(d).init(device),
            mlp: ClipMlp {
                fc1: linear(d, expanded),
                fc2: linear(expanded, d),
            },
        }
    }
}

impl ClipEncoder {
    /// Gives the states after the last block, `[b, t, d]`.
    ///
    /// # Shapes
    /// states `[b, t, d]`; mask `[1, t, t]`, true where a row may not look.
    pub(super) fn forward(&self, states: Tensor<3>, mask: Option<Tensor<3, Bool>>) -> Tensor<3> {
        let forward = |states, layer: &ClipLayer| layer.forward(states, mask.clone());
        self.layers.iter().fold(states, forward)
    }
}

/// One block: attention, then a perceptron, each on the normalized states and added to them.
#[derive(Module, Debug)]
pub struct ClipLayer {
    layer_norm1: LayerNorm,
    self_attn: ClipAttention,
    layer_norm2: LayerNorm,
    mlp: ClipMlp,
}

impl ClipLayer {
    fn forward(&self, x: Tensor<3>, mask: Option<Tensor<3, Bool>>) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.layer_norm1.forward(x), mask);
        x.clone() + self.mlp.forward(self.layer_norm2.forward(x))
    }
}

/// Attention of all positions to all that the mask leaves.
#[derive(Module, Debug)]
pub struct ClipAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl ClipAttention {
    fn forward(&self, x: Tensor<3>, mask: Option<Tensor<3, Bool>>) -> Tensor<3> {
        let [b, t, d] = x.dims();
        let width = d / self.heads;
        let split = |x: Tensor<3>| x.reshape([b, t, self.heads, width]).swap_dims(1, 2); // [b, h, t, width]
        let queries = split(self.q_proj.forward(x.clone())).div_scalar((width as f64).sqrt());
        let keys = split(self.k_proj.forward(x.clone()));
        let values = split(self.v_proj.forward(x));
        let scores = queries.matmul(keys.swap_dims(2, 3)); // [b, h, t, t]
        let scores = match mask {
            Some(mask) => scores.mask_fill(mask.unsqueeze::<4>(), f32::NEG_INFINITY),
            None => scores,
        };
        let mixed = softmax(scores, 3).matmul(values).swap_dims(1, 2); // [b, t, h, width]
        self.out_proj.forward(mixed.reshape([b, t, d]))
    }
}

/// Two linear layers with CLIP's own activation between them.
#[derive(Module, Debug)]
pub struct ClipMlp {
    fc1: Linear,
    fc2: Linear,
}

impl ClipMlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(quick_gelu(self.fc1.forward(x)))
    }
}

/// x · σ(1.702 x), which the released weights were trained with, close to but not GELU.
fn quick_gelu(x: Tensor<3>) -> Tensor<3> {
    x.clone() * sigmoid(x.mul_scalar(1.702))
}
