//! `nuwa-train weights`: other people's weights in, ours out, and a look at either.

mod inspect;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use nuwa_model::checkpoint::{self, Header, Kind, Network, Storage};
use nuwa_model::clip::ClipText;
use nuwa_model::device::DeviceChoice;
use nuwa_model::import::{self, Imported};
use nuwa_model::render::Renderer;
use nuwa_model::vqgan::{PgVqgan, Vqgan};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::Misuse;

/// What to do with weights.
#[derive(Debug, Subcommand)]
pub enum WeightsArgs {
    /// Bring in weights from a safetensors or PyTorch file.
    Import(ImportArgs),
    /// Write weights to a safetensors file under their public names.
    Export(ExportArgs),
    /// Tell what weights are: network, architecture, licence, source, tensors.
    Inspect(InspectArgs),
}

/// Arguments of `weights import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The file: safetensors, or a .pth or .ckpt written by torch.save, Lightning's too.
    file: PathBuf,
    /// The network: vqgan, pg-vqgan, renderer or clip-text.
    #[arg(long)]
    kind: Kind,
    /// Folder to keep the weights in.
    #[arg(long)]
    out: PathBuf,
    /// JSON of the architecture, for a renderer that does not tell its own and for a clip-text
    /// whose heads are not 64 wide.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Terms under which the weights may be used [default: what the file says, or unknown].
    #[arg(long)]
    licence: Option<String>,
    /// Where the weights come from [default: what the file says, or its name].
    #[arg(long)]
    source: Option<String>,
    /// Keep 16 bits of each number instead of 32.
    #[arg(long)]
    half: bool,
    /// Replace the weights that the folder holds.
    #[arg(long)]
    force: bool,
}

/// Arguments of `weights export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder that holds the weights.
    folder: PathBuf,
    /// The safetensors file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file.
    #[arg(long)]
    force: bool,
}

/// Arguments of `weights inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A folder of ours, or a safetensors, .pth or .ckpt file.
    path: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Does what the arguments say. Results go to standard output, remarks to standard error.
///
/// # Errors
/// When a file cannot be read or written, or does not hold what it should.
pub fn run(args: WeightsArgs) -> anyhow::Result<()> {
    match args {
        WeightsArgs::Import(args) => import(&args),
        WeightsArgs::Export(args) => export(&args),
        WeightsArgs::Inspect(args) => inspect::inspect(&args),
    }
}

fn import(args: &ImportArgs) -> anyhow::Result<()> {
    refuse_to_replace(&args.out.join(checkpoint::CONFIG_FILE), args.force)?;
    let device = cpu()?;
    let path = args.file.as_path();
    let deduced = matches!(args.kind, Kind::Vqgan | Kind::PgVqgan);
    if let (Some(config), true) = (&args.config, deduced) {
        bail!(
            "the shapes tell the architecture of a {}: leave out {}",
            args.kind,
            config.display()
        );
    }
    match args.kind {
        Kind::Vqgan => keep(args, import::taming::vqgan(path, &device)?),
        Kind::PgVqgan => keep(args, import::taming::pg_vqgan(path, &device)?),
        Kind::ClipText => {
            let config = architecture(args.config.as_deref())?;
            keep(args, import::clip::text(path, config.as_ref(), &device)?)
        }
        Kind::Renderer => match architecture(args.config.as_deref())? {
            None => keep::<Renderer>(args, import::safetensors::exported(path, &device)?),
            Some(config) => {
                let network = import::safetensors::renderer(path, &config, &device)?;
                let skipped = Vec::new();
                keep(
                    args,
                    Imported {
                        network,
                        config,
                        skipped,
                    },
                )
            }
        },
    }
}

/// The CPU, or whatever this program was built for.
fn cpu() -> anyhow::Result<burn::tensor::Device> {
    Ok(DeviceChoice::Cpu
        .open()
        .or_else(|_| DeviceChoice::Auto.open())?)
}

/// Gives what a folder of weights says of itself.
///
/// # Errors
/// When it holds none; if folders in it do, as in a run, they are named.
fn header(folder: &Path) -> anyhow::Result<(Header, Value)> {
    if folder.is_dir() && !folder.join(checkpoint::CONFIG_FILE).exists() {
        let within = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let networks = within.filter(|path| path.join(checkpoint::CONFIG_FILE).is_file());
        let mut networks: Vec<String> = networks.map(|path| path.display().to_string()).collect();
        networks.sort();
        if !networks.is_empty() {
            let (folder, networks) = (folder.display(), networks.join(", "));
            return Err(Misuse(format!(
                "{folder} holds no weights itself: name one of {networks}"
            ))
            .into());
        }
    }
    Ok(checkpoint::read_header(folder)?)
}

