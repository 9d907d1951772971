//! Large pictures in windows that overlap and fade into each other, so that memory does not grow
//! with the picture.
//!
//! A window sees less than the whole picture in three ways. Convolutions reach beyond its border:
//! [`Tiling::margin`] tokens around it are computed and thrown away. Group normalization takes
//! moments over the whole picture: [`Statistics`] says how they are shared. Attention looks at the
//! whole picture: each window has its own, so tiled and whole agree to rounding only where there is
//! none. All lengths are in tokens, all positions rows before columns.

use std::convert::Infallible;
use std::ops::Range;

use burn::tensor::{Int, Tensor, s};

pub use super::band::Band;
pub use super::bands::{Bands, Sweep};
pub use super::tiling::{Statistics, Tiling, Window};

use super::blocks::conv2d;
use super::moments::Norms;
use super::{Decoder, Encoder, Vqgan};

impl Vqgan {
    /// Gives the picture of a grid of codes in bands, as they are finished.
    ///
    /// `size` counts rows and columns of tokens; `read` gives the codes of a window, `[1, h, w]`.
    /// `wanted` is asked for each window whether anything of it is looked at: it gets the rows and
    /// columns of tokens in whose pixels the window is seen. Elsewhere the bands are zero.
    ///
    /// # Shapes
    /// The bands have three channels and positions in pixels.
    ///
    /// # Errors
    /// The first error of `emit` ends the decoding.
    pub fn decode_bands<E>(
        &self,
        size: [usize; 2],
        read: impl Fn(&Window) -> Tensor<3, Int>,
        tiling: &Tiling,
        sweep: Sweep,
        wanted: impl Fn([Range<usize>; 2]) -> bool,
        mut emit: impl FnMut(Band) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut bands = self.decoding(size, tiling, sweep);
        while let Some(band) = self.decode_band(&mut bands, &read, &wanted) {
            emit(band)?;
        }
        Ok(())
    }

    /// Begins a decoding of which the codes come little by little.
    pub fn decoding(&self, size: [usize; 2], tiling: &Tiling, sweep: Sweep) -> Bands {
        Bands::new(tiling, size, [3, self.stride()], sweep)
    }

