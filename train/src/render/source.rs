//! Makes the batches of stage two out of stored tokens. Batch number `k` depends on the seed and on
//! `k` alone, so that going on from any batch needs no other state.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use nuwa_data::dataset::{Deck, TokenBatch, TokenBatches};
use nuwa_data::store::{TextSpec, TokenStore};
use nuwa_data::{DataError, keyed, store};
use nuwa_model::checkpoint;
use nuwa_model::clip::{ClipText, ClipTokenizer};
use nuwa_model::patch::{GridSize, Order, Route, TokenSize};
use nuwa_model::render::{Decoding, RendererConfig, TokenGrid, pnar};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::batch::{Masks, RenderBatch, Text};
use super::config::RenderRunConfig;
use super::run::TEXT;

/// What makes a batch of stored tokens one to train on.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) batches: TokenBatches,
    pub(super) renderer: RendererConfig,
    pub(super) seed: u64,
    /// Share of the captions that are left out, for guidance (Ho and Salimans, 2022).
    pub(super) caption_dropout: f64,
    /// Share of the seen tokens that are wrong.
    pub(super) corruption: f64,
    /// Share of the batches whose patches see no others.
    pub(super) context_dropout: f64,
    pub(super) orders: Orders,
    /// The text of nothing, for captions that are missing or left out; none if there are no texts.
    pub(super) nothing: Option<store::Text>,
    pub(super) device: Device,
}

/// Which order of patches a batch has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Orders {
    /// Any of the four, after so many batches that have one.
    DrawnAfter(u64),
    /// One after the other.
    InTurn,
}

impl Source {
    /// Makes the batches of a run whose records have so many patches.
    pub(super) fn of_run(
        config: &RenderRunConfig,
        run: &Path,
        tokens: TokenStore,
        n_patches: u64,
        device: &Device,
    ) -> anyhow::Result<Self> {
        let stage = &config.stage_two;
        let batches = stage.updates as f64 / n_patches as f64;
        let nothing = match tokens.spec().text {
            None => None,
            Some(TextSpec::Ids { .. }) => {
                let ids = ClipTokenizer::new().tokenize("");
                Some(store::Text::Ids(ids.iter().map(|&id| id as u16).collect()))
            }
            Some(TextSpec::States { .. }) => {
                let folder = run.join(TEXT);
                let (tower, _, _) = checkpoint::load::<ClipText>(&folder, device)?;
                let states = tower.forward(ClipTokenizer::new().batch(&[""], device));
                let states = states.into_data().convert::<f32>().try_to_vec();
                Some(store::Text::States(states.expect("converted to f32")))
            }
        };
        let deck = Deck::new(tokens.n_records(), config.seed);
        Ok(Self {
            batches: TokenBatches::new(tokens, deck, stage.batch),
            renderer: config.renderer.clone(),
            seed: config.seed,
            caption_dropout: stage.caption_dropout,
            corruption: stage.corruption,
            context_dropout: stage.context_dropout,
            orders: Orders::DrawnAfter((stage.one_order_until * batches) as u64),
            nothing,
            device: device.clone(),
        })
    }

    /// Gives the grid of patches of every record.
    ///
    /// # Errors
    /// When its tokens are not whole patches.
    pub(super) fn grid(tokens: [usize; 3], patch: TokenSize) -> Result<GridSize, String> {
        let [f, h, w] = tokens;
        let whole = [(f, patch.f), (h, patch.h), (w, patch.w)]
            .into_iter()
            .all(|(tokens, patch)| tokens > 0 && tokens.is_multiple_of(patch));
        let grid = GridSize {
            f: f / patch.f,
            h: h / patch.h,
            w: w / patch.w,
        };
        let problem = || {
            format!(
                "the store has {f}x{h}x{w} tokens, which are not whole patches of {}x{}x{}",
                patch.f, patch.h, patch.w
            )
        };
        whole.then_some(grid).ok_or_else(problem)
    }

