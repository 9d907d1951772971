//! Weights of every preset, trained once for all tests by the programs themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use burn::tensor::Device;
use nuwa_data::manifest::{self, MANIFEST};
use nuwa_data::store::TokenStore;
use nuwa_data::{Picture, video};
use nuwa_model::checkpoint;
use nuwa_model::vqgan::Vqgan;

use crate::{backend, drawing_alone};

/// Folder with a run of each preset, `fresh` and `guided` that have hardly begun, the datasets `stills` and
/// `clips`, and `in.png`, a picture that none of them saw. It lies where Cargo puts what tests leave
/// behind, because nothing drops what is static; the next run of the tests replaces it.
pub(super) static TRAINED: LazyLock<PathBuf> = LazyLock::new(train);

/// Patches of 4 × 4 tokens, so that a picture has 3 × 2 of them.
const SMALL: &str = "--size tiny --set renderer.n_codes=32 --set renderer.d_model=64 --set renderer.n_layers=1 \
    --set renderer.patch.h=4 --set renderer.patch.w=4 --set renderer.extent.w=1 \
    --set renderer.extent.h=1 --set stage_two.batch=6 --set stage_two.peak_rate=0.002 \
    --set stage_two.average=0.9 --set stage_two.keep=1 --set stage_two.checkpoint_every=1000";
const TOWER: &str = "--set tower.hidden_size=64 --set tower.num_attention_heads=1 \
    --set tower.intermediate_size=64 --set tower.num_hidden_layers=1";
/// A VQGAN of 4 pixels a token. Updates are counted and not timed: how far it gets must not depend
/// on the machine.
const VQGAN: &str = "--size tiny --set vqgan.multipliers=[1,1,1] --set vqgan.z=8 \
    --set vqgan.code_dim=8 --set vqgan.n_codes=32 --set stage_one.crop_px=32 \
    --set stage_one.updates=300 --set stage_one.loss.gan_start_step=300 \
    --set stage_one.revive_until=200 --set stage_one.checkpoint_every=300 \
    --set stage_one.grid_every=300 --set stage_one.keep=1";

const GUIDE: &str = "--size tiny --set own_frames=0 --set pixel_guided.crop_px=32 \
    --set pixel_guided.updates=60 --set pixel_guided.loss.gan_start_step=60 \
    --set pixel_guided.checkpoint_every=60 --set pixel_guided.grid_every=60 \
    --set pixel_guided.keep=1";

fn train() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tasks");
    if root.exists() {
        fs::remove_dir_all(&root).expect("an older run is removed");
    }
    fs::create_dir_all(&root).expect("a folder");
    let _alone = drawing_alone();
    let train = |words: &str| {
        let words = words
            .split_whitespace()
            .map(|word| match word.strip_prefix('@') {
                Some(name) => root.join(name).into_os_string(),
                None => word.into(),
            });
        let words: Vec<_> = std::iter::once("nuwa-train".into()).chain(words).collect();
        assert_eq!(nuwa_train::run(words.clone()), 0, "{words:?}");
    };
    let device = format!("--quiet --device {}", backend());
    train("prepare synthetic --out @stills --count 6 --size 48x32 --test 0 --quiet");
    train("prepare synthetic --out @clips --count 6 --size 48x32 --frames 2 --test 0 --quiet");
    train("prepare synthetic --out @unseen --count 1 --seed 77 --size 48x32 --test 0 --quiet");
    fs::copy(first_file(&root.join("unseen")), root.join("in.png")).expect("copied");
    train(&format!("vqgan @vqgan --data @stills {device} {VQGAN}"));
    train(&format!(
        "pg-vqgan @guide --data @clips --vqgan @vqgan {device} {GUIDE}"
    ));
    for (run, preset, data, text, extent, updates) in [
        ("fresh", "uighd", "stills", "none", 0, 1),
        ("uighd", "uighd", "stills", "none", 0, 600),
        ("t2ihd", "t2ihd", "stills", "ids", 0, 300),
        ("iahd", "iahd", "clips", "none", 1, 480),
        ("t2vhd", "t2vhd", "clips", "ids", 1, 360),
        ("guided", "iahd", "clips", "none", 1, 1),
    ] {
        train(&format!(
            "tokenize @{data} --vqgan @vqgan --out @tokens-{run} --text {text} {device}"
        ));
        let tower = if text == "ids" { TOWER } else { "" };
        let guide = if run == "guided" {
            "--pg-vqgan @guide"
        } else {
            ""
        };
        train(&format!(
            "render @{run} --tokens @tokens-{run} --vqgan @vqgan --preset {preset} {device} \
             {SMALL} {tower} {guide} --set renderer.extent.f={extent} --set stage_two.updates={updates}"
        ));
        // They are nine tenths of what lies here, and nothing goes on from them.
        fs::remove_dir_all(root.join(run).join("checkpoints")).expect("checkpoints");
    }
    root
}

fn first_file(data: &Path) -> PathBuf {
    let records = manifest::read(&data.join(MANIFEST)).expect("a manifest");
    data.join(&records[0].file)
}

/// Gives the tokens of every picture that `uighd` was trained on.
pub(super) fn learned_tokens() -> Vec<Vec<i32>> {
    let vqgan = TRAINED.join("uighd/vqgan");
    let (vqgan, _, _) = checkpoint::load::<Vqgan>(&vqgan, &Device::flex()).expect("a VQGAN");
    let fingerprint = checkpoint::fingerprint(&vqgan);
    let store = TokenStore::open(&TRAINED.join("tokens-uighd"), &fingerprint).expect("a store");
    let tokens = |record| store.sample(record).expect("a record").tokens;
    (0..store.n_records())
        .map(|record| tokens(record).into_iter().map(i32::from).collect())
        .collect()
}

/// Gives two captions of a dataset that was trained on.
pub(super) fn captions(data: &str) -> [String; 2] {
    let records = manifest::read(&TRAINED.join(data).join(MANIFEST)).expect("a manifest");
    let caption = |record: usize| records[record].caption.clone().expect("a true caption");
    let two = [caption(0), caption(1)];
    assert_ne!(two[0], two[1]);
    two
}

/// Gives the frames of a clip that was trained on.
pub(super) fn read_clip(record: usize) -> Vec<Picture> {
    let data = TRAINED.join("clips");
    let records = manifest::read(&data.join(MANIFEST)).expect("a manifest");
    video::read_clip(&data.join(&records[record].file)).expect("a clip")
}
