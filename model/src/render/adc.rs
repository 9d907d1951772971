//! Arbitrary Direction Controller at the level of tokens: cutting patches out of a token grid,
//! pasting them back, and the embedding of a token's place (\[P\] §3.2).
//!
//! Splitting a picture into a sequence of patches is [`crate::patch::Route`].

use burn::tensor::{Int, Tensor};

use super::transformer::Renderer;
use crate::patch::{GridSize, Order, PatchIndex, TokenSize};

/// Gives the place of each token inside its patch, in the order it is written (\[P\] Fig. 6).
pub fn walk_tokens(order: Order, patch: TokenSize) -> Vec<PatchIndex> {
    order
        .walk(GridSize {
            f: patch.f,
            h: patch.h,
            w: patch.w,
        })
        .collect()
}

/// Tokens of whole pictures or films, on the host: a token is a code index, or unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenGrid {
    batch: usize,
    size: TokenSize,
    codes: Vec<i32>,
}

impl TokenGrid {
    /// Stands where a token is not known yet.
    pub const UNKNOWN: i32 = -1;

    /// Gives a grid in which nothing is known.
    pub fn unknown(batch: usize, size: TokenSize) -> Self {
        Self {
            batch,
            size,
            codes: vec![Self::UNKNOWN; batch * size.count()],
        }
    }

    /// Takes tokens laid out as `[b, f, h, w]`.
    ///
    /// # Panics
    /// When the number of tokens does not match.
    pub fn new(batch: usize, size: TokenSize, codes: Vec<i32>) -> Self {
        assert_eq!(
            codes.len(),
            batch * size.count(),
            "tokens of {batch} × {size:?}"
        );
        Self { batch, size, codes }
    }

    /// Gives a grid without tokens.
    pub fn none() -> Self {
        Self::unknown(0, TokenSize { f: 0, h: 0, w: 0 })
    }

    /// Puts the pictures of several grids into one. A single grid is passed on as it is.
    ///
    /// # Panics
    /// When there is none, or their sizes differ.
    pub fn join(grids: Vec<Self>) -> Self {
        let mut grids = grids.into_iter();
        let mut whole = grids.next().expect("at least one grid");
        for grid in grids {
            assert_eq!(grid.size, whole.size, "sizes of joined grids");
            whole.batch += grid.batch;
            whole.codes.extend(grid.codes);
        }
        whole
    }

    /// Gives each picture as a grid of its own.
    pub fn split(self) -> Vec<Self> {
        if self.batch == 1 {
            return vec![self];
        }
        let codes = self.codes.chunks(self.size.count());
        let alone = |codes: &[i32]| Self::new(1, self.size, codes.to_vec());
        codes.map(alone).collect()
    }

    /// Gives the number of pictures.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Gives the size of each picture in tokens.
    pub fn size(&self) -> TokenSize {
        self.size
    }

    /// Gives the tokens, `[b, f, h, w]`.
    pub fn codes(&self) -> &[i32] {
        &self.codes
    }

    /// Gives the token at a place of a picture.
    ///
    /// # Panics
    /// When the place lies outside.
    pub fn get(&self, picture: usize, place: PatchIndex) -> i32 {
        self.codes[self.at(picture, place)]
    }

    /// Sets the token at a place of a picture.
    ///
    /// # Panics
    /// When the place lies outside.
    pub fn set(&mut self, picture: usize, place: PatchIndex, code: i32) {
        let at = self.at(picture, place);
        self.codes[at] = code;
    }

    fn at(&self, picture: usize, PatchIndex { f, h, w }: PatchIndex) -> usize {
        let size = self.size;
        assert!(
            f < size.f && h < size.h && w < size.w,
            "({f}, {h}, {w}) is outside {size:?}"
        );
        picture * size.count() + (f * size.h + h) * size.w + w
    }

