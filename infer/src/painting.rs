//! A painting from its request to its tokens: begun, or gone on with from its token file.

mod edit;
mod error;
mod fill;

pub use error::PaintingError;
pub(crate) use fill::session;
pub use fill::{Progress, fill};

use std::path::Path;
use std::sync::Arc;

use nuwa_data::Picture;
use nuwa_data::image::MOST_PIXELS;
use nuwa_model::patch::{Route, Schedule, Step};
use nuwa_model::render::TokenGrid;

use crate::given::Given;
use crate::model_run::ModelRun;
use crate::request::Header;
use crate::task::{Layout, PointPx, RouteKind, Scale, TaskError};
use crate::token_file::{self, Damage, Found, Record, Start, TokenFile};

/// A pool that any machine holds beside the networks.
const SMALL_POOL_BYTES: usize = 1 << 30;

/// A painting: where everything lies, and the tokens so far.
#[derive(Debug)]
pub struct Painting {
    /// What is painted, by what.
    pub header: Header,
    /// Where everything lies.
    pub layout: Layout,
    /// The way through the patches.
    pub route: Arc<Route>,
    /// The tokens so far.
    pub tokens: TokenGrid,
    /// What was given.
    pub given: Option<Arc<Given>>,
    /// Patches that were already painted.
    pub n_found: usize,
    /// What was wrong behind them in the file.
    pub damage: Option<Damage>,
    file: Option<TokenFile>,
}

impl Painting {
    /// Begins a painting: encodes what is given and, with a file, writes what it starts from.
    ///
    /// # Errors
    /// When the request is impossible or the file cannot be written.
    pub fn begin(
        run: &ModelRun,
        mut start: Start,
        given: Option<Given>,
        file: Option<&Path>,
    ) -> Result<Self, PaintingError> {
        let layout = layout(&start.header)?;
        let mut tokens = TokenGrid::unknown(1, layout.tokens());
        if let Some(given) = &given {
            given.encode_into(run, &layout, &mut tokens);
            start.known = tokens.codes().iter().map(|&code| stored(code)).collect();
        }
        let route = layout.route(&tokens, start.header.request.route)?;
        let file = file
            .map(|path| TokenFile::create(path, &start))
            .transpose()?;
        Ok(Self {
            header: start.header,
            layout,
            route: Arc::new(route),
            tokens,
            given: given.map(Arc::new),
            n_found: 0,
            damage: None,
            file,
        })
    }

    /// Goes on with the painting in a file, if it is the one asked for.
    ///
    /// # Errors
    /// When it is another one, is damaged beyond use, or cannot be written.
    pub fn resume(path: &Path, found: Found, asked: &Header) -> Result<Self, PaintingError> {
        let differences = found.start.header.differences(asked);
        if !differences.is_empty() {
            let path = path.to_owned();
            return Err(PaintingError::Different { path, differences });
        }
        let file = TokenFile::resume(path, &found)?;
        let mut painting = Self::found(path, found)?;
        painting.file = Some(file);
        Ok(painting)
    }

    /// Takes a painting out of a file, only to look at it.
    ///
    /// # Errors
    /// When it is damaged beyond use.
    pub fn open(path: &Path) -> Result<Self, PaintingError> {
        Self::found(path, token_file::read(path)?)
    }

