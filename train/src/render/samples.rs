//! What is painted with, and samples painted during a training. This crate does not paint: what runs it
//! says who does.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nuwa_data::store::StoreSpec;
use nuwa_model::checkpoint::{self, Header, Kind};
use nuwa_model::device::DeviceChoice;
use nuwa_model::render::Renderer;

use super::config::RenderRunConfig;
use super::run::{RENDERER, TEXT};
use super::task::RenderTask;
use crate::run_folder::trained_on;

type Act = dyn Fn(u64) -> anyhow::Result<()> + Send + Sync;

/// Paints with the weights that lie in the run's folder, after so many updates.
pub struct Paint(Box<Act>);

impl Paint {
    /// Takes what paints.
    pub fn new(act: impl Fn(u64) -> anyhow::Result<()> + Send + Sync + 'static) -> Self {
        Self(Box::new(act))
    }
}

impl fmt::Debug for Paint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Paint")
    }
}

/// When samples are painted, and with what.
pub(super) struct Samples {
    pub(super) config: RenderRunConfig,
    pub(super) run: PathBuf,
    pub(super) paint: Paint,
}

impl Samples {
    pub(super) fn are_due(&self, updates: u64) -> bool {
        let every = self.config.stage_two.sample_every;
        every > 0 && updates.is_multiple_of(every)
    }

    /// Puts the weights where they are painted with, and has that done.
    pub(super) fn take(&self, updates: u64, task: RenderTask) -> anyhow::Result<()> {
        save(&self.config, &self.run, task)?;
        (self.paint.0)(updates)
    }
}

/// The program beside this one that paints.
///
/// # Errors
/// When it is not there.
pub(super) fn painter() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("find nuwa-infer beside this program")?;
    let name = format!("nuwa-infer{}", std::env::consts::EXE_SUFFIX);
    let program = own.with_file_name(name);
    if !program.is_file() {
        let program = program.display();
        bail!("stage_two.sample_every: samples are painted by {program}, which is not there");
    }
    Ok(program)
}

/// Paints as large as a record, into the run's `samples`, with that program.
pub(super) fn by_program(
    program: PathBuf,
    run: &Path,
    (config, spec, stride): (&RenderRunConfig, &StoreSpec, usize),
    device: &DeviceChoice,
) -> Paint {
    let [f, h, w] = spec.tokens;
    let (run, device) = (run.to_owned(), device.to_string());
    let prompt = config.stage_two.sample_prompt.clone();
    Paint::new(move |updates| {
        let folder = run.join("samples");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let ending = if f > 1 { "apng" } else { "png" };
        let mut command = Command::new(&program);
        command
            .args(["paint", "--quiet", "--seed", "0", "--device", &device])
            .args(["--size", &format!("{}x{}", w * stride, h * stride)])
            .args(["--frames", &f.to_string()])
            .arg("--model")
            .arg(&run)
            .arg("--out")
            .arg(folder.join(format!("{updates:09}.{ending}")));
        if !prompt.is_empty() {
            command.args(["--prompt", &prompt]);
        }
        let painted = command.stdin(Stdio::null()).output();
        let painted = painted.with_context(|| program.display().to_string())?;
        if !painted.status.success() {
            let said = String::from_utf8_lossy(&painted.stderr);
            bail!("{}", said.lines().last().unwrap_or("it says nothing"));
        }
        Ok(())
    })
}

/// Writes what is painted with.
pub(super) fn save(config: &RenderRunConfig, run: &Path, task: RenderTask) -> anyhow::Result<()> {
    let header = |kind| Header {
        kind,
        licence: "that of the pictures it was trained on".into(),
        source: trained_on(&config.tokens),
        notes: None,
    };
    let renderer: &Renderer = &task.renderer;
    let (storage, folder) = (checkpoint::Storage::Half, run.join(RENDERER));
    checkpoint::save(
        renderer,
        &header(Kind::Renderer),
        &config.renderer,
        storage,
        &folder,
    )?;
    if let (Some(tower), Some(architecture)) = (&task.text, &config.tower) {
        let folder = run.join(TEXT);
        checkpoint::save(
            tower,
            &header(Kind::ClipText),
            architecture,
            storage,
            &folder,
        )?;
    }
    Ok(())
}
