//! A picture from afar: one color for each token, without decoding the picture.

use burn::tensor::{Int, Tensor, TensorData};
use nuwa_data::Picture;
use nuwa_model::patch::TokenSize;
use nuwa_model::render::TokenGrid;

use crate::model_run::ModelRun;

/// Side of the square of equal tokens whose color is taken.
const SIDE: usize = 2;
/// What is not painted yet.
const UNPAINTED: [u8; 3] = [64; 3];

/// The mean color of every code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Palette {
    colors: Vec<[u8; 3]>,
}

impl Palette {
    /// Decodes every code once: all in one picture, each as a small square, so that group
    /// normalization sees about what it sees in a painting.
    pub(crate) fn new(run: &ModelRun) -> Self {
        let n_codes = run.vqgan_config.n_codes;
        let columns = (n_codes as f64).sqrt().ceil() as usize;
        let rows = n_codes.div_ceil(columns);
        let [h, w] = [rows * SIDE, columns * SIDE];
        // The last row is filled up with the first codes.
        let code = |at: usize| (at / w / SIDE * columns + at % w / SIDE) % n_codes;
        let codes: Vec<i32> = (0..h * w).map(|at| code(at) as i32).collect();
        let codes = TensorData::new(codes, [1, h, w]);
        let codes = Tensor::<3, Int>::from_data(codes, run.device());
        let picture = run.vqgan.decode_tiled(codes, &run.tiling);
        let [_, width] = picture.size;
        let side = SIDE * run.vqgan_config.stride();
        let mean = |code: usize, channel: usize| {
            let (top, left) = (code / columns * side, code % columns * side);
            let plane = &picture.values[channel * picture.size[0] * width..];
            let row = |y: usize| &plane[(top + y) * width + left..][..side];
            let sum: f32 = (0..side).flat_map(row).sum();
            let mean = sum / (side * side) as f32;
            ((mean.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8
        };
        let color = |code| [0, 1, 2].map(|channel| mean(code, channel));
        Self {
            colors: (0..n_codes).map(color).collect(),
        }
    }

    /// Gives a frame with one pixel for each token; gray where nothing is painted yet.
    pub(crate) fn picture(&self, tokens: &TokenGrid) -> Picture {
        let TokenSize { h, w, .. } = tokens.size();
        let color = |code: &i32| usize::try_from(*code).map_or(UNPAINTED, |code| self.colors[code]);
        Picture::new(w, h, tokens.codes().iter().flat_map(color).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_shows_the_color_of_its_code_and_gray_before_it_is_painted() {
        let palette = Palette {
            colors: vec![[1, 2, 3], [200, 100, 0]],
        };
        let size = TokenSize { f: 1, h: 1, w: 3 };
        let tokens = TokenGrid::new(1, size, vec![1, TokenGrid::UNKNOWN, 0]);
        let picture = palette.picture(&tokens);
        assert_eq!((picture.w(), picture.h()), (3, 1));
        let pixels: Vec<_> = (0..3).map(|x| picture.pixel(x, 0)).collect();
        assert_eq!(pixels, [[200, 100, 0], UNPAINTED, [1, 2, 3]]);
    }
}