    /// Gives the next band of a decoding, as [`decode_bands`](Self::decode_bands) does, or nothing
    /// after the last. The codes up to what it [needs](Bands::needs) are read.
    pub fn decode_band(
        &self,
        bands: &mut Bands,
        read: impl Fn(&Window) -> Tensor<3, Int>,
        wanted: impl Fn([Range<usize>; 2]) -> bool,
    ) -> Option<Band> {
        let pass = |windows: &[Window], norms: &mut Norms<'_>| {
            let codes = Tensor::cat(windows.iter().map(&read).collect(), 0);
            let features = conv2d(&self.post_quant_conv, self.quantize.lookup(codes));
            let last = self.decoder.pass(features, None, norms);
            Ok(last.map(|last| conv2d(&self.decoder.conv_out, last)))
        };
        let Ok(band) = bands.next::<Infallible>(wanted, pass);
        band
    }

    /// Gives the whole picture of a grid of codes.
    ///
    /// # Shapes
    /// `codes`: `[1, h, w]`; the picture has three channels, `h·stride` rows.
    pub fn decode_tiled(&self, codes: Tensor<3, Int>, tiling: &Tiling) -> Band {
        let [b, h, w] = codes.dims();
        assert_eq!(b, 1, "one picture at a time");
        let mut whole = Band::zeros([0, 0], [h * self.stride(), w * self.stride()], 3);
        let paste = |band: Band| {
            whole.paste(&band);
            Ok::<_, Infallible>(())
        };
        let cut = |window: &Window| {
            let codes = codes.clone();
            codes.slice(s![.., window.range(0), window.range(1)])
        };
        let Ok(()) = self.decode_bands([h, w], cut, tiling, Sweep::Down, |_| true, paste);
        whole
    }

    /// Gives the codes of a picture that is read in windows.
    ///
    /// `size` counts rows and columns of tokens; `read` gives the pixels of a window,
    /// `[1, 3, h·stride, w·stride]` in -1..1 from `start·stride` on.
    ///
    /// # Shapes
    /// Gives `[1, h, w]`.
    ///
    /// # Errors
    /// The first error of `read` ends the encoding.
    pub fn encode_tiled<E>(
        &self,
        size: [usize; 2],
        tiling: &Tiling,
        mut read: impl FnMut(&Window) -> Result<Tensor<4>, E>,
    ) -> Result<Tensor<3, Int>, E> {
        let device = self.quantize.embedding.weight.device();
        let [_, code_dim] = self.quantize.embedding.weight.dims();
        let mut codes = Vec::new();
        let mut pass = |windows: &[Window], norms: &mut Norms<'_>| {
            let pixels = windows.iter().map(&mut read).collect::<Result<_, E>>()?;
            let features = self.encoder.pass(Tensor::cat(pixels, 0), norms);
            Ok(features.map(|features| conv2d(&self.quant_conv, features)))
        };
        let mut bands = Bands::new(tiling, size, [code_dim, 1], Sweep::Down);
        while let Some(band) = bands.next(|_| true, &mut pass)? {
            let [h, w] = band.size;
            let latents = Tensor::<1>::from_floats(band.values.as_slice(), &device);
            codes.push(self.nearest(latents.reshape([1, -1, h as i32, w as i32])));
        }
        Ok(Tensor::cat(codes, 1))
    }

    /// Gives the codes of a picture that is continued beyond its border, so that its tokens are
    /// those of a place within a larger picture. Without that, convolutions see zeros there, and
    /// two tokens of three come out otherwise.
    ///
    /// `size` counts rows and columns of tokens, [`Tiling::MARGIN`] of continuation not counted;
    /// `read` gives pixels of the continued picture from a place (y, x) on, which may be negative, in
    /// a size (h, w).
    ///
    /// # Shapes
    /// `read` gives `[1, 3, h, w]` in -1..1, this `[1, h, w]`.
    ///
    /// # Errors
    /// The first error of `read` ends the encoding.
    pub fn encode_continued<E>(
        &self,
        [h, w]: [usize; 2],
        tiling: &Tiling,
        mut read: impl FnMut([isize; 2], [usize; 2]) -> Result<Tensor<4>, E>,
    ) -> Result<Tensor<3, Int>, E> {
        let (stride, rim) = (self.stride(), Tiling::MARGIN);
        let read = |window: &Window| {
            let start = window
                .start
                .map(|at| (at as isize - rim as isize) * stride as isize);
            read(start, window.size.map(|side| side * stride))
        };
        let codes = self.encode_tiled([h + 2 * rim, w + 2 * rim], tiling, read)?;
        Ok(codes.narrow(1, rim, h).narrow(2, rim, w))
    }
}

impl Decoder {
    /// How many tokens away a token may still be seen in a pixel, attention aside.
    pub fn reach(&self) -> usize {
        let levels = self.n_levels();
        // conv_in, the middle, and the levels, each finer one counting half as much.
        let at_level = |level: usize| {
            let upsample = if level + 1 < levels { 1 } else { 0 };
            (2 * self.n_blocks() + upsample) as f64 / (1 << (levels - 1 - level)) as f64
        };
        let last = 1.0 / (1 << (levels - 1)) as f64;
        (5.0 + (0..levels).map(at_level).sum::<f64>() + last).ceil() as usize
    }
}

impl Encoder {
    /// How many tokens away a pixel may still be seen in a token, attention aside.
    pub fn reach(&self) -> usize {
        let levels = self.n_levels();
        // conv_in, then levels in pixels, each coarser one counting twice as much.
        let at_level = |level: usize| {
            let downsample = if level + 1 < levels { 2 } else { 0 };
            (2 * self.n_blocks() + downsample) << level
        };
        let pixels = 1 + (0..levels).map(at_level).sum::<usize>();
        5 + pixels.div_ceil(1 << (levels - 1))
    }
}