fn refuse_to_replace(path: &Path, force: bool) -> anyhow::Result<()> {
    if !force && path.exists() {
        bail!("{} is there already; --force replaces it", path.display());
    }
    Ok(())
}

/// Reads an architecture: alone, in a `config.json` of ours, or in one published with a CLIP.
fn architecture<C: DeserializeOwned>(path: Option<&Path>) -> anyhow::Result<Option<C>> {
    let Some(path) = path else { return Ok(None) };
    let context = || format!("cannot read the architecture in {}", path.display());
    let text = fs::read_to_string(path).with_context(context)?;
    let mut value: Value = serde_json::from_str(&text).with_context(context)?;
    for inner in ["architecture", "text_config"] {
        if let Some(found) = value.get_mut(inner) {
            value = found.take();
        }
    }
    Ok(Some(serde_json::from_value(value).with_context(context)?))
}

fn keep<N: Network>(args: &ImportArgs, imported: Imported<N>) -> anyhow::Result<()> {
    let described = import::describe(&args.file)?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let header = Header {
        kind: N::KIND,
        licence: first([&args.licence, &described.licence], "unknown"),
        source: first([&args.source, &described.source], &name),
        notes: None,
    };
    let storage = if args.half {
        Storage::Half
    } else {
        Storage::Full
    };
    checkpoint::save(
        &imported.network,
        &header,
        &imported.config,
        storage,
        &args.out,
    )?;
    report_skipped(&imported.skipped);
    print(&format!("{}\n", args.out.display()))
}

fn first(choices: [&Option<String>; 2], otherwise: &str) -> String {
    let chosen = choices.into_iter().flatten().next();
    chosen.map_or(otherwise, String::as_str).to_owned()
}

#[expect(clippy::print_stderr, reason = "a remark beside the result")]
fn report_skipped(skipped: &[String]) {
    if skipped.is_empty() {
        return;
    }
    let mut parts: BTreeMap<String, usize> = BTreeMap::new();
    for name in skipped {
        let part = name.split('.').take(2).collect::<Vec<_>>().join(".");
        *parts.entry(part).or_default() += 1;
    }
    let parts: Vec<_> = parts
        .iter()
        .map(|(part, n)| format!("{part} ({n})"))
        .collect();
    eprintln!(
        "skipped {} tensors of other networks: {}",
        skipped.len(),
        parts.join(", ")
    );
}

fn export(args: &ExportArgs) -> anyhow::Result<()> {
    refuse_to_replace(&args.out, args.force)?;
    let (header, _) = header(&args.folder)?;
    match header.kind {
        Kind::Vqgan => hand_out::<Vqgan>(args),
        Kind::PgVqgan => hand_out::<PgVqgan>(args),
        Kind::Renderer => hand_out::<Renderer>(args),
        Kind::ClipText => hand_out::<ClipText>(args),
    }
}

fn hand_out<N: Network>(args: &ExportArgs) -> anyhow::Result<()> {
    let (network, config, header) = checkpoint::load::<N>(&args.folder, &cpu()?)?;
    import::safetensors::export(&network, &config, &header, &args.out)?;
    print(&format!("{}\n", args.out.display()))
}

