//! Frames to tokens and captions to texts.

use std::path::Path;

use anyhow::bail;
use burn::tensor::{Device, Int, Tensor};
use nuwa_data::Picture;
use nuwa_data::store::{Text, TextSpec};
use nuwa_model::checkpoint;
use nuwa_model::clip::{CONTEXT_LENGTH, ClipText, ClipTextConfig, ClipTokenizer};
use nuwa_model::vqgan::Vqgan;
use nuwa_model::vqgan::tiled::Tiling;

use super::arguments::TextChoice;
use super::plan::{Plan, network_folder};
use crate::vqgan::codebook::{codes_on_host, encode};

/// Makes tokens of frames.
pub(super) struct FrameEncoder {
    vqgan: Vqgan,
    batch: usize,
    tiled: bool,
    device: Device,
}

impl FrameEncoder {
    pub(super) fn load(folder: &Path, plan: &Plan, device: &Device) -> anyhow::Result<Self> {
        let (vqgan, _, _) = checkpoint::load::<Vqgan>(folder, device)?;
        Ok(Self {
            vqgan,
            batch: plan.batch,
            tiled: plan.tiled,
            device: device.clone(),
        })
    }

    pub(super) fn fingerprint(&self) -> String {
        checkpoint::fingerprint(&self.vqgan)
    }

    /// Gives the tokens of frames of one size, frame after frame; each is continued beyond its border
    /// as painting continues pictures, so that it learns from the tokens that it will be given.
    pub(super) fn encode(&self, frames: &[Picture]) -> Vec<u16> {
        let batches = frames.chunks(if self.tiled { 1 } else { self.batch });
        let codes = batches.flat_map(|batch| {
            let (first, stride) = (&batch[0], self.vqgan.stride());
            let size = [first.h(), first.w()].map(|side| side / stride);
            codes_on_host(match self.tiled {
                false => self.whole(batch),
                true => encode(&self.vqgan, first, size, &self.device),
            })
        });
        let token = |code| u16::try_from(code).expect("the plan has counted the codes");
        codes.map(token).collect()
    }

    fn whole(&self, frames: &[Picture]) -> Tensor<3, Int> {
        let (stride, rim) = (self.vqgan.stride(), Tiling::MARGIN);
        let (beyond, first) = (rim * stride, &frames[0]);
        let (w, h) = (first.w(), first.h());
        let start = -(beyond as isize);
        let continued =
            |frame: &Picture| frame.continued(start, start, w + 2 * beyond, h + 2 * beyond);
        let frames: Vec<Picture> = frames.iter().map(continued).collect();
        let codes = self.vqgan.encode(Picture::stack(&frames, &self.device));
        codes.narrow(1, rim, h / stride).narrow(2, rim, w / stride)
    }
}

/// Makes what is kept of captions.
pub(super) enum TextEncoder {
    None,
    Ids(Box<ClipTokenizer>),
    States(Box<States>),
}

/// A frozen text tower.
pub(super) struct States {
    tower: ClipText,
    width: usize,
    tokenizer: ClipTokenizer,
    device: Device,
}

impl TextEncoder {
    pub(super) fn load(choice: &TextChoice, device: &Device) -> anyhow::Result<Self> {
        let folder = match choice {
            TextChoice::None => return Ok(Self::None),
            TextChoice::Ids => return Ok(Self::Ids(Box::default())),
            TextChoice::States(folder) => network_folder(folder, "text"),
        };
        let (tower, config, _) = checkpoint::load::<ClipText>(&folder, device)?;
        let needed = ClipTextConfig::vit_b32();
        if config.vocab_size < needed.vocab_size || config.max_position_embeddings < CONTEXT_LENGTH
        {
            bail!(
                "{} reads {} tokens of {} ids, texts have {CONTEXT_LENGTH} of {}",
                folder.display(),
                config.max_position_embeddings,
                config.vocab_size,
                needed.vocab_size
            );
        }
        Ok(Self::States(Box::new(States {
            tower,
            width: config.hidden_size,
            tokenizer: ClipTokenizer::new(),
            device: device.clone(),
        })))
    }

