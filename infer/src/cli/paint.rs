//! The tasks that paint: what they are given becomes a request, a painting and files.

use std::path::Path;

use nuwa_model::render::TokenGrid;

use super::args::{Brush, Common, OutpaintArgs, PaintArgs};
use super::events;
use super::fill::fill;
use super::means::{self, Subject};
use super::outputs::{GivenFile, Outputs, develop, say_paths, write};
use super::{Misuse, film, load_to_paint};
use crate::given::Given;
use crate::model_run::ModelRun;
use crate::painting::Painting;
use crate::plan::Plan;
use crate::prompts;
use crate::request::{Header, Request, Sampling};
use crate::task::{Layout, PointPx, RouteKind, SizePx, TaskError, TaskKind};
use crate::token_file::{self, Start};

/// What was asked for, checked as far as it can be without networks.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) picture: Option<GivenFile>,
    pub(super) mask: Option<GivenFile>,
    pub(super) outputs: Outputs,
}

impl Asked {
    /// Places what is given.
    pub(super) fn given(&self) -> Result<Option<Given>, TaskError> {
        let placed = self.picture.as_ref().zip(self.request.at);
        let given = placed.map(|(picture, at)| {
            let mask = self.mask.as_ref().map(|mask| &mask.picture);
            Given::new(picture.picture.clone(), mask, at, self.request.size)
        });
        given.transpose()
    }

    /// Gives where everything lies, and the tokens with any code where one will be known.
    pub(super) fn marked(&self, run: &ModelRun) -> anyhow::Result<(Layout, TokenGrid)> {
        let at = self.request.at.unwrap_or(PointPx { x: 0, y: 0 });
        let layout = Layout::new(self.request.size, at, run.scale())?;
        let layout = layout.with_frames(self.request.frames)?;
        let mut tokens = TokenGrid::unknown(1, layout.tokens());
        if let Some(given) = self.given()? {
            given.mark_into(run.scale().stride, &layout, &mut tokens);
        }
        Ok((layout, tokens))
    }

    /// Chooses how it is painted, along `route` if one is given.
    pub(super) fn choose(
        &self,
        run: &ModelRun,
        (layout, tokens): &(Layout, TokenGrid),
        route: Option<RouteKind>,
        brush: &Brush,
        common: &Common,
    ) -> anyhow::Result<Plan> {
        let subject = Subject {
            request: &self.request,
            layout: *layout,
            tokens,
            given: self.picture.as_ref().map(|file| &file.picture),
            n: brush.n as usize,
        };
        means::choose(run, &subject, route, &brush.means, common)
    }
}

pub(super) fn paint(args: &PaintArgs) -> anyhow::Result<()> {
    perform(asked_to_paint(args)?, &args.brush, &args.common)
}

pub(super) fn outpaint(args: &OutpaintArgs) -> anyhow::Result<()> {
    perform(asked_to_outpaint(args)?, &args.brush, &args.common)
}

pub(super) fn asked_to_paint(args: &PaintArgs) -> anyhow::Result<Asked> {
    let (size, frames) = (args.size, args.frames as usize);
    size.check()?;
    let outputs = Outputs::check(&args.brush.out, size, frames)?;
    let mut request = request(TaskKind::Paint, size, &args.brush);
    request.frames = frames;
    Ok(Asked {
        outputs,
        request,
        picture: None,
        mask: None,
    })
}

pub(super) fn asked_to_outpaint(args: &OutpaintArgs) -> anyhow::Result<Asked> {
    if let Some(size) = args.size {
        size.check()?;
        Outputs::check(&args.brush.out, size, 1)?;
    }
    let picture = GivenFile::read(&args.image)?;
    let mask = args.mask.as_deref().map(GivenFile::read).transpose()?;
    let own = SizePx::of(&picture.picture);
    let size = args.size.unwrap_or(own);
    if size == own && mask.is_none() {
        let text =
            format!("nothing to paint: the result has the picture's {own} and there is no --mask");
        return Err(Misuse(text).into());
    }
    let outputs = Outputs::check(&args.brush.out, size, 1)?;
    let middle = |side: usize, own: usize| side.saturating_sub(own) / 2;
    let at = args.at.unwrap_or(PointPx {
        x: middle(size.w, own.w),
        y: middle(size.h, own.h),
    });
    let mut request = request(TaskKind::Outpaint, size, &args.brush);
    request.at = Some(at);
    request.picture = Some(picture.hash.clone());
    request.picture_size = Some(own);
    request.mask = mask.as_ref().map(|mask| mask.hash.clone());
    Ok(Asked {
        request,
        picture: Some(picture),
        mask,
        outputs,
    })
}

