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
pub use super::tiling::{Statistics, Tiling, Window};

use super::blocks::conv2d;
use super::moments::{Moments, Norms};
use super::{Decoder, Encoder, Vqgan};

/// The axis along which finished bands come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Bands of whole rows, from the top; memory grows with the width.
    Down,
    /// Bands of whole columns, from the left; memory grows with the height.
    Right,
}

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
        emit: impl FnMut(Band) -> Result<(), E>,
    ) -> Result<(), E> {
        let pass = |windows: &[Window], norms: &mut Norms<'_>| {
            let codes = Tensor::cat(windows.iter().map(&read).collect(), 0);
            let features = conv2d(&self.post_quant_conv, self.quantize.lookup(codes));
            let last = self.decoder.pass(features, None, norms);
            Ok(last.map(|last| conv2d(&self.decoder.conv_out, last)))
        };
        tiling.run(size, [3, self.stride()], sweep, wanted, pass, emit)
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
        let pass = |windows: &[Window], norms: &mut Norms<'_>| {
            let pixels = windows.iter().map(&mut read).collect::<Result<_, E>>()?;
            let features = self.encoder.pass(Tensor::cat(pixels, 0), norms);
            Ok(features.map(|features| conv2d(&self.quant_conv, features)))
        };
        tiling.run(
            size,
            [code_dim, 1],
            Sweep::Down,
            |_| true,
            pass,
            |band| {
                let [h, w] = band.size;
                let latents = Tensor::<1>::from_floats(band.values.as_slice(), &device);
                codes.push(self.nearest(latents.reshape([1, -1, h as i32, w as i32])));
                Ok(())
            },
        )?;
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

impl Tiling {
    /// Sweeps the windows of a token grid: as often as the statistics need, then once for the
    /// result, which comes in bands of `scale` values per token and axis, `channels` deep.
    fn run<E>(
        &self,
        size: [usize; 2],
        [channels, scale]: [usize; 2],
        sweep: Sweep,
        wanted: impl Fn([Range<usize>; 2]) -> bool,
        mut pass: impl FnMut(&[Window], &mut Norms<'_>) -> Result<Option<Tensor<4>>, E>,
        mut emit: impl FnMut(Band) -> Result<(), E>,
    ) -> Result<(), E> {
        let tiling = self.fitted(size);
        let moments = tiling.moments(size, &mut pass)?;
        let [along, across] = match sweep {
            Sweep::Down => [0, 1],
            Sweep::Right => [1, 0],
        };
        let (spans, across_spans) = (tiling.spans(size[along]), tiling.spans(size[across]));
        let mut carried: Option<Band> = None;
        for (n, span) in spans.iter().enumerate() {
            let is_last = n + 1 == spans.len();
            let blend = if is_last { 0 } else { tiling.blend };
            let mut reach = [0..size[0] * scale, 0..size[1] * scale];
            let start = carried.as_ref().map_or(0, |band| band.start[along]);
            reach[along] = start..(span.end + blend) * scale;
            let mut band = Band::of(&reach, channels, carried.as_ref());
            for other in &across_spans {
                let mut cores = [span.clone(), other.clone()];
                cores.swap(0, along);
                if !wanted([0, 1].map(|axis| tiling.seen(size[axis], &cores[axis]))) {
                    continue;
                }
                let window = tiling.window_of(size, &cores);
                let tile = pass(&[window], &mut Norms::given(&moments))?;
                let tile = on_host(tile.expect("given moments end no pass"));
                let weights = [0, 1].map(|axis| tiling.fade(size[axis], &cores[axis], scale));
                band.blend(&tile, &window.scaled(scale), &weights);
            }
            let end = (span.end - blend) * scale;
            let (done, rest) = band.split(along, end);
            emit(done)?;
            carried = Some(rest);
        }
        Ok(())
    }

    /// Gives the moments that all windows share.
    fn moments<E>(
        &self,
        size: [usize; 2],
        mut pass: impl FnMut(&[Window], &mut Norms<'_>) -> Result<Option<Tensor<4>>, E>,
    ) -> Result<Vec<Moments>, E> {
        let windows = self.windows(size);
        let mut known = Vec::new();
        match self.statistics {
            Statistics::PerWindow => {}
            // One window is the whole picture.
            _ if windows.len() == 1 => {}
            Statistics::Sampled(count) => {
                let samples = self.samples(size, count);
                let cores = samples.iter().map(|window| window.core).collect();
                pass(&samples, &mut Norms::joint(cores, &mut known))?;
            }
            Statistics::Exact => loop {
                let mut found = Vec::new();
                for window in &windows {
                    let mut norms = Norms::next(&known, window.core, &mut found);
                    if pass(std::slice::from_ref(window), &mut norms)?.is_some() {
                        return Ok(known);
                    }
                }
                known.append(&mut found);
            },
        }
        Ok(known)
    }
}

fn on_host(values: Tensor<4>) -> Vec<f32> {
    let data = values.into_data().convert_dtype(burn::tensor::DType::F32);
    data.try_into_vec().expect("converted to f32")
}
