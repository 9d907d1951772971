//! Whether a model paints what captions say: captions of the synthetic landscapes, painted and read
//! back from the pixels.

use std::ops::ControlFlow;

use anyhow::Context;
use nuwa_data::synthetic::{Attributes, Scene, recover, recover_film};
use nuwa_data::video::write_clip;
use nuwa_data::{Picture, Spool};
use nuwa_model::render::TokenGrid;

use super::args::{CaptionsArgs, GivenArg};
use super::events::{self, Event};
use super::outputs::{GivenFile, Outputs};
use super::paint::{Asked, begin, request};
use super::{Misuse, load_to_paint};
use crate::canvas::Development;
use crate::model_run::ModelRun;
use crate::painting::{self, Painting};
use crate::task::{PointPx, TaskKind};

/// Seed of the first landscape: far from those that datasets begin with.
const FIRST_SCENE: u64 = 1 << 40;

/// An attribute, whether two landscapes agree in it, and how many values it has in pictures and in
/// films.
type Aspect = (
    &'static str,
    fn(&Attributes, &Attributes) -> bool,
    [usize; 2],
);

const ASPECTS: [Aspect; 6] = [
    ("sky", |a, b| a.sky == b.sky, [6, 6]),
    ("clouds", |a, b| a.clouds == b.clouds, [2, 4]),
    ("sun", |a, b| a.sun == b.sun, [2, 4]),
    ("land", |a, b| a.land == b.land, [3, 3]),
    ("water", |a, b| a.water == b.water, [2, 3]),
    ("trees", |a, b| a.trees == b.trees, [2, 2]),
];

pub(super) fn captions(args: &CaptionsArgs) -> anyhow::Result<()> {
    let (size, frames) = (args.paint.size, args.paint.frames as usize);
    size.check()?;
    let (brush, common) = (&args.paint.brush, &args.paint.common);
    if brush.prompt.is_some() || brush.prompts.is_some() {
        return Err(Misuse("the captions are those of synthetic landscapes".into()).into());
    }
    let mut run = load_to_paint(common, brush.precision, brush.renderer)?;
    if run.text.is_none() && args.given != GivenArg::All {
        return Err(Misuse("the model was trained without captions".into()).into());
    }
    if frames == 1 && args.given == GivenArg::Picture {
        return Err(Misuse("a picture that is given wants --frames after it".into()).into());
    }
    if let Some(folder) = brush.out.first() {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let (first, n) = (brush.seed.unwrap_or(0), args.count as usize);
    let mut right = [0; ASPECTS.len()];
    for number in 0..u64::from(args.count) {
        let scene_seed = FIRST_SCENE + first + number;
        let scene = match frames {
            1 => Scene::of_picture(scene_seed),
            _ => Scene::of_film(scene_seed),
        };
        let caption = scene.caption();
        let painting = paint(&mut run, args, &scene, first + number)?;
        let seen = decode(&run, &painting)?;
        let found = match &*seen {
            [picture] => recover(picture),
            seen => recover_film(seen),
        };
        if let Some(folder) = brush.out.first() {
            let file = |ending: &str| folder.join(format!("{number:04}.{ending}"));
            match &*seen {
                [picture] => picture.write(&file("png"))?,
                seen => write_clip(&file("apng"), seen)?,
            }
            std::fs::write(file("txt"), &caption)?;
        }
        for (right, (_, agree, _)) in right.iter_mut().zip(&ASPECTS) {
            *right += usize::from(agree(&found, &scene.attributes()));
        }
        if common.json {
            let found = found.to_string();
            events::say(&Event::Caption {
                caption: &caption,
                found: &found,
            });
        }
    }
    for (right, (name, _, values)) in right.into_iter().zip(&ASPECTS) {
        report(name, right, n, values[usize::from(frames > 1)], common.json);
    }
    events::say_done(common);
    Ok(())
}

/// Paints one caption; of its landscape as much is given as was asked for.
fn paint(
    run: &mut ModelRun,
    args: &CaptionsArgs,
    scene: &Scene,
    seed: u64,
) -> anyhow::Result<Painting> {
    let (brush, common, size) = (&args.paint.brush, &args.paint.common, args.paint.size);
    let (task, picture) = match args.given {
        GivenArg::Picture => {
            let first = scene.render(size.w, size.h, 0.0);
            (TaskKind::Animate, Some(GivenFile::of(first)))
        }
        GivenArg::Nothing | GivenArg::All => (TaskKind::Paint, None),
    };
    let mut request = request(task, size, brush);
    request.frames = args.paint.frames as usize;
    request.at = picture.as_ref().map(|_| PointPx { x: 0, y: 0 });
    request.prompt = run.text.as_ref().map(|_| scene.caption());
    request.sampling.smoothing = brush.smoothing.unwrap_or(run.smoothing);
    let asked = Asked {
        request,
        picture,
        mask: None,
        outputs: Outputs {
            tokens: None,
            pixels: Vec::new(),
        },
    };
    let plan = asked.choose(run, &asked.marked(run)?, brush.route.kind(), brush, common)?;
    run.tiling = plan.tiling;
    let mut painting = begin(run, &asked, Some(seed), None, plan.route, false)?;
    if args.given == GivenArg::All {
        let tokens = painting.layout.tokens();
        let frames = scene.clip(size.w, size.h, args.paint.frames as usize);
        let codes = frames.iter();
        let codes = codes.flat_map(|frame| run.encode(frame, [tokens.h, tokens.w]));
        painting.tokens = TokenGrid::new(1, tokens, codes.collect());
        return Ok(painting);
    }
    let mut paintings = [painting];
    painting::fill(run, &mut paintings, &plan.way(), |_| {
        ControlFlow::Continue(())
    })?;
    let [painting] = paintings;
    Ok(painting)
}

fn decode(run: &ModelRun, painting: &Painting) -> anyhow::Result<Vec<Picture>> {
    let (layout, size) = (&painting.layout, painting.layout.size);
    let spool = Spool::create(&std::env::temp_dir(), size.w, size.h, layout.frames)?;
    let development = Development::new(run, *layout, painting.given.clone(), 0, spool);
    let spool = development.finish(&painting.tokens)?;
    let frame = |frame| Ok(spool.crop(frame, 0, 0, size.w, size.h)?);
    (0..layout.frames).map(frame).collect()
}

fn report(attribute: &'static str, right: usize, of: usize, values: usize, json: bool) {
    match json {
        true => events::say(&Event::Attribute {
            attribute,
            right,
            of,
            values,
        }),
        false => say!(
            "{attribute}: {right} of {of} as the caption says, by chance one of {values} ({:.0})",
            of as f64 / values as f64
        ),
    }
}