pub(super) fn request(task: TaskKind, size: SizePx, brush: &Brush) -> Request {
    Request {
        task,
        size,
        frames: 1,
        at: None,
        picture: None,
        picture_size: None,
        mask: None,
        prompt: brush.prompt.clone(),
        prompts: Vec::new(),
        negative: brush.negative_prompt.clone(),
        guidance: brush.guidance,
        repainted: Vec::new(),
        route: brush.route.kind().unwrap_or(RouteKind::Sweep),
        seed: 0,
        sampling: Sampling {
            top_k: brush.top_k as usize,
            top_p: brush.top_p,
            temperature: brush.temperature,
            smoothing: brush.smoothing.unwrap_or(0.0),
            steps: brush.steps as usize,
            unmask: brush.unmask,
        },
        precision: brush.precision,
    }
}

/// Paints what was asked for, or goes on with it, and writes it.
pub(super) fn perform(mut asked: Asked, brush: &Brush, common: &Common) -> anyhow::Result<()> {
    if let Some(path) = &brush.prompts {
        asked.request.prompts =
            prompts::read(path).map_err(|error| Misuse(format!("{error:#}")))?;
    }
    let mut run = load_to_paint(common, brush.precision, brush.renderer)?;
    let smoothing = brush.smoothing.unwrap_or(run.smoothing);
    asked.request.sampling.smoothing = smoothing;
    if run.text.is_none() && asked.request.is_told() {
        let text =
            "the model was trained without captions: --prompt and --guidance mean nothing to it";
        return Err(Misuse(text.into()).into());
    }
    let (size, frames) = (asked.request.size, asked.request.frames);
    film::check(&run, &asked.outputs, size, frames, common.is_quiet())?;
    let n = brush.n as usize;
    let outputs: Vec<Outputs> = (1..=n)
        .map(|number| asked.outputs.numbered(number, n))
        .collect();
    // What was left open then was decided, and stays.
    let found = outputs[0].tokens.as_deref().filter(|_| !brush.force);
    let found = found.filter(|path| path.exists()).map(token_file::read);
    let theirs = found.transpose()?.map(|found| found.start.header.request);
    let route = brush.route.kind().or(theirs.map(|request| request.route));
    let plan = asked.choose(&run, &asked.marked(&run)?, route, brush, common)?;
    run.tiling = plan.tiling;
    let mut paintings = Vec::with_capacity(n);
    for (number, outputs) in outputs.iter().enumerate() {
        // Without a seed the first is drawn, or the file's; the others follow it.
        let drawn = paintings
            .first()
            .map(|first: &Painting| first.header.request.seed);
        let seed = brush
            .seed
            .or(drawn)
            .map(|seed| seed.wrapping_add(number as u64));
        let file = outputs.tokens.as_deref();
        paintings.push(begin(&run, &asked, seed, file, plan.route, brush.force)?);
    }
    let files: Vec<&Path> = outputs
        .iter()
        .filter_map(|outputs| outputs.tokens.as_deref())
        .collect();
    let blend = brush.blend as usize;
    let begun = paintings.iter().zip(&outputs);
    let begun = begun.map(|(painting, outputs)| develop(&run, painting, &outputs.pixels, blend));
    let mut developments = begun.collect::<Result<Vec<_>, _>>()?;
    let way = (&plan, &brush.means);
    fill(&run, &mut paintings, &mut developments, &files, way, common)?;
    let painted = paintings.iter().zip(developments);
    for ((painting, development), outputs) in painted.zip(&outputs) {
        write(painting, development, &outputs.pixels, common.is_quiet())?;
        say_paths(outputs.tokens.as_deref(), &outputs.pixels, common);
    }
    events::say_done(common);
    Ok(())
}

/// Begins one painting, or takes it from its file.
pub(super) fn begin(
    run: &ModelRun,
    asked: &Asked,
    seed: Option<u64>,
    file: Option<&Path>,
    route: RouteKind,
    force: bool,
) -> anyhow::Result<Painting> {
    let mut request = asked.request.clone();
    request.route = route;
    request.seed = seed.unwrap_or_else(rand::random);
    let found = match file {
        Some(path) if !force && path.exists() => Some((path, token_file::read(path)?)),
        _ => None,
    };
    if let Some((_, found)) = &found {
        request.seed = seed.unwrap_or(found.start.header.request.seed);
    }
    let header = Header {
        program: concat!("nuwa-infer ", env!("CARGO_PKG_VERSION")).into(),
        model: run.model(),
        request,
    };
    if let Some((path, found)) = found {
        return Ok(Painting::resume(path, found, &header)?);
    }
    let start = Start {
        header,
        picture: asked.picture.as_ref().map(|picture| picture.bytes.clone()),
        mask: asked.mask.as_ref().map(|mask| mask.bytes.clone()),
        known: Vec::new(),
    };
    Ok(Painting::begin(run, start, asked.given()?, file)?)
}
