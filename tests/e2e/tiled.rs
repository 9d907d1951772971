//! The shipped VQGAN in windows, as pictures are painted, beside the same network on the whole.

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use nuwa_data::Picture;
use nuwa_infer::canvas;
use nuwa_infer::model_run::ModelRun;
use nuwa_infer::seams::{Borders, SeamMeter};
use nuwa_infer::task::{Layout, PointPx, SizePx};
use nuwa_model::checkpoint;
use nuwa_model::render::TokenGrid;
use nuwa_model::vqgan::Vqgan;
use nuwa_model::vqgan::tiled::Tiling;

use crate::test_device;

/// Levels of 255 by which windows may differ from the whole, root mean square.
const MOST_APART: f64 = 2.0;

#[test]
fn a_picture_decoded_in_windows_is_the_picture_decoded_whole() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infer/assets");
    let device = test_device();
    let (vqgan, _, _) = checkpoint::load::<Vqgan>(&assets.join("hubble/vqgan"), &device)
        .expect("the shipped weights");
    let picture = Picture::read(&assets.join("pictures/hubble_deep_field.jpg")).expect("a picture");
    let ([w, h], stride) = ([512, 384], vqgan.stride());
    let codes = vqgan.encode(picture.crop(300, 200, w, h).to_tensor(&device));

    let whole = vqgan.decode(codes.clone()).into_data();
    let tiling = Tiling {
        whole: 0,
        ..Tiling::of_stride(stride)
    };
    assert!(tiling.window * stride < h, "more than one window");
    let tiled = vqgan.decode_tiled(codes, &tiling);

    let level = |value: f32| f64::from(value.clamp(-1.0, 1.0)) * 127.5;
    let tiled = TensorData::new(tiled.values, [3 * h * w]);
    let squares = whole
        .iter::<f32>()
        .zip(tiled.iter::<f32>())
        .map(|(a, b)| (level(a) - level(b)).powi(2));
    let apart = (squares.sum::<f64>() / (3 * h * w) as f64).sqrt();
    assert!(apart < MOST_APART, "{apart} levels apart");
}

#[test]
fn no_seam_is_seen_where_windows_meet() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infer/assets");
    let mut run = ModelRun::load(&assets.join("hubble"), &test_device()).expect("the shipped run");
    run.tiling.whole = 0;
    let picture = Picture::read(&assets.join("pictures/hubble_deep_field.jpg")).expect("a picture");
    let picture = picture.crop(300, 200, 512, 384);
    let layout = Layout::new(SizePx::of(&picture), PointPx { x: 0, y: 0 }, run.scale());
    let layout = layout.expect("it fits");
    let size = layout.tokens();
    let tokens = TokenGrid::new(1, size, run.encode(&picture, [size.h, size.w]));
    let tiled = canvas::picture(&run, &tokens, &layout);

    // The same tokens in one piece, continued beyond the border as the canvas does it.
    let rim = Tiling::MARGIN;
    let mirrored = |at: usize, n: usize| match at.checked_sub(rim) {
        None => rim - 1 - at,
        Some(at) => at.min(2 * n - 1 - at.min(2 * n - 1)),
    };
    let [h, w] = [size.h + 2 * rim, size.w + 2 * rim];
    let code =
        |at: usize| tokens.codes()[mirrored(at / w, size.h) * size.w + mirrored(at % w, size.w)];
    let codes = TensorData::new((0..h * w).map(code).collect::<Vec<i32>>(), [1, h, w]);
    let whole = run.vqgan.decode(Tensor::from_data(codes, &test_device()));
    let rim_px = rim * run.vqgan.stride();
    let whole = Picture::from_tensor(whole)
        .remove(0)
        .crop(rim_px, rim_px, 512, 384);

    let seam = |picture: &Picture| {
        let borders = Borders::new(&layout, run.renderer_config.patch, &run.tiling);
        let mut meter = SeamMeter::new(borders, &|_| false);
        meter.add_rows(picture.rgb());
        meter.seams().windows.expect("more than one window")
    };
    // What lies at the borders differs from what lies inside; windows must not add to that.
    let (seen, expected) = (seam(&tiled), seam(&whole));
    assert!(
        (seen / expected - 1.0).abs() < 0.02,
        "{seen}, and {expected} without windows"
    );
    let apart = 255.0 / 10_f64.powf(tiled.psnr(&whole) / 20.0);
    assert!(apart < MOST_APART, "{apart} levels apart");
}
