//! The perceptual distance of stage one: LPIPS on VGG16 (Zhang et al., 2018), as "Taming Transformers"
//! has it. The network is Burn's; its weights are two published files.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_train::metric::vision::LpipsNet::Vgg;
use burn_train::metric::vision::{
    Lpips, LpipsConfig, get_backbone_weights_url, get_lpips_weights_url,
};
use nuwa_data::pending::PendingFile;
use nuwa_model::error::Error;
use nuwa_model::import;

/// Names of PyTorch's files for the fields of Burn's network: convolutions of VGG16 in the order of
/// `torchvision.models.vgg16().features`, and the weights of their channels.
const NAMES: [(&str, &str); 14] = [
    (r"^extractor\.conv1_1\.", "features.0."),
    (r"^extractor\.conv1_2\.", "features.2."),
    (r"^extractor\.conv2_1\.", "features.5."),
    (r"^extractor\.conv2_2\.", "features.7."),
    (r"^extractor\.conv3_1\.", "features.10."),
    (r"^extractor\.conv3_2\.", "features.12."),
    (r"^extractor\.conv3_3\.", "features.14."),
    (r"^extractor\.conv4_1\.", "features.17."),
    (r"^extractor\.conv4_2\.", "features.19."),
    (r"^extractor\.conv4_3\.", "features.21."),
    (r"^extractor\.conv5_1\.", "features.24."),
    (r"^extractor\.conv5_2\.", "features.26."),
    (r"^extractor\.conv5_3\.", "features.28."),
    (r"^lin(\d)\.", "lin$1.model.1."),
];

/// Layers of VGG16 that tell ImageNet's classes apart, and nothing here.
const CLASSIFIER: &str = "classifier.";

/// The distance of pictures as VGG16 sees them; it does not learn.
#[derive(Debug)]
pub struct PerceptualDistance {
    network: Lpips,
}

impl PerceptualDistance {
    /// Reads the network from a folder with two files under their published names, or with the ending
    /// `.safetensors` and the same tensors: torchvision's `vgg16-397923af.pth` and LPIPS 0.1's
    /// `vgg.pth`.
    ///
    /// # Errors
    /// When a file is not there or cannot be read, or a tensor is missing, extra, misshapen or not
    /// finite.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let files = published().map(|(name, _)| file(folder, name));
        let empty = LpipsConfig::new().with_normalize(false).init(device);
        let elsewhere = |name: &str| name.starts_with(CLASSIFIER);
        let network = import::module(empty, &files, &NAMES, elsewhere)?;
        Ok(Self {
            network: network.no_grad(),
        })
    }

    /// Gives the distance of each picture from its counterpart.
    ///
    /// # Shapes
    /// `[b, 3, h, w]` in -1..1 twice, sides of at least 16, to `[b]`.
    pub fn between(&self, x: Tensor<4>, y: Tensor<4>) -> Tensor<1> {
        self.network.forward_no_reduction(x, y)
    }
}

/// Gives the place of a file, whichever ending it has.
fn file(folder: &Path, name: &str) -> PathBuf {
    let published = folder.join(name);
    let safe = published.with_extension("safetensors");
    if safe.is_file() { safe } else { published }
}

/// Names the first file that is not there, if one is missing.
pub fn missing(folder: &Path) -> Option<PathBuf> {
    let mut files = published().into_iter().map(|(name, _)| file(folder, name));
    files.find(|file| !file.is_file())
}

/// Names and addresses of the two files.
fn published() -> [(&'static str, &'static str); 2] {
    [get_backbone_weights_url(Vgg), get_lpips_weights_url(Vgg)].map(|url| {
        let name = url.rsplit_once('/').map_or(url, |(_, name)| name);
        (name, url)
    })
}

/// Fetches what is missing of the two files (528 MiB and 7 KiB) into a folder.
///
/// # Errors
/// When a file cannot be had or written; what is there is whole.
pub fn download(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a download")?;
    for (name, url) in published() {
        let path = folder.join(name);
        if !path.exists() {
            let fetched = runtime.block_on(fetch(url, &path));
            fetched.with_context(|| format!("cannot download {url}"))?;
        }
    }
    Ok(())
}