/// Writes to standard output; a reader that has seen enough is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Parser)]
    struct Door {
        #[command(subcommand)]
        weights: WeightsArgs,
    }

    fn weights(args: &[&str]) -> anyhow::Result<()> {
        let args = std::iter::once("weights").chain(args.iter().copied());
        run(Door::try_parse_from(args)?.weights)
    }

    /// The header of a safetensors file, whose keys have no order, and its values.
    fn parts(path: &str) -> (serde_json::Value, Vec<u8>) {
        let bytes = fs::read(path).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        (header, bytes[8 + length..].to_vec())
    }

    fn tests_folder(path: &str) -> String {
        format!("{}/../tests/{path}", env!("CARGO_MANIFEST_DIR"))
    }

    fn cause(args: &[&str]) -> String {
        format!("{:#}", weights(args).unwrap_err())
    }

    #[test]
    fn imported_weights_come_out_the_same_and_go_in_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let kinds = [
            ("vqgan", "fixtures/vqgan-lightning.ckpt"),
            ("pg-vqgan", "golden/pg_vqgan-animate/weights.safetensors"),
            ("clip-text", "golden/clip_text-0/weights.safetensors"),
        ];
        for (kind, file) in kinds {
            let (kept, out) = (path(kind), path(&format!("{kind}.safetensors")));
            let (again, out_again) = (path(&format!("{kind}-again")), path("again.safetensors"));
            let file = tests_folder(file);
            let licence = ["--licence", "CC0-1.0", "--source", "there"];
            let import = ["import", "--kind", kind, &file, "--out", &kept];
            weights(&[import.as_slice(), &licence].concat()).unwrap();
            weights(&["export", &kept, "--out", &out]).unwrap();
            weights(&["import", "--kind", kind, &out, "--out", &again]).unwrap();
            weights(&["export", &again, "--out", &out_again, "--force"]).unwrap();
            assert!(parts(&out) == parts(&out_again), "{kind}");
            let (header, _) = checkpoint::read_header(Path::new(&again)).unwrap();
            assert_eq!(
                (header.licence.as_str(), header.source.as_str()),
                ("CC0-1.0", "there")
            );
            weights(&["inspect", &again]).unwrap();
            weights(&["inspect", &out, "--json"]).unwrap();
        }
        // A folder of folders of weights, as a run is.
        let (all, out) = (path(""), path("all.safetensors"));
        for args in [
            ["inspect", &all].as_slice(),
            &["export", &all, "--out", &out],
        ] {
            let cause = cause(args);
            assert!(
                cause.contains("name one of") && cause.contains(&path("vqgan")),
                "{cause}"
            );
        }
    }

    #[test]
    fn a_renderer_needs_its_architecture_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (config, kept, out) = (path("config"), path("kept"), path("out.safetensors"));
        let file = tests_folder("golden/render_forward-cube-DownRight-3x4x2/weights.safetensors");
        let import = ["import", "--kind", "renderer", &file, "--out", &kept];
        assert!(cause(&import).contains("the architecture, which must be given"));
        let case = tests_folder("golden/render_forward-cube-DownRight-3x4x2/case.json");
        let case: Value = serde_json::from_str(&fs::read_to_string(case).unwrap()).unwrap();
        let architecture = renderer_architecture(&case["config"]);
        fs::write(&config, architecture.to_string()).unwrap();
        weights(&[import.as_slice(), &["--config", &config]].concat()).unwrap();
        weights(&["export", &kept, "--out", &out]).unwrap();
        weights(&[
            "import", "--kind", "renderer", &out, "--out", &kept, "--force", "--half",
        ])
        .unwrap();
        let tensors = checkpoint::tensors(Path::new(&kept)).unwrap();
        assert!(tensors.iter().all(|tensor| tensor.dtype == "F16"));
    }

    fn renderer_architecture(case: &Value) -> Value {
        json!({
            "decoding": case["kind"].as_str().unwrap().to_lowercase(),
            "d_model": case["dim"], "n_layers": case["layers"], "n_codes": case["vocab"],
            "patch": { "h": case["patch"][0], "w": case["patch"][1], "f": case["patch"][2] },
            "extent": { "h": case["extent"][0], "w": case["extent"][1], "f": case["extent"][2] },
            "feed": case["rpe"], "d_text": null, "transfer": "context",
        })
    }

    #[test]
    fn causes_name_the_file_and_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (kept, file) = (
            path("kept"),
            tests_folder("golden/clip_text-0/weights.safetensors"),
        );
        let import = ["import", "--kind", "clip-text", &file, "--out", &kept];
        weights(&import).unwrap();
        let again = cause(&import);
        assert!(
            again.contains("kept") && again.contains("--force"),
            "{again}"
        );
        let wrong = cause(&["import", "--kind", "vqgan", &file, "--out", &path("other")]);
        assert!(
            wrong.contains("is not a vqgan this program knows"),
            "{wrong}"
        );
        assert!(!Path::new(&path("other")).exists());
        let missing = cause(&["inspect", &path("nothing")]);
        assert!(
            missing.contains("cannot open") && missing.contains("nothing"),
            "{missing}"
        );
        fs::create_dir(path("empty")).unwrap();
        let empty = cause(&["export", &path("empty"), "--out", &path("x")]);
        assert!(
            empty.contains("cannot read") && empty.contains("config.json"),
            "{empty}"
        );
        let kind = cause(&["import", "--kind", "poem", &file, "--out", &path("x")]);
        assert!(
            kind.contains("there are vqgan, pg-vqgan, renderer, clip-text"),
            "{kind}"
        );
    }
}
