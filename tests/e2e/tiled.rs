//! The shipped VQGAN in windows, as pictures are painted, beside the same network on the whole.

use std::path::Path;

use burn::tensor::TensorData;
use nuwa_data::Picture;
use nuwa_model::checkpoint;
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
    let (side, stride) = (480, vqgan.stride());
    let codes = vqgan.encode(picture.crop(300, 200, side, side).to_tensor(&device));

    let whole = vqgan.decode(codes.clone()).into_data();
    let tiling = Tiling::of_stride(stride);
    assert!(tiling.window * stride < side, "more than one window");
    let tiled = vqgan.decode_tiled(codes, &tiling);

    let level = |value: f32| f64::from(value.clamp(-1.0, 1.0)) * 127.5;
    let tiled = TensorData::new(tiled.values, [3 * side * side]);
    let squares = whole
        .iter::<f32>()
        .zip(tiled.iter::<f32>())
        .map(|(a, b)| (level(a) - level(b)).powi(2));
    let apart = (squares.sum::<f64>() / (3 * side * side) as f64).sqrt();
    assert!(apart < MOST_APART, "{apart} levels apart");
}
