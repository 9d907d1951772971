//! What training a renderer takes, computed from its shapes before anything is allocated.
//!
//! ours: sums of what a patch step multiplies and keeps for its gradients, with attention unfused, as
//! Burn differentiates it. Memory is that of the tensors; what an allocator rounds up and keeps
//! comes on top. In half precision, copies of the weights are counted as well.

use nuwa_model::clip::CONTEXT_LENGTH;
use nuwa_model::patch::{GridSize, Order, Route};
use nuwa_model::render::{Precision, RendererConfig};

/// Numbers kept per token and layer, in widths: norms, projections, their heads, the residuals, and
/// twelve for GEGLU, whose halves are four wide.
const KEPT: usize = 28;
/// Those of them that are in single precision whatever the states are: what two norms take and give,
/// and the gates, four wide, that the error function was taken of.
const KEPT_SINGLE: usize = 8;
/// The same of attention to a text.
const KEPT_OF_TEXT: usize = 7;
/// Those of them in single precision: what its norm takes and gives.
const KEPT_SINGLE_OF_TEXT: usize = 2;
/// Numbers kept per token of the context and layer, in widths: keys and values, joined with the
/// patch's own, and keys with their relative positions.
const KEPT_OF_CONTEXT: usize = 5;
/// Scores, with what is added to them, and what the softmax gave; in single precision.
const KEPT_SCORES: usize = 3;
/// Bytes of a number in single precision.
const WIDTH: f64 = 4.0;

/// What one optimizer update takes: a patch of each of some records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Floating-point operations of a record's patch, forward and backward, in the middle of a grid.
    pub flops: f64,
    /// Bytes of weights, gradients, both moments of Adam and the averaged weights, and of what copies of
    /// the weights a step makes.
    pub fixed_bytes: f64,
    /// Bytes that a record adds while its graph is in memory.
    pub graph_bytes: f64,
    /// Bytes of the caches that a record leaves in the pool.
    pub pool_bytes: f64,
}

impl Cost {
    /// Computes it for records of a grid of patches, rendered in a precision.
    ///
    /// # Panics
    /// If the grid is empty.
    pub fn of(config: &RendererConfig, grid: GridSize, precision: Precision) -> Self {
        let route = Route::full(grid, config.extent, Order::DownRight).expect("a grid of patches");
        let contexts = || route.steps().iter().map(|step| step.context.len());
        let n_steps = route.steps().len();
        let mean = contexts().sum::<usize>() as f64 / n_steps as f64;
        let most = contexts().max().unwrap_or(0) as f64;
        let peak_pool = nuwa_model::patch::Schedule::serial(&route).peak_pool() as f64;

        let [d, m, layers, codes, heads] = [
            config.d_model,
            config.tokens_per_patch(),
            config.n_layers,
            config.n_codes,
            config.n_heads(),
        ]
        .map(|n| n as f64);
        let text = config.d_text.map_or(0.0, |_| CONTEXT_LENGTH as f64);
        let of_text = |n: f64| if text > 0.0 { n } else { 0.0 };

        // Multiplications of a patch, of which gradients take twice as many again.
        let seen = m * (mean + 1.0) + text;
        let of_token = layers * (16.0 * d * d + of_text(2.0 * d * d) + 2.0 * seen * d) + d * codes;
        let of_texts = layers * text * 2.0 * d * d;
        // What is projected for the context has no gradient but that of the weights.
        let of_context = layers * mean * m * 2.0 * d * d;
        let flops = 2.0 * (3.0 * (m * of_token + of_texts) + 2.0 * of_context);

        let kept = (KEPT as f64) + of_text(KEPT_OF_TEXT as f64);
        let single = (KEPT_SINGLE as f64) + of_text(KEPT_SINGLE_OF_TEXT as f64);
        let states =
            m * d * (kept - single) + most * m * d * KEPT_OF_CONTEXT as f64 + 2.0 * text * d;
        let scores = heads * m * (m * (most + 1.0) + text) * KEPT_SCORES as f64;
        let state = precision.bytes() as f64;
        let of_layer = state * states + WIDTH * (m * d * single + scores);
        let copies = match precision {
            Precision::F32 => 0.0,
            Precision::Bf16 => state,
        };
        Self {
            flops,
            fixed_bytes: (5.0 * WIDTH + copies) * config.n_params() as f64,
            graph_bytes: layers * of_layer + WIDTH * 3.0 * m * codes,
            pool_bytes: state * layers * m * d * peak_pool,
        }
    }

