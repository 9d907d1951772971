//! From tokens to a file: decoded band by band, cropped to the asked size, the known picture's own
//! pixels put back, and written as the rows are finished.

use std::ops::Range;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use nuwa_data::image::{PictureFormat, PngRows};
use nuwa_data::{DataError, Picture};
use nuwa_model::render::TokenGrid;
use nuwa_model::vqgan::tiled::{Band, Sweep};

use crate::model_run::{ModelRun, RIM, reflect};
use crate::task::{Layout, PointPx, SizePx};

/// A known picture and where it lies in the result.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Its pixels; they come back bit for bit.
    pub picture: &'a Picture,
    /// Its top left corner in the result.
    pub at: PointPx,
}

/// Decodes a finished token grid and writes the picture. PNG is written row by row; the other
/// formats need the whole picture in memory.
///
/// # Errors
/// When the file cannot be written; nothing is left under its name then.
///
/// # Panics
/// When a token is unknown.
pub fn write(
    run: &ModelRun,
    tokens: &TokenGrid,
    layout: &Layout,
    known: Option<Known>,
    out: &Path,
) -> Result<(), DataError> {
    let SizePx { w, h } = layout.size;
    match PictureFormat::of(out)? {
        PictureFormat::Png => {
            let mut rows = PngRows::create(out, w, h)?;
            each_row(run, tokens, layout, known, |row| rows.push(row))?;
            rows.finish()
        }
        _ => picture(run, tokens, layout, known).write(out),
    }
}

/// Decodes a finished token grid to a picture in memory.
///
/// # Panics
/// When a token is unknown.
pub fn picture(
    run: &ModelRun,
    tokens: &TokenGrid,
    layout: &Layout,
    known: Option<Known>,
) -> Picture {
    let SizePx { w, h } = layout.size;
    let mut rgb = Vec::with_capacity(3 * w * h);
    let push = |row: &[u8]| {
        rgb.extend_from_slice(row);
        Ok::<_, std::convert::Infallible>(())
    };
    let Ok(()) = each_row(run, tokens, layout, known, push);
    Picture::new(w, h, rgb)
}

fn each_row<E>(
    run: &ModelRun,
    tokens: &TokenGrid,
    layout: &Layout,
    known: Option<Known>,
    mut push: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let size = tokens.size();
    assert!(
        !tokens.codes().contains(&TokenGrid::UNKNOWN),
        "every token is painted"
    );
    let (h, w) = (size.h + 2 * RIM, size.w + 2 * RIM);
    let reflected = |row: usize, column: usize| {
        let row = reflect(row as isize - RIM as isize, size.h);
        tokens.codes()[row * size.w + reflect(column as isize - RIM as isize, size.w)]
    };
    let codes = (0..h * w).map(|at| reflected(at / w, at % w)).collect();
    let data = TensorData::new(codes, [1, h, w]);
    let codes = Tensor::from_data(data, &run.vqgan.quantize.embedding.weight.device());
    let rim = RIM * run.vqgan_config.stride();
    let (top, left) = (rim + layout.margin.y, rim + layout.margin.x);
    // What is known whole is put back, so it need not be decoded.
    let stride = run.vqgan_config.stride();
    let wanted = |[rows, columns]: [Range<usize>; 2]| {
        let inside = |tokens: Range<usize>, origin: usize, start: usize, length: usize| {
            tokens.start * stride >= origin + start
                && tokens.end * stride <= origin + start + length
        };
        !known.is_some_and(|Known { picture, at }| {
            inside(rows, top, at.y, picture.h()) && inside(columns, left, at.x, picture.w())
        })
    };
    run.vqgan
        .decode_bands(codes, &run.tiling(), Sweep::Down, wanted, |band| {
            for row in 0..band.size[0] {
                let Some(y) = (band.start[0] + row).checked_sub(top) else {
                    continue;
                };
                if y < layout.size.h {
                    let mut bytes = decoded_row(&band, row, left..left + layout.size.w);
                    put_back(&mut bytes, y, known);
                    push(&bytes)?;
                }
            }
            Ok(())
        })
}

/// Cuts columns out of a row of a band and rounds them to bytes.
fn decoded_row(band: &Band, row: usize, columns: Range<usize>) -> Vec<u8> {
    let [h, w] = band.size;
    let mut bytes = Vec::with_capacity(3 * columns.len());
    for x in columns {
        for channel in 0..3 {
            let value = band.values[(channel * h + row) * w + x];
            bytes.push(((value.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8);
        }
    }
    bytes
}

fn put_back(bytes: &mut [u8], y: usize, known: Option<Known>) {
    let Some(Known { picture, at }) = known else {
        return;
    };
    if let Some(row) = y.checked_sub(at.y).filter(|&row| row < picture.h()) {
        let line = 3 * picture.w();
        let own = &picture.rgb()[row * line..(row + 1) * line];
        bytes[3 * at.x..3 * at.x + line].copy_from_slice(own);
    }
}
