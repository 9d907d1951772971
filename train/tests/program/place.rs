//! A folder to work in, and the program told to work there.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use burn::tensor::Device;
use nuwa_data::Picture;
use nuwa_model::checkpoint::{self, Header, Kind, Storage};
use nuwa_model::vqgan::VqganConfig;
use tempfile::TempDir;

pub(super) struct Place {
    folder: TempDir,
}

pub(super) fn header(kind: Kind) -> Header {
    Header {
        kind,
        licence: "CC0".into(),
        source: "made by a test".into(),
        notes: None,
    }
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives the program with words; one that starts with @ is a path in this folder.
    pub(super) fn command(&self, words: &str) -> Command {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).into_os_string(),
            None => word.into(),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuwa-train"));
        command
            .args(words.split_whitespace().map(word))
            .env("RUST_BACKTRACE", "0");
        command
    }

    pub(super) fn run(&self, words: &str) -> Output {
        self.command(words).output().expect("the program starts")
    }

    /// Expects success; gives what the program says on both streams.
    pub(super) fn done(&self, words: &str) -> (String, String) {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{words}: {error}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text, error)
    }

    /// Expects an exit code and one line that says why, besides those about what was left out.
    pub(super) fn refused(&self, words: &str, code: i32, why: &str) {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words}: {error}");
        assert!(
            error.contains(why),
            "{words}: {error:?} does not say {why:?}"
        );
        assert!(!error.contains("panicked"), "{words}: {error}");
        if error.starts_with("nuwa-train:") {
            let is_cause = |line: &&str| !line.starts_with("nuwa-train: left out ");
            let causes = error.trim_end().lines().filter(is_cause);
            assert_eq!(causes.count(), 1, "{words}: {error}");
        }
    }

    pub(super) fn picture(&self, name: &str, w: usize, h: usize, seed: usize) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        let wave = |i: usize| (128.0 + 100.0 * (i as f64 / (40.0 + seed as f64)).sin()) as u8;
        let picture = Picture::new(w, h, (0..3 * w * h).map(wave).collect());
        picture.write(&path).expect("written");
    }

    /// Makes other weights with each call.
    pub(super) fn vqgan(&self, name: &str, levels: usize) {
        let config = VqganConfig {
            ch: 32,
            multipliers: vec![1; levels],
            blocks: 1,
            z: 8,
            n_codes: 64,
            code_dim: 8,
        };
        let (vqgan, header) = (config.init(&Device::flex()), header(Kind::Vqgan));
        let folder = self.path(name);
        checkpoint::save(&vqgan, &header, &config, Storage::Full, &folder).expect("saved");
    }
}
