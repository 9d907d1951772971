//! What one step of stage two trains on.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Int, Tensor};
use nuwa_model::patch::{Route, Step};
use nuwa_model::render::{Ncp, PatchCache, TokenGrid};

/// Which tokens a P-NAR pass hides: `[b, m]` for each position of the route, in written order.
pub type Masks = Vec<Vec<bool>>;

/// Pictures that are rendered along one route.
#[derive(Debug, Clone)]
pub struct RenderBatch {
    /// Their tokens: what is to be learned.
    pub tokens: TokenGrid,
    /// What the renderer sees of them, if that is something else.
    ///
    /// ours: a few wrong tokens in what has been written before teach it to go on from its own
    /// mistakes, which it never meets while the true picture is in front of it.
    pub seen: Option<TokenGrid>,
    /// The route all of them take (\[N\] §3.1.3: one batch, one order).
    pub route: Arc<Route>,
    /// What they show, for conditional models.
    pub text: Option<Text>,
    /// Hidden tokens, for P-NAR.
    pub masks: Option<Masks>,
    /// Whether patches see no others.
    ///
    /// ours: what the color of a sky is, the patches around tell as well as the caption, but for the
    /// first tokens of a picture; those alone are too little to learn from.
    pub alone: bool,
}

/// Texts of a batch.
#[derive(Debug, Clone)]
pub enum Text {
    /// States of a frozen text tower, `[b, t, d_text]` (\[P\] §3.3).
    States(Tensor<3>),
    /// Token ids `[b, t]` for a tower that learns with the renderer (ours: where there are no
    /// weights of CLIP).
    Ids(Tensor<2, Int>),
}

impl RenderBatch {
    /// Gives pictures without texts, seen as they are, nothing hidden.
    pub fn new(tokens: TokenGrid, route: Arc<Route>) -> Self {
        Self {
            tokens,
            seen: None,
            route,
            text: None,
            masks: None,
            alone: false,
        }
    }

    /// Gives the tokens that the renderer sees.
    pub fn seen(&self) -> &TokenGrid {
        self.seen.as_ref().unwrap_or(&self.tokens)
    }

    /// Cuts the batch into parts of at most `most` pictures.
    pub fn parts(&self, most: usize) -> Vec<Self> {
        let b = self.tokens.batch();
        if b <= most {
            return vec![self.clone()];
        }
        let starts = (0..b).step_by(most);
        starts.map(|at| self.part(at..(at + most).min(b))).collect()
    }

    /// Gives what of a pool a patch sees.
    pub(super) fn context<'a>(
        &self,
        pool: &'a Ncp<PatchCache>,
        step: &Step,
    ) -> Vec<&'a PatchCache> {
        match self.alone {
            true => Vec::new(),
            false => pool.select(step),
        }
    }

    /// Gives some of the pictures.
    pub(super) fn part(&self, pictures: Range<usize>) -> Self {
        let grid = |grid: &TokenGrid| {
            let n = grid.size().count();
            let codes = &grid.codes()[pictures.start * n..pictures.end * n];
            TokenGrid::new(pictures.len(), grid.size(), codes.to_vec())
        };
        let hidden = |mask: &Vec<bool>| {
            let m = mask.len() / self.tokens.batch();
            mask[pictures.start * m..pictures.end * m].to_vec()
        };
        let masks = self.masks.as_ref();
        Self {
            tokens: grid(&self.tokens),
            seen: self.seen.as_ref().map(grid),
            route: self.route.clone(),
            text: self.text.as_ref().map(|text| text.part(pictures.clone())),
            masks: masks.map(|masks| masks.iter().map(hidden).collect()),
            alone: self.alone,
        }
    }

    /// Gives how much of the loss of a patch is this batch's: the tokens that count there.
    pub(super) fn weight(&self, position: usize) -> f64 {
        match &self.masks {
            Some(masks) => masks[position].iter().filter(|&&hidden| hidden).count() as f64,
            None => self.tokens.batch() as f64,
        }
    }
}

impl Text {
    fn part(&self, pictures: Range<usize>) -> Self {
        let (start, n) = (pictures.start, pictures.len());
        match self {
            Self::States(states) => Self::States(states.clone().narrow(0, start, n)),
            Self::Ids(ids) => Self::Ids(ids.clone().narrow(0, start, n)),
        }
    }
}
