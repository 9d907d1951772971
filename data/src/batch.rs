//! Samples as tensors.

use crate::{Picture, Sample};
use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Tensor};

/// Several samples of one size.
///
/// # Shapes
///
/// `pixels` is `[b, 3, h, w]` in -1..1, `captions` has `b` entries.
#[derive(Debug, Clone)]
pub struct PixelBatch {
    /// The pictures.
    pub pixels: Tensor<4>,
    /// Their texts.
    pub captions: Vec<Option<String>>,
}

/// Makes a [`PixelBatch`] of samples. It cannot fail: the dataset has read and checked them.
#[derive(Debug, Clone, Copy, Default)]
pub struct PixelBatcher;

impl Batcher<Sample, PixelBatch> for PixelBatcher {
    /// # Panics
    ///
    /// If there is no sample or their sizes differ.
    fn batch(&self, items: Vec<Sample>, device: &Device) -> PixelBatch {
        let (pictures, captions): (Vec<Picture>, Vec<Option<String>>) = items
            .into_iter()
            .map(|item| (item.pixels, item.caption))
            .unzip();
        PixelBatch {
            pixels: Picture::stack(&pictures, device),
            captions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_keep_their_order_and_their_bytes() {
        let sample = |byte: u8, caption: Option<&str>| Sample {
            pixels: Picture::filled(4, 6, [byte, 0, 255]),
            caption: caption.map(str::to_owned),
        };
        let items = vec![
            sample(1, Some("one")),
            sample(2, None),
            sample(3, Some("three")),
        ];
        let batch = PixelBatcher.batch(items.clone(), &Device::flex());
        assert_eq!(batch.pixels.dims(), [3, 3, 6, 4]);
        let pictures = Picture::from_tensor(batch.pixels);
        for (index, item) in items.into_iter().enumerate() {
            assert_eq!(pictures[index], item.pixels);
            assert_eq!(batch.captions[index], item.caption);
        }
    }
}