    /// Gives the kind and size of its texts.
    pub(super) fn spec(&self) -> Option<TextSpec> {
        let length = CONTEXT_LENGTH;
        match self {
            Self::None => None,
            Self::Ids(_) => Some(TextSpec::Ids { length }),
            Self::States(states) => Some(TextSpec::States {
                length,
                width: states.width,
            }),
        }
    }

    /// Says what made the texts.
    pub(super) fn name(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Ids(_) => "ids".to_owned(),
            Self::States(states) => format!("states of {}", checkpoint::fingerprint(&states.tower)),
        }
    }

    /// Gives the text of each caption, where there is one.
    pub(super) fn encode(&self, captions: &[Option<&str>]) -> Vec<Option<Text>> {
        match self {
            Self::None => vec![None; captions.len()],
            Self::Ids(tokenizer) => {
                let id = |id: i32| u16::try_from(id).expect("ids of CLIP have 16 bits");
                let ids = |caption: &str| tokenizer.tokenize(caption).map(id).to_vec();
                let text = |caption: &Option<&str>| caption.map(ids).map(Text::Ids);
                captions.iter().map(text).collect()
            }
            Self::States(states) => states.encode(captions),
        }
    }
}

impl States {
    fn encode(&self, captions: &[Option<&str>]) -> Vec<Option<Text>> {
        let told: Vec<&str> = captions.iter().copied().flatten().collect();
        if told.is_empty() {
            return vec![None; captions.len()];
        }
        let states = self
            .tower
            .forward(self.tokenizer.batch(&told, &self.device)); // [b, t, d]
        let states: Vec<f32> = states
            .into_data()
            .convert::<f32>()
            .try_into_vec()
            .expect("converted to f32");
        let mut states = states.chunks_exact(CONTEXT_LENGTH * self.width);
        let mut next = || states.next().expect("a text of each caption").to_vec();
        let text = |caption: &Option<&str>| caption.map(|_| Text::States(next()));
        captions.iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    use burn::tensor::s;
    use nuwa_model::vqgan::VqganConfig;

    #[test]
    fn frames_are_encoded_where_they_are_alone_or_together() {
        let config = VqganConfig {
            ch: 32,
            multipliers: vec![1, 1],
            blocks: 1,
            z: 8,
            n_codes: 64,
            code_dim: 8,
        };
        let device = Device::flex();
        let mut encoder = FrameEncoder {
            vqgan: config.init(&device),
            batch: 2,
            tiled: true,
            device: device.clone(),
        };
        let byte = |i: usize| (i.wrapping_mul(0x9e37_79b9) >> 13) as u8;
        // Two windows beside each other, and their margins.
        let (w, h) = (280, 40);
        let frame = |at| Picture::new(w, h, (0..3 * w * h).map(|i| byte(i + at)).collect());
        let frames = [0, 500, 900].map(frame);
        let expected = frames.iter().flat_map(|frame| {
            let continued = frame.continued(-12, -12, w + 24, h + 24).to_tensor(&device);
            let read = |[y, x]: [isize; 2], [h, w]: [usize; 2]| -> Result<Tensor<4>, Infallible> {
                let [y, x] = [y, x].map(|at| (at + 12) as usize);
                Ok(continued.clone().slice(s![.., .., y..y + h, x..x + w]))
            };
            let (size, tiling) = ([h / 2, w / 2], Tiling::of_stride(2));
            let Ok(codes) = encoder.vqgan.encode_continued(size, &tiling, read);
            codes_on_host(codes).into_iter().map(|code| code as u16)
        });
        let expected: Vec<u16> = expected.collect();
        assert_eq!(encoder.encode(&frames), expected);
        encoder.tiled = false;
        let whole = encoder.encode(&frames);
        assert_eq!(whole.len(), expected.len());
        assert_eq!(whole, expected, "it is small enough to be one window");
    }
}