    /// Cuts a patch out of every picture: `[b, m]`, in the order it is written.
    ///
    /// # Panics
    /// When the patch is not inside the grid.
    pub fn cut(&self, index: PatchIndex, order: Order, patch: TokenSize) -> Vec<i32> {
        let places = self.places(index, order, patch);
        let picture = |b: usize| {
            places
                .iter()
                .map(move |place| b * self.size.count() + place)
        };
        (0..self.batch)
            .flat_map(picture)
            .map(|at| self.codes[at])
            .collect()
    }

    /// Pastes the tokens of one picture's patch, `[m]` in the order they were written.
    ///
    /// # Panics
    /// When the patch is not inside the grid or the number of tokens does not match.
    pub fn paste(
        &mut self,
        picture: usize,
        index: PatchIndex,
        order: Order,
        patch: TokenSize,
        tokens: &[i32],
    ) {
        let places = self.places(index, order, patch);
        assert_eq!(places.len(), tokens.len(), "tokens of one patch");
        for (place, token) in places.into_iter().zip(tokens) {
            self.codes[picture * self.size.count() + place] = *token;
        }
    }

    fn places(&self, index: PatchIndex, order: Order, patch: TokenSize) -> Vec<usize> {
        let place = |t: PatchIndex| PatchIndex {
            f: index.f * patch.f + t.f,
            h: index.h * patch.h + t.h,
            w: index.w * patch.w + t.w,
        };
        walk_tokens(order, patch)
            .into_iter()
            .map(|t| self.at(0, place(t)))
            .collect()
    }
}

impl Renderer {
    /// Emb: what is added to the embedding of each token of a patch, `[m, d]` (page §4). The order
    /// embedding makes the next place well defined when a patch has no context.
    pub(super) fn place_embedding(&self, order: Order, patch: TokenSize) -> Tensor<2> {
        let walk = walk_tokens(order, patch);
        let device = self.tok_emb.weight.val().device();
        let rows = |axis: fn(&PatchIndex) -> usize| -> Tensor<1, Int> {
            let rows: Vec<i32> = walk.iter().map(|t| axis(t) as i32).collect();
            Tensor::from_data(rows.as_slice(), &device)
        };
        let pick = |table: &burn::nn::Embedding, rows| table.weight.val().select(0, rows);
        pick(&self.pos_row, rows(|t| t.h))
            + pick(&self.pos_col, rows(|t| t.w))
            + pick(&self.pos_frame, rows(|t| t.f))
            + self.order_embedding(order)
    }

    /// Gives the embedding of an order, `[1, d]`.
    pub(super) fn order_embedding(&self, order: Order) -> Tensor<2> {
        self.order_emb.weight.val().narrow(0, order.row(), 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_joined_and_split_again() {
        let size = TokenSize { f: 1, h: 1, w: 3 };
        let grid = |first: i32| TokenGrid::new(1, size, vec![first, 5, 6]);
        let grids = vec![grid(1), grid(2), grid(3)];
        let whole = TokenGrid::join(grids.clone());
        assert_eq!(
            (whole.batch(), whole.codes()),
            (3, &[1, 5, 6, 2, 5, 6, 3, 5, 6][..])
        );
        assert_eq!(whole.split(), grids);
        assert_eq!(TokenGrid::join(vec![grid(4)]).split(), [grid(4)]);
    }

    #[test]
    fn a_patch_written_to_the_left_is_cut_right_to_left() {
        let size = TokenSize { f: 1, h: 2, w: 4 };
        let grid = TokenGrid::new(2, size, (0..16).collect());
        let patch = TokenSize { f: 1, h: 2, w: 2 };
        let index = PatchIndex { f: 0, h: 0, w: 1 };
        let tokens = grid.cut(index, Order::DownLeft, patch);
        assert_eq!(tokens, [3, 7, 2, 6, 11, 15, 10, 14]);
        let mut copy = TokenGrid::unknown(2, size);
        copy.paste(1, index, Order::DownLeft, patch, &tokens[4..]);
        assert_eq!(copy.codes()[8..], [-1, -1, 10, 11, -1, -1, 14, 15]);
        assert_eq!(copy.codes()[..8], [-1; 8]);
    }
}
