//! Presets named by the columns of \[P\] Tab. 1, in the sizes of \[P\] Tab. 7b.

use std::fmt;
use std::str::FromStr;

use crate::patch::{Extent, GridSize, TokenSize};
use crate::render::{Decoding, Feed, RendererConfig, Transfer};

/// A column of \[P\] Tab. 1. Outpainting has none: it uses the weights of [`Preset::T2iHd`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Unconditional image generation, on crops of one giant painting (RQF).
    UigHd,
    /// Text to image, on landscapes with captions (LHQC).
    T2iHd,
    /// Image animation, on landscape videos (LHQ-V).
    IaHd,
    /// Text to video, on cartoon clips (PeppaPig).
    T2vHd,
}

/// How large a renderer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Ours, for tests: 4 layers of width 256, 1024 codes, patches of 8 × 8 tokens.
    Tiny,
    /// 202 M parameters (\[P\] Tab. 7b).
    Base,
    /// 809 M parameters (\[P\] Tab. 1).
    Large,
}

/// The numbers of a column, as the papers train it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Data set.
    pub dataset: &'static str,
    /// Pictures or clips that train.
    pub samples: usize,
    /// Patches of one picture or clip; the page's grid.
    pub grid: GridSize,
    /// Passes over the data set.
    pub epochs: usize,
    /// Pictures or clips per update. \[P\] Tab. 1 has 512 for text to image; its text, \[N\] and \[A\]
    /// have 256 (page §9.13).
    pub batch: usize,
    /// Peak learning rate.
    pub peak_rate: f64,
    /// Share of the updates that warm up.
    pub warmup: f64,
    /// Architecture of the renderer.
    pub renderer: RendererConfig,
}

impl Preset {
    /// All presets.
    pub const ALL: [Preset; 4] = [Preset::UigHd, Preset::T2iHd, Preset::IaHd, Preset::T2vHd];

    /// Gives the name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Preset::UigHd => "uighd",
            Preset::T2iHd => "t2ihd",
            Preset::IaHd => "iahd",
            Preset::T2vHd => "t2vhd",
        }
    }

    /// Gives the column's numbers (page §6) at a size.
    pub fn recipe(self, size: Size) -> Recipe {
        let image = Extent { w: 2, h: 2, f: 0 };
        let grid = |f, side| GridSize {
            f,
            h: side,
            w: side,
        };
        let (dataset, samples, grid, extent, epochs, text, batch, warmup) = match self {
            Preset::UigHd => ("RQF", 128, grid(1, 8), image, 6000, false, 128, 0.02),
            Preset::T2iHd => ("LHQC", 85_000, grid(1, 4), image, 50, true, 512, 0.05),
            Preset::IaHd => (
                "LHQ-V",
                38_000,
                grid(5, 4),
                Extent { w: 1, h: 1, f: 3 },
                50,
                false,
                256,
                0.05,
            ),
            // 10 K clips in the paper's table, of which 9 K train (page §9.13).
            Preset::T2vHd => (
                "PeppaPig",
                9_000,
                grid(5, 4),
                Extent { w: 2, h: 2, f: 3 },
                150,
                true,
                256,
                0.05,
            ),
        };
        let renderer = size.renderer(extent, text.then_some(CLIP_WIDTH));
        let peak_rate = 1e-4;
        Recipe {
            dataset,
            samples,
            grid,
            epochs,
            batch,
            peak_rate,
            warmup,
            renderer,
        }
    }
}

/// Width of the text states of CLIP ViT-B/32.
const CLIP_WIDTH: usize = 512;

impl Size {
    /// All sizes.
    pub const ALL: [Size; 3] = [Size::Tiny, Size::Base, Size::Large];

    /// Gives the name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Size::Tiny => "tiny",
            Size::Base => "base",
            Size::Large => "large",
        }
    }

    /// Gives an autoregressive, pre-RPE renderer of this size (page §4).
    pub fn renderer(self, extent: Extent, d_text: Option<usize>) -> RendererConfig {
        let (d_model, n_layers, n_codes, side) = match self {
            Size::Tiny => (256, 4, 1024, 8),
            Size::Base => (768, 16, 16384, 16),
            Size::Large => (1280, 24, 16384, 16),
        };
        RendererConfig {
            decoding: Decoding::Ar,
            d_model,
            n_layers,
            n_codes,
            patch: TokenSize {
                f: 1,
                h: side,
                w: side,
            },
            extent,
            feed: Feed::Pre,
            d_text,
            transfer: Transfer::Context,
        }
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|preset| preset.name() == name);
        found.ok_or_else(|| {
            format!(
                "no preset is called {name:?}; there are {}",
                Self::ALL.map(Self::name).join(", ")
            )
        })
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|size| size.name() == name);
        found.ok_or_else(|| {
            format!(
                "no size is called {name:?}; there are {}",
                Self::ALL.map(Self::name).join(", ")
            )
        })
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[N\] Tab. 4b, \[P\] Tab. 7b: 202 M and 809 M, counted on the conditional image model.
    #[test]
    fn parameter_counts_are_the_papers_within_one_percent() {
        for (size, paper) in [(Size::Base, 202e6), (Size::Large, 809e6)] {
            let n = Preset::T2iHd.recipe(size).renderer.n_params() as f64;
            assert!(
                (n / paper - 1.0).abs() < 0.01,
                "{size}: {n} parameters, {paper} in the papers"
            );
        }
    }

    /// \[P\] Tab. 1, column by column: patches, extent (w, h, f), epochs, text, batch.
    #[test]
    fn table_1() {
        let rows = [
            (Preset::UigHd, 64, (2, 2, 0), 6000, None, 128),
            (Preset::T2iHd, 16, (2, 2, 0), 50, Some(512), 512),
            (Preset::IaHd, 80, (1, 1, 3), 50, None, 256),
            (Preset::T2vHd, 80, (2, 2, 3), 150, Some(512), 256),
        ];
        for (preset, patches, (w, h, f), epochs, d_text, batch) in rows {
            let recipe = preset.recipe(Size::Large);
            assert_eq!(recipe.grid.count(), patches, "{preset}");
            assert_eq!(recipe.renderer.extent, Extent { w, h, f }, "{preset}");
            assert_eq!((recipe.epochs, recipe.batch), (epochs, batch), "{preset}");
            assert_eq!(recipe.renderer.d_text, d_text, "{preset}");
            assert_eq!(recipe.renderer.tokens_per_patch(), 256, "{preset}");
            assert_eq!(recipe.peak_rate, 1e-4, "{preset}");
        }
        assert_eq!(Preset::UigHd.recipe(Size::Base).warmup, 0.02);
        assert_eq!(Preset::T2vHd.recipe(Size::Base).warmup, 0.05);
    }

    #[test]
    fn names_are_read_back_and_unknown_ones_list_the_choice() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(preset));
        }
        assert!("t2i".parse::<Preset>().is_err_and(|e| e.contains("t2ihd")));
        assert!("huge".parse::<Size>().is_err_and(|e| e.contains("large")));
    }
}
