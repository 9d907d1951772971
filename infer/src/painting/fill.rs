//! Painting what is open, several paintings of one request at once.

use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::Tensor;
use nuwa_model::patch::PatchIndex;
use nuwa_model::render::sampling::{KeyedUniforms, Sampler};
use nuwa_model::render::{Guidance, Prompt, Session, TokenGrid};

use super::{Painting, PaintingError, schedule, stored};
use crate::engine;
use crate::model_run::{ModelRun, TextEncoder};
use crate::plan::Way;
use crate::prompts::{Place, shares};
use crate::request::Request;
use crate::task::Layout;
use crate::token_file::{Record, TokenFile};

/// A finished wave, for whoever watches.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Patches of the wave that were written, over all paintings.
    pub n_written: usize,
    /// Level of the wave.
    pub level: usize,
    /// Caches held by the pool.
    pub pool: usize,
    /// The tokens of all paintings so far.
    pub tokens: &'a TokenGrid,
    /// The frame that is painted.
    pub frame: usize,
}

/// Paints what is open, by batches and a pool as the way says. The paintings differ in their seeds
/// only and go through the route together. Every patch is in its file before `report` hears of it;
/// `report` may stop the painting.
///
/// Gives why it was slower than it could be, if the device refused to replay tokens as a graph.
///
/// # Errors
/// When a file cannot be written.
///
/// # Panics
/// When there is no painting, or their routes differ.
pub fn fill(
    run: &ModelRun,
    paintings: &mut [Painting],
    way: &Way,
    mut report: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Option<String>, PaintingError> {
    let first = paintings.first().expect("something to paint");
    let (route, patch) = (Arc::clone(&first.route), first.header.model.patch);
    let session = session(run, &first.header.request, first.layout, paintings.len());
    let session = session.with_pool(way.pool);
    let request = &first.header.request;
    let seeds = paintings
        .iter()
        .map(|painting| painting.header.request.seed);
    let uniforms = KeyedUniforms {
        seeds: seeds.collect(),
    };
    let mut sampler = Sampler::new(request.sampling.choice(), uniforms);
    sampler.unmasking = request.sampling.unmasking();
    sampler.smoothing = request.sampling.smoothing;
    let schedule = schedule(&route, way.parallel);
    let mut open: Vec<Vec<bool>> = paintings.iter().map(Painting::unfinished).collect();
    // Moved, not copied: of a long scroll there is one grid of tokens.
    let grids = paintings
        .iter_mut()
        .map(|painting| std::mem::replace(&mut painting.tokens, TokenGrid::none()));
    let mut tokens = TokenGrid::join(grids.collect());
    let mut failed = None;
    engine::paint(
        &session,
        &route,
        &schedule,
        &sampler,
        &mut tokens,
        |painted| {
            let mut n_written = 0;
            for &position in painted.steps {
                let step = &route.steps()[position];
                let codes = painted.tokens.cut(step.index, step.order, patch);
                let of_pictures = codes.chunks(patch.count());
                for ((painting, open), codes) in
                    paintings.iter_mut().zip(&mut open).zip(of_pictures)
                {
                    if !std::mem::take(&mut open[position]) {
                        continue;
                    }
                    n_written += 1;
                    let tokens = codes.iter().copied().map(stored).collect();
                    let record = Record { position, tokens };
                    let added = painting.file.as_mut().map(|file| file.add(&record));
                    if let Some(Err(error)) = added {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                }
            }
            let first = &route.steps()[painted.steps[0]];
            report(Progress {
                n_written,
                level: first.level,
                pool: painted.pool,
                tokens: painted.tokens,
                frame: first.index.f * patch.f,
            })
        },
    );
    for (painting, tokens) in paintings.iter_mut().zip(tokens.split()) {
        painting.tokens = tokens;
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    let mut files = paintings
        .iter_mut()
        .filter_map(|painting| painting.file.as_mut());
    files.try_for_each(TokenFile::sync)?;
    Ok(session.refusal())
}

/// Prepares the renderer: with the request's texts, if it is one that is told in words.
pub(crate) fn session(
    run: &ModelRun,
    request: &Request,
    layout: Layout,
    pictures: usize,
) -> Session {
    let (mut prompt, mut guidance) = (None, None);
    if let Some(encoder) = &run.text {
        let one = |text: &Option<String>| encoder.states(&[text.as_deref().unwrap_or("")]);
        prompt = Some(match request.prompts.is_empty() {
            true => Prompt::Same(one(&request.prompt).expand([pictures as i64, -1, -1])),
            false => along(run, encoder, request, layout, pictures),
        });
        guidance = request.guidance.map(|scale| Guidance {
            negative: one(&request.negative),
            scale,
        });
    }
    let renderer = run.renderer.clone().computing_in(request.precision);
    Session::new(&renderer, &run.renderer_config, prompt, guidance, pictures)
}

/// Gives each patch the mixture of the texts that hold where it lies.
fn along(
    run: &ModelRun,
    encoder: &TextEncoder,
    request: &Request,
    layout: Layout,
    pictures: usize,
) -> Prompt {
    let (spans, patch) = (request.prompts.clone(), run.renderer_config.patch);
    let texts: Vec<&str> = spans.iter().map(|span| span.text.as_str()).collect();
    let states = encoder.states(&texts);
    let patch_px = (patch.w * run.vqgan_config.stride()) as f64;
    Prompt::ByPatch(Box::new(move |index: PatchIndex| {
        let middle = layout.pixel_of(
            index.h * patch.h + patch.h / 2,
            index.w * patch.w + patch.w / 2,
        );
        let place = Place {
            x: middle.0 as f64,
            y: middle.1 as f64,
            frame: index.f * patch.f,
        };
        let shares = shares(&spans, place, patch_px);
        let counted = shares
            .into_iter()
            .enumerate()
            .filter(|(_, share)| *share > 0.0);
        let parts = counted.map(|(n, share)| states.clone().narrow(0, n, 1) * share);
        let mixed = parts.reduce(|sum: Tensor<3>, part| sum + part);
        let mixed = mixed.expect("shares add up to one");
        mixed.expand([pictures as i64, -1, -1])
    }))
}
