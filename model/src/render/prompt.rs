//! What a conditional renderer is told, and classifier-free guidance. Axes as in [`Session`].

use std::fmt;

use burn::tensor::Tensor;

use super::attention::KeyValues;
use super::block::Block;
use super::job::PatchJob;
use super::session::Session;
use crate::patch::PatchIndex;

/// What the patches of a conditional renderer are told.
pub(super) enum Texts {
    /// The renderer is unconditional.
    None,
    /// All the same: projected text of every layer, `[b, heads, t, 64]`.
    Same(Vec<KeyValues>),
    /// CLIP states of each patch, `[pictures, t, d_text]`.
    ByPatch(TextOfPatch),
}

/// Gives the CLIP states that a patch is told, `[pictures, t, d_text]`.
pub type TextOfPatch = Box<dyn Fn(PatchIndex) -> Tensor<3>>;

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Same(_) => "Same",
            Self::ByPatch(_) => "ByPatch",
        })
    }
}

/// Classifier-free guidance: logits go from those under the negative text towards, and beyond,
/// those under the text ("Classifier-Free Diffusion Guidance", Ho and Salimans, 2022).
#[derive(Debug, Clone)]
pub struct Guidance {
    /// CLIP states of what is not wanted, the empty string's as a rule, `[1, t, d_text]`.
    pub negative: Tensor<3>,
    /// 1 is the text's own logits, more is beyond.
    pub scale: f64,
}

/// What a conditional renderer is told.
#[expect(clippy::large_enum_variant, reason = "there is one for a painting")]
pub enum Prompt {
    /// CLIP states, the same for all patches, `[pictures, t, d_text]`; those of the empty string
    /// without a prompt.
    Same(Tensor<3>),
    /// Each patch its own.
    ByPatch(TextOfPatch),
}

impl Session {
    /// Gives what every layer sees of the text, for all patches of a wave.
    pub(super) fn wave_texts(&self, jobs: &[PatchJob]) -> Vec<Option<KeyValues>> {
        match &self.text {
            Texts::None => vec![None; self.renderer.layers.len()],
            Texts::Same(layers) => layers
                .iter()
                .map(|text| repeated(text, jobs.len()))
                .collect(),
            Texts::ByPatch(text) => {
                let of = |job: &PatchJob| self.with_negative(text(job.index));
                self.project_text(Tensor::cat(jobs.iter().map(of).collect(), 0))
            }
        }
    }

    /// Gives the states of the text followed by those of the negative one, if there is guidance.
    pub(super) fn with_negative(&self, text: Tensor<3>) -> Tensor<3> {
        match &self.guidance {
            None => text,
            Some(Guidance { negative, .. }) => {
                let negative = negative.clone().expand([self.pictures as i64, -1, -1]);
                Tensor::cat(vec![text, negative], 0)
            }
        }
    }

    /// Projects text states for every layer.
    pub(super) fn project_text(&self, text: Tensor<3>) -> Vec<Option<KeyValues>> {
        let text = self.renderer.project_text(Some(&text));
        let text = text.map(|text| self.renderer.precision.of(text));
        let project = |layer: &Block| text.as_ref().and_then(|y| layer.project_text(y.clone()));
        self.renderer.layers.iter().map(project).collect()
    }

    /// Gives what belongs to pictures, `[g · pictures · n]`, for the rows of a batch, `[g · b · n]`.
    pub(super) fn for_rows<T: Clone>(&self, values: &[T], n: usize) -> Vec<T> {
        let times = self.batch / self.pictures;
        let patches = values.chunks(self.pictures * n);
        patches
            .flat_map(|patch| std::iter::repeat_n(patch, times).flatten().cloned())
            .collect()
    }

    /// Gives the guided logits of pictures, `[g · pictures · n]`, from those of rows, `[g · b · n]`.
    pub(super) fn guide(&self, logits: Vec<f32>, n: usize) -> Vec<f32> {
        let Some(Guidance { scale, .. }) = self.guidance else {
            return logits;
        };
        let of_patch = |rows: &[f32]| {
            let (text, negative) = rows.split_at(rows.len() / 2);
            let mix =
                |(&text, &negative): (&f32, &f32)| negative + scale as f32 * (text - negative);
            text.iter().zip(negative).map(mix).collect::<Vec<_>>()
        };
        logits.chunks(self.batch * n).flat_map(of_patch).collect()
    }
}

impl Session {
    /// Gives the guided logits of pictures, `[g · pictures, t, v]`, from those of rows, `[g · b, t, v]`,
    /// on their device.
    pub(super) fn guided(&self, logits: Tensor<3>) -> Tensor<3> {
        let [rows, t, v] = logits.dims();
        let Some(Guidance { scale, .. }) = self.guidance else {
            return logits;
        };
        let logits = logits.reshape([rows / self.batch, 2, self.pictures * t * v]);
        let [text, negative] = [0, 1].map(|n| logits.clone().narrow(1, n, 1));
        let guided = negative.clone() + (text - negative) * scale;
        guided.reshape([rows / 2, t, v])
    }
}

fn repeated(text: &KeyValues, n: usize) -> Option<KeyValues> {
    Some(match n {
        1 => text.clone(),
        _ => KeyValues {
            keys: text.keys.clone().repeat_dim(0, n),
            values: text.values.clone().repeat_dim(0, n),
        },
    })
}