    fn found(path: &Path, found: Found) -> Result<Self, PaintingError> {
        let contradiction = |what: String| PaintingError::Contradiction {
            path: path.to_owned(),
            what,
        };
        let Start {
            header,
            picture,
            mask,
            known,
        } = found.start;
        let layout = layout(&header)?;
        let size = layout.tokens();
        let code = |code: u16| match code {
            token_file::UNKNOWN => Ok(TokenGrid::UNKNOWN),
            code if usize::from(code) < header.model.n_codes => Ok(i32::from(code)),
            code => Err(contradiction(format!(
                "token {code} of {} codes",
                header.model.n_codes
            ))),
        };
        let mut tokens = TokenGrid::unknown(1, size);
        if !known.is_empty() {
            if known.len() != size.count() {
                let what = format!("{} known tokens in a grid of {}", known.len(), size.count());
                return Err(contradiction(what));
            }
            let known = known.into_iter().map(code).collect::<Result<_, _>>()?;
            tokens = TokenGrid::new(1, size, known);
        }
        let route = layout.route(&tokens, header.request.route)?;
        let patch = header.model.patch;
        for Record {
            position,
            tokens: codes,
        } in &found.records
        {
            let (count, expected) = (codes.len(), patch.count());
            let step = route.steps().get(*position).filter(|_| count == expected);
            let step = step.ok_or_else(|| {
                contradiction(format!(
                    "patch {position} of {count} tokens in a route of {} patches of {expected}",
                    route.steps().len()
                ))
            })?;
            let codes = codes
                .iter()
                .map(|&c| code(c))
                .collect::<Result<Vec<_>, _>>()?;
            tokens.paste(0, step.index, step.order, patch, &codes);
        }
        let kept = |bytes: &Vec<u8>| {
            Picture::decode(bytes, path, MOST_PIXELS)
                .map_err(|error| PaintingError::Kept(path.to_owned(), error))
        };
        let (picture, mask) = (
            picture.as_ref().map(kept).transpose()?,
            mask.as_ref().map(kept).transpose()?,
        );
        let at = header.request.at.unwrap_or(PointPx { x: 0, y: 0 });
        let given = picture.map(|picture| Given::new(picture, mask.as_ref(), at, layout.size));
        let mut given = given.transpose()?;
        for region in &header.request.repainted {
            given = given.map(|given| given.without(*region));
        }
        Ok(Self {
            given: given.map(Arc::new),
            header,
            layout,
            route: Arc::new(route),
            tokens,
            n_found: found.records.len(),
            damage: found.damage,
            file: None,
        })
    }

    /// Checks that a run reads the tokens as they were meant.
    ///
    /// # Errors
    /// When they come from another VQGAN.
    pub fn check_vqgan(&self, path: &Path, run: &ModelRun) -> Result<(), PaintingError> {
        let (theirs, ours) = (self.header.model.vqgan.clone(), run.model().vqgan);
        if theirs == ours {
            return Ok(());
        }
        let path = path.to_owned();
        Err(PaintingError::OtherVqgan { path, theirs, ours })
    }

    /// Gives the number of patches that are not finished.
    pub fn n_open(&self) -> usize {
        self.unfinished()
            .into_iter()
            .filter(|&is_open| is_open)
            .count()
    }

    /// Tells for each step of the route whether its patch is not finished.
    fn unfinished(&self) -> Vec<bool> {
        let patch = self.header.model.patch;
        let codes = |step: &Step| self.tokens.cut(step.index, step.order, patch);
        let steps = self.route.steps().iter();
        steps
            .map(|step| codes(step).contains(&TokenGrid::UNKNOWN))
            .collect()
    }
}

/// Gives the batches of a painting: the route itself where patches are painted one by one, since
/// that holds the fewest caches; else levels.
pub(crate) fn schedule(route: &Route, parallel: usize) -> Schedule {
    match parallel {
        1 => Schedule::serial(route),
        _ => Schedule::levels(route, parallel),
    }
}

/// The papers' circle around a picture, as long as its pool is small; else along the short side.
pub(crate) fn choose_route(
    run: &ModelRun,
    layout: &Layout,
    tokens: &TokenGrid,
) -> Result<RouteKind, TaskError> {
    if tokens
        .codes()
        .iter()
        .all(|&code| code == TokenGrid::UNKNOWN)
    {
        return Ok(RouteKind::Sweep);
    }
    let caches = layout.route(tokens, RouteKind::Paper)?.peak_pool();
    let is_small = caches.saturating_mul(run.cache_bytes()) <= SMALL_POOL_BYTES;
    Ok(if is_small {
        RouteKind::Paper
    } else {
        RouteKind::Sweep
    })
}

/// Gives where everything of a painting lies.
pub(crate) fn layout(header: &Header) -> Result<Layout, TaskError> {
    let at = header.request.at.unwrap_or(PointPx { x: 0, y: 0 });
    let scale = Scale {
        stride: header.model.stride,
        patch: header.model.patch,
        extent: header.model.extent,
    };
    Layout::new(header.request.size, at, scale)?.with_frames(header.request.frames)
}

/// A token as it is stored.
fn stored(code: i32) -> u16 {
    match code {
        TokenGrid::UNKNOWN => token_file::UNKNOWN,
        code => u16::try_from(code).expect("codebooks are smaller than 65,535"),
    }
}
