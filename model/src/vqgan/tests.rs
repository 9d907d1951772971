//! Tests of the whole room: configuration, tokens, guide; windows in a part of their own.

mod windows;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor, s};

use super::tiled::Window;
use super::*;

/// Counted by hand from the released architecture.
const F16_PARAMS: usize = 76_073_859;

fn config() -> VqganConfig {
    VqganConfig {
        ch: 32,
        multipliers: vec![1, 1, 2],
        blocks: 1,
        z: 8,
        n_codes: 40,
        code_dim: 6,
    }
}

fn network(config: &VqganConfig) -> Vqgan {
    let device = Device::flex();
    device.seed(7);
    // Lazy parameters are drawn on first use; drawing them here makes the test independent of order.
    let network = config.init(&device).materialize();
    contrasty(network)
}

/// Codes far apart and a picture as contrasty as a real one, so that differences show.
fn contrasty(mut vqgan: Vqgan) -> Vqgan {
    let scale = |weight: Tensor<2>| weight * 40.0;
    vqgan.quantize.embedding.weight = vqgan.quantize.embedding.weight.map(scale);
    let picture = vqgan.decode(codes(&vqgan, 6, 6, 0));
    let spread = picture.var(3).mean().sqrt().into_scalar::<f32>();
    let conv = &mut vqgan.decoder.conv_out;
    conv.weight = conv.weight.clone().map(|weight| weight * (0.5 / spread));
    vqgan
}

fn codes(vqgan: &Vqgan, h: usize, w: usize, shift: usize) -> Tensor<3, Int> {
    let [n_codes, _] = vqgan.quantize.embedding.weight.dims();
    let code = |n: usize| ((n * n * 7 + n * 13 + shift) % n_codes) as i32;
    let list: Vec<i32> = (0..h * w).map(code).collect();
    Tensor::<1, Int>::from_ints(list.as_slice(), &Device::flex()).reshape([1, h, w])
}

fn size(codes: &Tensor<3, Int>) -> [usize; 2] {
    let [_, h, w] = codes.dims();
    [h, w]
}

/// Gives the codes of a window.
fn cut(codes: &Tensor<3, Int>) -> impl Fn(&Window) -> Tensor<3, Int> {
    |window| {
        codes
            .clone()
            .slice(s![.., window.range(0), window.range(1)])
    }
}

fn pixels(h: usize, w: usize) -> Tensor<4> {
    let device = Device::flex();
    device.seed(3);
    Tensor::random([1, 3, h, w], Distribution::Uniform(-1.0, 1.0), &device)
}