async fn fetch(url: &str, path: &Path) -> anyhow::Result<()> {
    let mut response = reqwest::get(url).await?.error_for_status()?;
    let mut file = PendingFile::create(path)?;
    while let Some(chunk) = response.chunk().await? {
        file.write_all(&chunk)?;
    }
    Ok(file.commit()?)
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    /// Places of VGG16's convolutions among its layers, with channels in and out.
    const LAYERS: [(u32, usize, usize); 13] = [
        (0, 3, 64),
        (2, 64, 64),
        (5, 64, 128),
        (7, 128, 128),
        (10, 128, 256),
        (12, 256, 256),
        (14, 256, 256),
        (17, 256, 512),
        (19, 512, 512),
        (21, 512, 512),
        (24, 512, 512),
        (26, 512, 512),
        (28, 512, 512),
    ];

    /// Numbers that look random in -scale / 2..scale / 2; PyTorch was given the same.
    fn draw(n: usize, key: u32, scale: f64) -> Vec<f32> {
        let number = |i: usize| {
            let key = key.wrapping_mul(40_503).wrapping_mul(65_537);
            let mut hash = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(key);
            hash ^= hash >> 15;
            hash = hash.wrapping_mul(2_246_822_519);
            hash ^= hash >> 13;
            ((f64::from(hash) / 4_294_967_296.0 - 0.5) * scale) as f32
        };
        (0..n).map(number).collect()
    }

    type Weights = Vec<(String, Vec<usize>, Vec<f32>)>;

    fn backbone() -> Weights {
        let mut weights = Vec::new();
        for (layer, inputs, outputs) in LAYERS {
            let scale = (24.0 / (inputs * 9) as f64).sqrt();
            let kernel = draw(outputs * inputs * 9, layer + 1, scale);
            let shape = vec![outputs, inputs, 3, 3];
            weights.push((format!("features.{layer}.weight"), shape, kernel));
            let bias = draw(outputs, layer + 100, 0.1);
            weights.push((format!("features.{layer}.bias"), vec![outputs], bias));
        }
        weights.push(("classifier.6.bias".into(), vec![1000], vec![0.0; 1000]));
        weights
    }

    fn channels() -> Weights {
        let widths = [64, 128, 256, 512, 512].into_iter().enumerate();
        let of_layer = |(layer, width): (usize, usize)| {
            let weights = draw(width, 200 + layer as u32, 1.0);
            let weights = weights.into_iter().map(f32::abs).collect();
            let name = format!("lin{layer}.model.1.weight");
            (name, vec![1, width, 1, 1], weights)
        };
        widths.map(of_layer).collect()
    }

    fn write(folder: &Path, name: &str, weights: &Weights) {
        let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let stored: Vec<(&str, &[usize], Vec<u8>)> = weights
            .iter()
            .map(|(name, shape, values)| (&**name, &**shape, bytes(values)))
            .collect();
        let views = stored.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes);
            (name.to_string(), view.expect("bytes of that shape"))
        });
        safetensors::serialize_to_file(views, None, &folder.join(name)).expect("written");
    }

    #[test]
    fn distances_are_those_of_pytorch_and_lead_back_to_the_painted_picture() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "vgg16-397923af.safetensors", &backbone());
        write(folder.path(), "vgg.safetensors", &channels());
        let device = Device::flex().autodiff();
        let distance = PerceptualDistance::load(folder.path(), &device).expect("whole");

        let n = 3 * 32 * 32;
        let (x, mut y) = (draw(2 * n, 300, 2.0), draw(2 * n, 301, 2.0));
        y.iter_mut().zip(&x).skip(n).for_each(|(y, x)| *y = x * 0.5);
        let tensor = |data| Tensor::<4>::from_data(TensorData::new(data, [2, 3, 32, 32]), &device);
        let (x, y) = (tensor(x), tensor(y).require_grad());
        let found = distance.between(x.clone(), y.clone());
        let gradients = found.clone().sum().backward();
        let gradient = y.grad(&gradients).expect("y is trained");
        assert!(gradient.abs().max().into_scalar::<f32>() > 0.0);
        let trained = burn::optim::GradientsParams::from_grads(gradients, &distance.network);
        assert!(trained.is_empty(), "the network learns");

        // In float64 by PyTorch, from the same numbers.
        let expected = [0.4867, 0.0280];
        let found: Vec<f32> = found.into_data().try_to_vec().expect("f32");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
        }
        let none = distance.between(x.clone(), x);
        assert_eq!(none.into_data().try_to_vec::<f32>().expect("f32"), [0.0; 2]);
    }

    #[test]
    fn what_is_missing_or_misshapen_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let device = Device::flex();
        let load = || PerceptualDistance::load(folder.path(), &device).map(|_| ());
        let error = load().expect_err("there is no file").to_string();
        assert!(error.contains("vgg16-397923af.pth"), "{error}");

        write(folder.path(), "vgg16-397923af.safetensors", &backbone());
        let mut weights = channels();
        weights.pop();
        weights[0].1 = vec![64, 1, 1, 1];
        write(folder.path(), "vgg.safetensors", &weights);
        let error = load().expect_err("a tensor is missing").to_string();
        assert!(error.contains("lin4.model.1.weight"), "{error}");
        assert!(error.contains("lin0.model.1.weight"), "{error}");
    }
}
