//! The numbers of a training of stage two; written to the run as they were used.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use nuwa_data::store::{StoreSpec, TextSpec};
use nuwa_model::clip::ClipTextConfig;
use nuwa_model::patch::TokenSize;
use nuwa_model::preset::{Preset, Size};
use nuwa_model::render::{Precision, RendererConfig};
use serde::{Deserialize, Serialize};

use super::optimize::Optimize;
use super::source::Source;
use crate::overlay::lay;
use crate::run_folder::read_config;

/// Everything a training of stage two depends on, besides the tokens themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenderRunConfig {
    /// Seed of initial weights, sample order, orders and everything that is drawn.
    pub seed: u64,
    /// Folder of the token store.
    pub tokens: PathBuf,
    /// Folder of a store of held-out records that tell at each checkpoint how well it goes.
    #[serde(default)]
    pub valid: Option<PathBuf>,
    /// Folder of the weights that it begins with: `renderer`, and `text` if the tower learns.
    #[serde(default)]
    pub init_from: Option<PathBuf>,
    /// The renderer.
    pub renderer: RendererConfig,
    /// The text tower that learns with it, if the store has token ids.
    pub tower: Option<ClipTextConfig>,
    /// How it is trained. Painting reads the label smoothing here.
    pub stage_two: RenderTrainingConfig,
}

/// How a renderer is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenderTrainingConfig {
    /// Records per update.
    pub batch: usize,
    /// Most records whose graph is in memory at a time; 0 is all of them (gradient accumulation).
    pub part: usize,
    /// Whether what is cheap to compute is computed again for the gradients, and not kept.
    #[serde(default)]
    pub checkpointing: bool,
    /// What patches are rendered in: f32, or bf16, where the device has it. Weights, their moments and
    /// averages, gradients and losses are f32 either way.
    #[serde(default)]
    pub precision: Precision,
    /// Optimizer updates: patches of a record times batches.
    pub updates: u64,
    /// After which patches the weights are moved: each_patch, or accumulated, once per picture.
    #[serde(default)]
    pub optimize: Optimize,
    /// Peak learning rate.
    pub peak_rate: f64,
    /// Share of the updates that warm up.
    pub warmup: f64,
    /// Label smoothing ε.
    pub smoothing: f64,
    /// Largest norm of all gradients together; 0 is any.
    pub clip: f64,
    /// Decay of the averaged weights that are painted with; 0 paints with the last ones.
    pub average: f64,
    /// Share of the captions that are left out, for guidance.
    pub caption_dropout: f64,
    /// ours: share of the tokens that the renderer sees wrong, against drift; 0 is the papers'.
    pub corruption: f64,
    /// ours: share of the batches whose patches see no others, so that captions tell what else the
    /// patches around would; 0 is the papers'.
    #[serde(default)]
    pub context_dropout: f64,
    /// ours: share of the updates in which every batch has the same order of patches; 0 is the
    /// papers'. A small renderer finds the row above in one order, where four at once hide it.
    #[serde(default)]
    pub one_order_until: f64,
    /// ours: whether token embeddings begin where the codes of the VQGAN lie; the page draws them at
    /// random.
    pub know_codes: bool,
    /// Updates between two checkpoints, rounded up to whole batches.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept, besides the best one.
    pub keep: usize,
    /// Checkpoints that may pass without a lower held-out loss; then the training ends, and the best
    /// weights are painted with. 0 waits for the end.
    #[serde(default)]
    pub patience: u64,
    /// Updates between two lines of the log.
    pub log_every: u64,
    /// Updates between two samples, painted by the program beside this one; 0 for none.
    #[serde(default)]
    pub sample_every: u64,
    /// What samples are told, if there are captions.
    #[serde(default)]
    pub sample_prompt: String,
}

impl RenderRunConfig {
    /// Gives a preset's numbers for a store (\[P\] Tab. 1): as many epochs as the papers train, and
    /// no more records per update than the store has.
    ///
    /// ours: `tiny` takes 8 records per update, a rate of 5e-4 and the VQGAN's codes as first
    /// embeddings, for machines without a GPU; all sizes clip gradients at norm 1 and average weights, of which the papers say nothing.
    ///
    /// Updates are counted in patches of a batch: `units` are these where they shall not be the
    /// preset's. Whether the store has whole patches is for [`Self::problem`] to say.
    fn new(
        preset: Preset,
        size: Size,
        tokens: &Path,
        (spec, n_records): (&StoreSpec, usize),
        units: Option<(TokenSize, usize)>,
    ) -> Self {
        let recipe = preset.recipe(size);
        let mut renderer = recipe.renderer;
        if let Some((patch, _)) = units {
            renderer.patch = patch;
        }
        let tiny = size == Size::Tiny;
        renderer.d_text = match spec.text {
            None => None,
            Some(TextSpec::States { width, .. }) => Some(width),
            Some(TextSpec::Ids { .. }) => Some(TOWER_WIDTH),
        };
        let tower = match spec.text {
            Some(TextSpec::Ids { length }) => Some(ClipTextConfig {
                hidden_size: TOWER_WIDTH,
                intermediate_size: 4 * TOWER_WIDTH,
                num_hidden_layers: 2,
                num_attention_heads: TOWER_WIDTH / 64,
                vocab_size: ClipTextConfig::vit_b32().vocab_size,
                max_position_embeddings: length,
            }),
            _ => None,
        };
        let most = if tiny { 8 } else { recipe.batch };
        let batch = match units {
            Some((_, batch)) => batch.max(1),
            None => most.min(n_records.max(1)),
        };
        let batches = (recipe.epochs * n_records).div_ceil(batch) as u64;
        let TokenSize { f, h, w } = renderer.patch;
        let n_patches: u64 = std::iter::zip(spec.tokens, [f, h, w])
            .map(|(tokens, patch)| tokens.div_ceil(patch.max(1)) as u64)
            .product();
        Self {
            seed: 0,
            tokens: tokens.to_owned(),
            valid: None,
            init_from: None,
            renderer,
            tower,
            stage_two: RenderTrainingConfig {
                batch,
                part: 0,
                checkpointing: false,
                precision: Precision::F32,
                updates: batches * n_patches,
                optimize: Optimize::EachPatch,
                peak_rate: if tiny { 5e-4 } else { recipe.peak_rate },
                warmup: recipe.warmup,
                smoothing: 0.0,
                clip: 1.0,
                average: 0.999,
                caption_dropout: if spec.text.is_some() { 0.1 } else { 0.0 },
                corruption: 0.0,
                context_dropout: 0.0,
                one_order_until: 0.0,
                know_codes: tiny,
                checkpoint_every: 500,
                keep: 2,
                patience: 0,
                log_every: n_patches,
                sample_every: 0,
                sample_prompt: String::new(),
            },
        }
    }