fn values(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("f32")
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn presets_have_the_released_number_of_parameters() {
    let mut count = VqganConfig::f16();
    assert_eq!(count.n_params(), F16_PARAMS);
    assert_eq!(count.stride(), 16);
    count.blocks = 1;
    assert!(count.n_params() < F16_PARAMS);
    assert_eq!(VqganConfig::small().stride(), 16);
}

#[test]
fn configurations_from_files_are_checked() {
    let text = serde_json::to_string(&config()).expect("plain numbers");
    assert_eq!(
        serde_json::from_str::<VqganConfig>(&text).expect("own text"),
        config()
    );
    let surplus = text.replacen('{', r#"{"attention":1,"#, 1);
    assert!(serde_json::from_str::<VqganConfig>(&surplus).is_err());

    let check = |change: fn(&mut VqganConfig)| {
        let mut config = config();
        change(&mut config);
        config.check().map_err(|error| error.field)
    };
    assert_eq!(check(|_| ()), Ok(()));
    assert_eq!(check(|config| config.ch = 48), Err("ch"));
    assert_eq!(
        check(|config| config.multipliers = vec![]),
        Err("multipliers")
    );
    assert_eq!(
        check(|config| config.multipliers[1] = 0),
        Err("multipliers")
    );
    assert_eq!(check(|config| config.blocks = usize::MAX), Err("blocks"));
    assert_eq!(check(|config| config.n_codes = 0), Err("n_codes"));
}

#[test]
fn every_code_is_nearest_to_itself_in_every_band() {
    // Enough codes that the distances do not fit in one band.
    let quantizer = Quantizer::new(4096, 5, &Device::flex());
    let picked: Vec<i32> = (0..2048).map(|n| n * 2 + n % 2).collect();
    let picked = Tensor::<1, Int>::from_ints(picked.as_slice(), &Device::flex());
    let codes = picked.reshape([2, 32, 32]);
    let found = quantizer.nearest(quantizer.lookup(codes.clone()));
    assert_eq!(found.into_data(), codes.into_data());
}

#[test]
fn a_fresh_guide_changes_nothing_until_it_learns() {
    let (config, device) = (config(), Device::flex());
    let vqgan = network(&config);
    let guided = PgVqgan::from_vqgan(&vqgan, &config, &device);
    let (codes, previous) = (codes(&vqgan, 3, 4, 0), pixels(12, 16));
    let plain = values(vqgan.decode(codes.clone()));
    assert_eq!(
        values(guided.decode_after(codes.clone(), previous.clone())),
        plain
    );

    let mut training = guided.train();
    let frame = training.decode_after(codes.clone().autodiff(), previous.clone().autodiff());
    let gradients = frame.square().mean().backward();
    let weight = training.guide.conv_in.weight.val();
    let gradient = Tensor::from_inner(weight.grad(&gradients).expect("conv_in is trained"));
    let step = gradient * 0.1;
    let conv_in = &mut training.guide.conv_in;
    conv_in.weight = conv_in.weight.clone().map(|weight| weight - step);
    let learned = training.valid().decode_after(codes, previous);
    assert!(furthest(&values(learned), &plain) > 1e-4);
}

#[test]
fn a_clip_is_decoded_frame_after_frame() {
    let config = config();
    let vqgan = network(&config);
    let guided = config.init_pixel_guided(&Device::flex());
    let clip = Tensor::stack::<4>(vec![codes(&vqgan, 2, 3, 0), codes(&vqgan, 2, 3, 5)], 1);
    let frames = guided.decode_video(clip.clone(), None, Some(&vqgan));
    assert_eq!(frames.dims(), [1, 2, 3, 8, 12]);
    let frame = |n: usize| frames.clone().slice(s![.., n]).squeeze_dim::<4>(1);
    let first = vqgan.decode(codes(&vqgan, 2, 3, 0)).clamp(-1.0, 1.0);
    assert_eq!(values(frame(0)), values(first.clone()));
    let second = guided
        .decode_after(codes(&vqgan, 2, 3, 5), first.clone())
        .clamp(-1.0, 1.0);
    assert_eq!(values(frame(1)), values(second));

    let animated = guided.decode_video(clip, Some(first.clone()), None);
    let third = guided
        .decode_after(codes(&vqgan, 2, 3, 0), first)
        .clamp(-1.0, 1.0);
    let animated = animated.slice(s![.., 0]).squeeze_dim::<4>(1);
    assert_eq!(values(animated), values(third));
}

/// The network with every attention silenced, whose reach is finite.

#[test]
fn costs_count_like_squared_distances() {
    let device = Device::flex();
    let mut quantizer = network(&config()).quantize;
    let rows: Vec<f32> = (0..40 * 6).map(|at| (at / 6) as f32).collect();
    let rows = Tensor::<1>::from_floats(rows.as_slice(), &device).reshape([40, 6]);
    quantizer.embedding.weight = quantizer.embedding.weight.map(|_| rows);
    // It lies at a squared distance of 6 · 0.3² from code 5, and of 6 · 0.7² from code 6.
    let latent = Tensor::full([1, 6, 1, 1], 5.3, &device);
    let chosen = |cost: f32| {
        let mut costs = [0.0; 40];
        costs[5] = cost;
        let costs = Tensor::<1>::from_floats(costs, &device);
        let code = quantizer.cheapest(latent.clone(), Some(costs));
        code.into_scalar::<i32>()
    };
    assert_eq!(quantizer.nearest(latent.clone()).into_scalar::<i32>(), 5);
    assert_eq!((chosen(0.0), chosen(2.3), chosen(2.5)), (5, 5, 6));
}
