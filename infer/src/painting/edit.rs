//! Painting a region again.

use std::path::Path;
use std::sync::Arc;

use super::{Painting, PaintingError, stored};
use crate::model_run::ModelRun;
use crate::task::RegionPx;
use crate::token_file::{self, Start, TokenFile};

impl Painting {
    /// Begins another painting from one in a file: what is outside the region is known. Given
    /// pixels inside the region are given up.
    ///
    /// # Errors
    /// When the region is empty or not inside, the tokens come from another VQGAN, or the file
    /// cannot be written.
    pub fn edit(
        run: &ModelRun,
        path: &Path,
        region: RegionPx,
        seed: u64,
        out: Option<&Path>,
    ) -> Result<Self, PaintingError> {
        let found = token_file::read(path)?;
        let (picture, mask) = (found.start.picture.clone(), found.start.mask.clone());
        let old = Self::found(path, found)?;
        old.check_vqgan(path, run)?;
        let mut tokens = old.tokens;
        old.layout.forget(&mut tokens, region)?;
        let mut header = old.header;
        header.model = run.model();
        header.request.seed = seed;
        header.request.repainted.push(region);
        let start = Start {
            known: tokens.codes().iter().map(|&code| stored(code)).collect(),
            picture,
            mask,
            header: header.clone(),
        };
        let route = old.layout.route(&tokens, header.request.route)?;
        let file = out
            .map(|path| TokenFile::create(path, &start))
            .transpose()?;
        Ok(Self {
            header,
            layout: old.layout,
            route: Arc::new(route),
            tokens,
            given: old.given.map(|given| {
                let given = Arc::unwrap_or_clone(given);
                Arc::new(given.without(region))
            }),
            n_found: 0,
            damage: None,
            file,
        })
    }
}