    /// Gives a preset's numbers for a store, with what shall differ from them: what `adjust` changes,
    /// then a TOML file, then `key=value` pairs. Unless told otherwise, it makes as many epochs as the
    /// preset, whatever the patches and batches.
    ///
    /// # Errors
    /// Names what is unknown or does not fit in the file or the pairs.
    pub fn effective(
        (preset, size): (Preset, Size),
        tokens: &Path,
        store: (&StoreSpec, usize),
        adjust: impl Fn(&mut Self),
        (file, pairs): (Option<&Path>, &[String]),
    ) -> Result<Self, String> {
        let laid = |units| {
            let mut defaults = Self::new(preset, size, tokens, store, units);
            adjust(&mut defaults);
            lay(&defaults, file, pairs)
        };
        let first = laid(None)?;
        let mut config = laid(Some((first.renderer.patch, first.stage_two.batch)))?;
        if let Some(tower) = &config.tower {
            config.renderer.d_text = Some(tower.hidden_size);
        }
        Ok(config)
    }

    /// Gives the device to train on: one with gradients.
    pub(super) fn training_device(&self, device: &Device) -> Device {
        let device = device.clone().autodiff();
        match self.stage_two.checkpointing {
            true => device.gradient_checkpointing(),
            false => device,
        }
    }

    /// Reads the config of a run.
    ///
    /// # Errors
    /// When there is none, or it is not that of a stage-two training.
    pub fn of_run(run: &Path) -> anyhow::Result<Self> {
        read_config(run)
    }

    /// Names the first thing that cannot work with a store, or nothing.
    pub fn problem(&self, spec: &StoreSpec) -> Option<String> {
        let stage = &self.stage_two;
        let share = |value: f64| (0.0..1.0).contains(&value);
        let (d_text, tower) = (self.renderer.d_text, self.tower.as_ref());
        let checks = [
            (stage.batch == 0, "stage_two.batch must be at least 1"),
            (stage.updates == 0, "stage_two.updates must be at least 1"),
            (
                stage.checkpoint_every == 0 || stage.log_every == 0,
                "stage_two.checkpoint_every and log_every must be at least 1",
            ),
            (
                ![
                    stage.smoothing,
                    stage.average,
                    stage.caption_dropout,
                    stage.corruption,
                    stage.context_dropout,
                    stage.one_order_until,
                    stage.warmup,
                ]
                .into_iter()
                .all(share),
                "shares of stage_two must be at least 0 and below 1",
            ),
            (
                !stage.sample_prompt.is_empty() && spec.text.is_none(),
                "stage_two.sample_prompt: the store has no captions",
            ),
            (stage.clip < 0.0, "stage_two.clip must not be negative"),
            (
                stage.caption_dropout > 0.0 && spec.text.is_none(),
                "stage_two.caption_dropout: the store has no captions",
            ),
            (
                d_text.is_some() != spec.text.is_some(),
                "renderer.d_text: the renderer reads captions if and only if the store has some",
            ),
            (
                tower.is_some() != matches!(spec.text, Some(TextSpec::Ids { .. })),
                "tower: a text tower learns if and only if the store has token ids",
            ),
            (
                tower.is_some_and(|tower| Some(tower.hidden_size) != d_text),
                "renderer.d_text must be tower.hidden_size",
            ),
        ];
        let broken = checks
            .into_iter()
            .find_map(|(broken, text)| broken.then_some(text));
        let broken = self.renderer.problem().or(broken).map(str::to_owned);
        let tower = || tower.and_then(|tower| tower.check().err());
        let grid = || Source::grid(spec.tokens, self.renderer.patch).err();
        broken.or_else(tower).or_else(grid)
    }
}

/// Width of a text tower that learns with a tiny renderer.
const TOWER_WIDTH: usize = 128;
