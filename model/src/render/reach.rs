//! A renderer that shall see farther than it was trained to, such as one of pictures that goes on
//! with films.

use burn::tensor::{Int, Tensor};

use super::block::Block;
use super::transformer::Renderer;
use crate::patch::{Extent, PatchIndex};

impl Renderer {
    /// Gives the same renderer with tables for another reach.
    ///
    /// ours: what was in reach keeps its relative embedding. Frames beyond the farthest known one are
    /// looked at as it is, place by place; rows and columns beyond begin with zeros, as all do in a
    /// new renderer.
    #[must_use]
    pub fn reaching(mut self, from: Extent, to: Extent) -> Self {
        if from == to {
            return self;
        }
        let layers = self.layers.into_iter();
        self.layers = layers.map(|layer| layer.reaching(from, to)).collect();
        self
    }
}

impl Block {
    fn reaching(mut self, from: Extent, to: Extent) -> Self {
        let rows = sources(from, to);
        self.rpe = self.rpe.map(|table| {
            let (device, learns) = (table.device(), table.is_require_grad());
            // What the optimizer holds must not be the result of anything.
            let table = table.set_require_grad(false);
            let nothing = Tensor::zeros([1, table.dims()[1]], &device);
            let rows: Tensor<1, Int> = Tensor::from_data(rows.as_slice(), &device);
            let table = Tensor::cat(vec![table, nothing], 0).select(0, rows);
            table.set_require_grad(learns)
        });
        self
    }
}

/// Gives the row of the old table for each row of the new one; the one after the last where there is
/// none.
fn sources(from: Extent, to: Extent) -> Vec<i32> {
    let far = PatchIndex {
        f: from.f.max(to.f),
        h: from.h.max(to.h),
        w: from.w.max(to.w),
    };
    let mut rows = vec![from.n_rows() as i32; to.n_rows()];
    for past in 0..=to.f {
        for h in far.h - to.h..=far.h + to.h {
            for w in far.w - to.w..=far.w + to.w {
                let at = |past| PatchIndex {
                    f: far.f - past,
                    h,
                    w,
                };
                let known = at(past.min(from.f));
                if from.reaches(far, known) {
                    rows[to.row(far, at(past))] = from.row(far, known) as i32;
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::render::RendererConfig;

    #[test]
    fn a_table_of_pictures_serves_every_frame() {
        let (from, to) = (Extent { w: 1, h: 1, f: 0 }, Extent { w: 1, h: 1, f: 2 });
        let all: Vec<i32> = (0..9).collect();
        assert_eq!(
            sources(from, to),
            [all.clone(), all.clone(), all.clone()].concat()
        );
        // Back again, nothing is lost.
        assert_eq!(sources(to, from), (18..27).collect::<Vec<_>>());
        assert_eq!(sources(to, to), (0..27).collect::<Vec<_>>());
    }

    #[test]
    fn a_table_that_has_grown_still_learns() {
        let config = RendererConfig::small();
        let far = Extent {
            f: 2,
            ..config.extent
        };
        let renderer = config.init(&Device::flex().autodiff());
        let table = renderer.reaching(config.extent, far).layers[0].rpe.val();
        assert_eq!(table.dims(), [27, 64]);
        let gradients = (table.clone() * 3.0).sum().backward();
        let gradient = table.grad(&gradients).expect("it is a leaf");
        assert_eq!(gradient.mean().into_scalar::<f32>(), 3.0);
    }

    #[test]
    fn what_was_out_of_reach_begins_with_zeros() {
        let (from, to) = (Extent { w: 1, h: 0, f: 1 }, Extent { w: 2, h: 1, f: 2 });
        let rows = sources(from, to);
        let here = PatchIndex { f: 9, h: 9, w: 9 };
        for f in 7..=9 {
            for h in 8..=10 {
                for w in 7..=11 {
                    let there = PatchIndex { f, h, w };
                    let nearest = PatchIndex { f: f.max(8), h, w };
                    let expected = match from.reaches(here, nearest) {
                        true => from.row(here, nearest),
                        false => from.n_rows(),
                    };
                    assert_eq!(rows[to.row(here, there)], expected as i32, "{there:?}");
                }
            }
        }
        assert_eq!(rows[to.own_row()], from.own_row() as i32);
    }
}
