//! The frames of a film after its first: each decoded with the help of the one before.

use burn::tensor::{Tensor, TensorData, s};
use nuwa_data::image::reflect;
use nuwa_data::spool::Spool;
use nuwa_data::{DataError, Picture};
use nuwa_model::patch::TokenSize;
use nuwa_model::render::TokenGrid;
use nuwa_model::vqgan::PgVqgan;

use crate::model_run::{ModelRun, RIM};
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
    let previous = previous.continued(
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

#[cfg(test)]
pub(crate) mod tests {
    use burn::tensor::Device;
    use nuwa_model::checkpoint::{self, Header, Kind, Storage};
    use nuwa_model::patch::Extent;
    use nuwa_model::render::{Decoding, Feed, RendererConfig, Transfer};
    use nuwa_model::vqgan::VqganConfig;

    use super::*;
    use crate::canvas::Development;
    use crate::task::PointPx;

    const PATCH: TokenSize = TokenSize { f: 1, h: 4, w: 4 };

    fn vqgan() -> VqganConfig {
        VqganConfig {
            ch: 32,
            multipliers: vec![1, 1],
            blocks: 1,
            z: 8,
            n_codes: 16,
            code_dim: 8,
        }
    }

    /// A run of fresh weights; its guide is silent.
    pub(crate) fn run() -> ModelRun {
        let renderer = RendererConfig {
            decoding: Decoding::Ar,
            d_model: 64,
            n_layers: 1,
            n_codes: 16,
            patch: PATCH,
            extent: Extent { w: 1, h: 1, f: 1 },
            feed: Feed::Pre,
            d_text: None,
            transfer: Transfer::Context,
        };
        let (folder, device) = (tempfile::tempdir().expect("a folder"), Device::flex());
        let header = |kind| Header {
            kind,
            licence: "CC0".into(),
            source: "made by a test".into(),
            notes: None,
        };
        let (config, full) = (vqgan(), Storage::Full);
        let at = |name: &str| folder.path().join(name);
        let network = config.init(&device);
        let saved = checkpoint::save(&network, &header(Kind::Vqgan), &config, full, &at("vqgan"));
        saved.expect("saved");
        let network = renderer.init(&device);
        let header = header(Kind::Renderer);
        let saved = checkpoint::save(&network, &header, &renderer, full, &at("renderer"));
        saved.expect("saved");
        let mut run = ModelRun::load(folder.path(), &device).expect("a run");
        assert!(run.pg_vqgan.is_none());
        run.pg_vqgan = Some(PgVqgan::from_vqgan(&run.vqgan, &config, &device));
        run
    }

    /// Makes the guide speak.
    fn guide(run: &mut ModelRun) {
        let fresh = vqgan().init_pixel_guided(&Device::flex());
        let guided = run.pg_vqgan.as_mut().expect("it has one");
        guided.guide = fresh.guide;
    }

    pub(crate) fn layout(run: &ModelRun, size: SizePx, at: PointPx, frames: usize) -> Layout {
        let layout = Layout::new(size, at, run.scale()).expect("a layout");
        layout.with_frames(frames).expect("a film")
    }

    pub(crate) fn scattered(size: TokenSize) -> Vec<i32> {
        (0..size.count() as i32).map(|n| n * n % 13).collect()
    }

    fn decoded(run: &ModelRun, layout: &Layout, codes: Vec<i32>) -> Vec<Picture> {
        let folder = tempfile::tempdir().expect("a folder");
        let SizePx { w, h } = layout.size;
        let spool = Spool::create(folder.path(), w, h, layout.frames).expect("a spool");
        let tokens = TokenGrid::new(1, layout.tokens(), codes);
        let development = Development::new(run, *layout, None, 0, spool);
        let spool = development.finish(&tokens).expect("decoded");
        let frames = 0..layout.frames;
        frames
            .map(|frame| spool.crop(frame, 0, 0, w, h).expect("read"))
            .collect()
    }

    #[test]
    fn a_silent_guide_decodes_each_frame_on_its_own() {
        let mut run = run();
        let layout = layout(&run, SizePx { w: 24, h: 16 }, PointPx { x: 0, y: 0 }, 3);
        let codes = scattered(layout.tokens());
        let guided = decoded(&run, &layout, codes.clone());
        run.pg_vqgan = None;
        let plain = decoded(&run, &layout, codes);
        assert!(guided == plain);
        assert!(plain[0] != plain[1] && plain[1] != plain[2]);
    }

    #[test]
    fn every_frame_is_guided_by_the_one_decoded_before_it() {
        let mut run = run();
        guide(&mut run);
        let layout = layout(&run, SizePx { w: 21, h: 15 }, PointPx { x: 0, y: 0 }, 4);
        let codes = scattered(layout.tokens());
        let all = decoded(&run, &layout, codes.clone());
        // Other tokens in the second frame change it and what follows, and nothing before.
        let per_frame = codes.len() / 4;
        let mut other = codes.clone();
        other[per_frame..2 * per_frame].fill(3);
        let changed = decoded(&run, &layout, other);
        let differs: Vec<bool> = (0..4).map(|f| all[f] != changed[f]).collect();
        assert_eq!(differs, [false, true, true, true]);
        run.pg_vqgan = None;
        let plain = decoded(&run, &layout, codes);
        let differs: Vec<bool> = (0..4).map(|f| all[f] != plain[f]).collect();
        assert_eq!(differs, [false, true, true, true]);
    }

    #[test]
    fn the_guide_sees_the_frame_before_where_the_new_one_will_be() {
        let mut run = run();
        guide(&mut run);
        let size = SizePx { w: 40, h: 32 };
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::create(folder.path(), size.w, size.h, 2).expect("a spool");
        // Without and with a grid that sticks out on all sides, by parts of a token too.
        for at in [PointPx { x: 0, y: 0 }, PointPx { x: 3, y: 1 }] {
            let layout = layout(&run, size, at, 2);
            let tokens = frame(
                &TokenGrid::new(1, layout.tokens(), scattered(layout.tokens())),
                1,
            );
            let guided = run.pg_vqgan.as_ref().expect("it has one");
            let after = |before: &Picture| {
                spool.paste(0, 0, 0, before).expect("written");
                decode_after(&run, guided, &tokens, &layout, 1, &spool).expect("decoded");
                spool.crop(1, 0, 0, size.w, size.h).expect("read")
            };
            let gray = Picture::filled(size.w, size.h, [128; 3]);
            let mut dotted = gray.clone();
            dotted.paste(&Picture::filled(2, 2, [255; 3]), 30, 20);
            let (gray, dotted) = (after(&gray), after(&dotted));
            let change = |&(x, y): &(usize, usize)| {
                let (a, b) = (gray.pixel(x, y), dotted.pixel(x, y));
                (0..3).map(|c| u32::from(a[c].abs_diff(b[c]))).sum::<u32>()
            };
            let places = (0..size.h).flat_map(|y| (0..size.w).map(move |x| (x, y)));
            let (x, y) = places.max_by_key(change).expect("pixels");
            assert!(
                x.abs_diff(30) <= 4 && y.abs_diff(20) <= 4,
                "{at}: ({x}, {y})"
            );
        }
    }
}
