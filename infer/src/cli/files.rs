//! Commands on token files.

use std::path::Path;

use anyhow::Context;
use nuwa_data::out;
use nuwa_model::render::Precision;

use super::args::{DecodeArgs, EditArgs, InfoArgs};
use super::events;
use super::fill::fill;
use super::means::{self, Subject};
use super::outputs::{Outputs, develop, is_token_file, say_paths, write};
use super::{Misuse, film, load, load_to_paint, quality};
use crate::model_run::ModelRun;
use crate::painting::Painting;
use crate::plan::Plan;
use crate::request::Header;
use crate::task::TaskKind;
use crate::token_file::Damage;

/// Makes pixels from a token file again.
#[expect(clippy::print_stderr, reason = "this is the log")]
pub(super) fn decode(args: &DecodeArgs) -> anyhow::Result<()> {
    let painting = Painting::open(&args.file)?;
    let (size, frames) = (painting.layout.size, painting.layout.frames);
    let outputs = Outputs::check(&args.out, size, frames)?;
    if outputs.tokens.is_some() {
        return Err(
            Misuse("--out takes pictures here; the tokens are there already".into()).into(),
        );
    }
    let run = load(&args.common)?;
    painting.check_vqgan(&args.file, &run)?;
    film::check(&run, &outputs, size, frames, args.common.is_quiet())?;
    events::say_start(&painting, &args.common)?;
    let open = painting.n_open();
    if open > 0 {
        eprintln!("{open} patches are not painted yet and come out black");
    }
    let development = develop(&run, &painting, &outputs.pixels, args.blend as usize)?;
    let quiet = args.common.is_quiet();
    write(&painting, development, &outputs.pixels, quiet)?;
    say_paths(None, &outputs.pixels, &args.common);
    events::say_done(&args.common);
    Ok(())
}

/// Paints a region of a finished painting again.
pub(super) fn edit(args: &EditArgs) -> anyhow::Result<()> {
    let painting = Painting::open(&args.file)?;
    let open = painting.n_open();
    if open > 0 {
        let text = format!(
            "{} is not finished: {open} patches to go",
            args.file.display()
        );
        return Err(Misuse(text).into());
    }
    let mut paths = args.out.clone();
    if !paths.iter().any(|path| is_token_file(path)) {
        paths.push(args.file.clone());
    }
    let (size, frames) = (painting.layout.size, painting.layout.frames);
    let outputs = Outputs::check(&paths, size, frames)?;
    let precision = painting.header.request.precision;
    let mut run = load_to_paint(&args.common, precision, None)?;
    film::check(&run, &outputs, size, frames, args.common.is_quiet())?;
    let plan = plan_edit(&run, &painting, args)?;
    run.tiling = plan.tiling;
    let file = outputs.tokens.as_deref();
    let seed = args.seed.unwrap_or_else(rand::random);
    let mut edited = [Painting::edit(&run, &args.file, args.region, seed, file)?];
    let files: Vec<_> = file.into_iter().collect();
    let mut developments = [develop(
        &run,
        &edited[0],
        &outputs.pixels,
        args.blend as usize,
    )?];
    let way = (&plan, &args.means);
    fill(
        &run,
        &mut edited,
        &mut developments,
        &files,
        way,
        &args.common,
    )?;
    let [development] = developments;
    let quiet = args.common.is_quiet();
    write(&edited[0], development, &outputs.pixels, quiet)?;
    say_paths(file, &outputs.pixels, &args.common);
    events::say_done(&args.common);
    Ok(())
}

/// Chooses how a region is painted again, along the route of the painting.
fn plan_edit(run: &ModelRun, painting: &Painting, args: &EditArgs) -> anyhow::Result<Plan> {
    let mut tokens = painting.tokens.clone();
    painting.layout.forget(&mut tokens, args.region)?;
    let request = &painting.header.request;
    let subject = Subject {
        request,
        layout: painting.layout,
        tokens: &tokens,
        given: None,
        n: 1,
    };
    means::choose(
        run,
        &subject,
        Some(request.route),
        &args.means,
        &args.common,
    )
}

/// Says how a token file or a picture was made.
pub(super) fn info(args: &InfoArgs) -> anyhow::Result<()> {
    let path = &args.file;
    if !is_token_file(path) {
        let text = out::description(path)?;
        let text =
            text.with_context(|| format!("{} does not say how it was made", path.display()))?;
        match serde_json::from_str::<Header>(&text) {
            Ok(header) => {
                say!("{}", about(path, &header).trim_end());
                if args.quality {
                    say!("seams       {}", quality::of_picture(path, &header)?);
                }
            }
            Err(_) => say!("{}: {text}", path.display()),
        }
        return Ok(());
    }
    let painting = Painting::open(path)?;
    say!("{}", about(path, &painting.header).trim_end());
    let (all, open) = (painting.route.steps().len(), painting.n_open());
    say!(
        "patches     {} of {all} painted, {} levels, {} caches at most",
        all - open,
        painting.route.n_levels(),
        painting.route.peak_pool()
    );
    let state = match (painting.damage, open) {
        (Some(Damage::Cut), _) => "cut off in a patch; painting goes on there",
        (Some(Damage::Changed), _) => "damaged; painting goes on before the place",
        (None, 0) => "complete",
        (None, _) => "not finished",
    };
    say!("state       {state}");
    if args.quality {
        say!("seams       {}", quality::of_tokens(args, &painting)?);
    }
    Ok(())
}

fn about(path: &Path, header: &Header) -> String {
    let (request, model) = (&header.request, &header.model);
    let frames = match request.frames {
        1 => String::new(),
        frames => format!(", {frames} frames"),
    };
    let mut lines = vec![
        format!("{}", path.display()),
        format!("task        {}, {}{frames}", request.task, request.size),
    ];
    match (request.task, request.at) {
        (TaskKind::Animate, _) => {
            lines.push("picture     the first frame, kept bit for bit".into())
        }
        (_, Some(at)) => lines.push(format!("picture     at {at}, kept bit for bit")),
        (_, None) => {}
    }
    let prompts = request.prompts.iter().map(|span| &span.text);
    for prompt in request.prompt.iter().chain(prompts) {
        lines.push(format!("prompt      {prompt}"));
    }
    if let Some(scale) = request.guidance {
        let negative = request.negative.as_deref().unwrap_or("");
        lines.push(format!("guidance    {scale}, away from {negative:?}"));
    }
    if request.precision != Precision::default() {
        lines.push(format!("precision   {}", request.precision));
    }
    for region in &request.repainted {
        lines.push(format!("repainted   {region}"));
    }
    lines.extend([
        format!(
            "sampling    seed {}, top-k {}, temperature {}, route {}",
            request.seed, request.sampling.top_k, request.sampling.temperature, request.route
        ),
        format!(
            "vqgan       {}, {} px per token, {} codes",
            model.vqgan, model.stride, model.n_codes
        ),
        format!("renderer    {}", model.renderer),
        format!("licence     {}", model.licence),
        format!("program     {}", header.program),
    ]);
    lines.join("\n") + "\n"
}