    /// Gives the same records as they are to be judged: with their captions, nothing of them wrong, in
    /// every order.
    pub(super) fn held_out(self) -> Self {
        Self {
            caption_dropout: 0.0,
            corruption: 0.0,
            context_dropout: 0.0,
            orders: Orders::InTurn,
            ..self
        }
    }

    /// Gives batch number `number`.
    pub(super) fn batch(&mut self, number: u64) -> Result<RenderBatch, DataError> {
        let TokenBatch { tokens, texts, .. } = self.batches.at(number)?;
        let mut rng = keyed::rng(self.seed, &[number]);
        let [f, h, w] = self.batches.store().spec().tokens;
        let size = TokenSize { f, h, w };
        let b = texts.len();
        let grid = Self::grid([f, h, w], self.renderer.patch).expect("checked when opened");
        // One batch, one order, drawn uniformly ([N] §3.1.3).
        let drawn = Order::ALL[rng.random_range(0..4)];
        let order = match self.orders {
            Orders::DrawnAfter(first) if number < first => Order::RightDown,
            Orders::DrawnAfter(_) => drawn,
            Orders::InTurn => Order::ALL[(number % 4) as usize],
        };
        let route = Route::full(grid, self.renderer.extent, order).expect("a record has patches");
        let masks = (self.renderer.decoding == Decoding::Pnar)
            .then(|| draw_masks(&self.renderer, b, route.steps().len(), &mut rng));
        let text = self.text(texts, &mut rng);
        let seen = (self.corruption > 0.0).then(|| {
            let wrong = |&token: &i32| match rng.random_bool(self.corruption) {
                true => rng.random_range(0..self.renderer.n_codes as i32),
                false => token,
            };
            TokenGrid::new(b, size, tokens.iter().map(wrong).collect())
        });
        Ok(RenderBatch {
            tokens: TokenGrid::new(b, size, tokens),
            seen,
            route: Arc::new(route),
            text,
            masks,
            alone: rng.random_bool(self.context_dropout),
        })
    }

    fn text(&self, texts: Vec<Option<store::Text>>, rng: &mut StdRng) -> Option<Text> {
        let nothing = self.nothing.as_ref()?;
        let b = texts.len();
        let (mut states, mut ids) = (Vec::new(), Vec::new());
        for text in &texts {
            // Drawn for every caption, so that one without does not shift the others' draws.
            let dropped = rng.random_bool(self.caption_dropout);
            match text.as_ref().filter(|_| !dropped).unwrap_or(nothing) {
                store::Text::States(text) => states.extend_from_slice(text),
                store::Text::Ids(text) => ids.extend(text.iter().map(|&id| i32::from(id))),
            }
        }
        let device = &self.device;
        Some(match nothing {
            store::Text::States(_) => {
                let d = self
                    .renderer
                    .d_text
                    .expect("texts are read by the renderer");
                let t = states.len() / (b * d);
                Text::States(Tensor::from_data(
                    TensorData::new(states, [b, t, d]),
                    device,
                ))
            }
            store::Text::Ids(_) => {
                let t = ids.len() / b;
                Text::Ids(Tensor::from_data(TensorData::new(ids, [b, t]), device))
            }
        })
    }
}

/// Draws what P-NAR hides: a share cos(πu/2) of each patch, u drawn per picture (page §4, §9.6).
pub(crate) fn draw_masks(config: &RendererConfig, b: usize, n: usize, rng: &mut StdRng) -> Masks {
    let m = config.tokens_per_patch();
    let counts: Vec<usize> = (0..b)
        .map(|_| pnar::training_count(rng.random_range(0.0..1.0), m))
        .collect();
    let mut mask = |count: usize| {
        let mut mask: Vec<bool> = (0..m).map(|place| place < count).collect();
        mask.shuffle(rng);
        mask
    };
    (0..n)
        .map(|_| counts.iter().flat_map(|&count| mask(count)).collect())
        .collect()
}