    /// Bytes with that many records in a batch, of which `part` have a graph at a time.
    pub fn bytes(&self, batch: usize, part: usize) -> f64 {
        self.fixed_bytes + self.graph_bytes * part as f64 + self.pool_bytes * batch as f64
    }

    /// The most records per update, one of which has a graph at a time, if one fits.
    pub fn largest_batch(&self, bytes: f64) -> Option<usize> {
        let most = ((bytes - self.bytes(0, 1)) / self.pool_bytes).floor();
        (most >= 1.0).then_some(most as usize)
    }

    /// The most records of a batch that can have a graph at a time in that many bytes, if one can.
    pub fn most_at_a_time(&self, batch: usize, bytes: f64) -> Option<usize> {
        let left = bytes - self.bytes(batch, 0);
        let most = (left / self.graph_bytes).floor();
        (most >= 1.0).then_some((most as usize).min(batch))
    }
}

#[cfg(test)]
mod tests {
    use nuwa_model::preset::{Preset, Size};

    use super::*;

    #[test]
    fn operations_are_six_per_parameter_and_token_and_what_attention_adds() {
        let recipe = Preset::UigHd.recipe(Size::Large);
        let cost = Cost::of(&recipe.renderer, recipe.grid, Precision::F32);
        let m = recipe.renderer.tokens_per_patch() as f64;
        let floor = 6.0 * recipe.renderer.n_params() as f64 * m;
        assert!(
            (1.2..3.0).contains(&(cost.flops / floor)),
            "{cost:?} to {floor}"
        );
        // Nobody looks at anything else in a grid of one patch.
        let one = GridSize { f: 1, h: 1, w: 1 };
        let alone = Cost::of(&recipe.renderer, one, Precision::F32);
        assert!((1.0..1.3).contains(&(alone.flops / floor)), "{alone:?}");
        assert!(alone.graph_bytes < cost.graph_bytes);
    }

    #[test]
    fn what_fits_is_the_most_that_does() {
        let recipe = Preset::T2iHd.recipe(Size::Base);
        let cost = Cost::of(&recipe.renderer, recipe.grid, Precision::F32);
        let device = 100e9;
        let part = cost.most_at_a_time(recipe.batch, device).expect("one fits");
        assert!(part < recipe.batch, "{part}");
        assert!(cost.bytes(recipe.batch, part) <= device);
        assert!(cost.bytes(recipe.batch, part + 1) > device);
        assert_eq!(cost.most_at_a_time(recipe.batch, 1e15), Some(recipe.batch));
        assert_eq!(cost.most_at_a_time(recipe.batch, 1e9), None);
        assert_eq!(cost.largest_batch(1e9), None);
        let batch = cost.largest_batch(device).expect("one fits");
        assert!(cost.bytes(batch, 1) <= device && cost.bytes(batch + 1, 1) > device);
    }

    #[test]
    fn half_precision_halves_the_pool_and_what_is_not_single_of_the_graph() {
        let recipe = Preset::T2iHd.recipe(Size::Base);
        let [full, half] = [Precision::F32, Precision::Bf16]
            .map(|precision| Cost::of(&recipe.renderer, recipe.grid, precision));
        assert_eq!(half.flops, full.flops);
        assert_eq!(half.pool_bytes, full.pool_bytes / 2.0);
        // Twenty bytes of a parameter become twenty-two.
        assert!((half.fixed_bytes / full.fixed_bytes - 1.1).abs() < 1e-9);
        let share = half.graph_bytes / full.graph_bytes;
        assert!((0.5..1.0).contains(&share), "{share}");
    }
}
