//! The frames of a film after its first: each decoded with the help of the one before.

use burn::tensor::{Tensor, TensorData, s};
use nuwa_data::spool::Spool;
use nuwa_data::{DataError, Picture};
use nuwa_model::patch::TokenSize;
use nuwa_model::render::TokenGrid;
use nuwa_model::vqgan::PgVqgan;

use crate::model_run::{ModelRun, RIM, reflect, reflected_crop};
use crate::task::{Layout, SizePx};

/// Gives the tokens of one frame.
pub(crate) fn frame(tokens: &TokenGrid, frame: usize) -> TokenGrid {
    let TokenSize { h, w, .. } = tokens.size();
    let codes = tokens.codes()[frame * h * w..][..h * w].to_vec();
    TokenGrid::new(1, TokenSize { f: 1, h, w }, codes)
}

/// Decodes the tokens of one frame, guided by the pixels of the frame before it, which is in the
/// spool already (\[P\] Fig. 9).
///
/// Both are continued by reflection, as pictures are wherever they are coded. The frame is decoded
/// whole: [`ModelRun::check_frame`] tells whether it is small enough.
///
/// # Errors
/// When the spool cannot be written or read.
pub(crate) fn decode_after(
    run: &ModelRun,
    guided: &PgVqgan,
    tokens: &TokenGrid,
    layout: &Layout,
    frame: usize,
    spool: &Spool,
) -> Result<(), DataError> {
    let stride = run.vqgan_config.stride();
    let SizePx { w, h } = layout.size;
    // Tokens of which something is seen; what of the grid sticks out further has no frame before it.
    let seen = |margin: usize, side: usize| margin / stride..(margin + side).div_ceil(stride);
    let (rows, columns) = (seen(layout.margin.y, h), seen(layout.margin.x, w));
    let [n_rows, n_columns] = [rows.len() + 2 * RIM, columns.len() + 2 * RIM];
    let code = |at: usize| {
        let place = |at: usize, n: usize| reflect(at as isize - RIM as isize, n);
        let row = rows.start + place(at / n_columns, rows.len());
        let column = columns.start + place(at % n_columns, columns.len());
        tokens.codes()[row * tokens.size().w + column].max(0)
    };
    let codes: Vec<i32> = (0..n_rows * n_columns).map(code).collect();
    let codes = TensorData::new(codes, [1, n_rows, n_columns]);
    // Pixels of the rim and of the first token that lie before the frame.
    let (left, top) = (
        RIM * stride + layout.margin.x % stride,
        RIM * stride + layout.margin.y % stride,
    );
    let previous = spool.crop(frame - 1, 0, 0, w, h)?;
    let previous = reflected_crop(
        &previous,
        -(left as isize),
        -(top as isize),
        n_columns * stride,
        n_rows * stride,
    );
    let device = run.device();
    let pixels = guided.decode_after(Tensor::from_data(codes, device), previous.to_tensor(device));
    let pixels = pixels.slice(s![.., .., top..top + h, left..left + w]);
    for picture in Picture::from_tensor(pixels) {
        spool.paste(frame, 0, 0, &picture)?;
    }
    Ok(())
}
