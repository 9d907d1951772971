//! A small picture of the painting in the terminal while it is painted: by the protocols of kitty,
//! iTerm2 or sixel where the terminal has one, in half blocks elsewhere.

use std::io::{IsTerminal, stdout};
use std::time::{Duration, Instant};

use nuwa_model::render::TokenGrid;

use crate::film;
use crate::model_run::ModelRun;
use crate::palette::Palette;

/// Time between two pictures.
const EVERY: Duration = Duration::from_secs(2);
/// Most of the terminal that a picture takes, in cells.
const CELLS: (u32, u32) = (80, 20);

/// Shows a painting every few seconds, each picture over the one before.
pub(super) struct Preview {
    palette: Palette,
    shown: Option<Instant>,
    /// Lines that the last picture took.
    lines: u32,
}

impl Preview {
    /// Gives nothing when standard output is no terminal: it belongs to programs then.
    pub(super) fn new(run: &ModelRun) -> Option<Self> {
        stdout().is_terminal().then(|| Self {
            palette: Palette::new(run),
            shown: None,
            lines: 0,
        })
    }

    /// Tells whether it is time for another picture.
    pub(super) fn is_due(&self) -> bool {
        self.shown.is_none_or(|shown| shown.elapsed() >= EVERY)
    }

    /// Shows a frame of the first picture. A terminal that cannot show it is left alone.
    pub(super) fn show(&mut self, tokens: &TokenGrid, frame: usize) {
        let picture = self.palette.picture(&film::frame(tokens, frame));
        let (width, height) = fitting(picture.w() as u32, picture.h() as u32);
        let config = viuer::Config {
            absolute_offset: false,
            y: -i16::try_from(self.lines).unwrap_or(0),
            width: Some(width),
            height: Some(height),
            use_kitty: is_named(&["kitty", "ghostty"]),
            use_sixel: is_named(&["foot", "mlterm", "contour", "yaft", "sixel"]),
            ..viuer::Config::default()
        };
        if let Ok((_, lines)) = viuer::print(&picture.to_image(), &config) {
            self.lines = lines;
        }
        self.shown = Some(Instant::now());
    }
}

/// Tells whether the terminal calls itself by one of these names. Asking it what it can show would
/// wait for ever where nobody answers.
fn is_named(names: &[&str]) -> bool {
    let own = std::env::var("TERM").unwrap_or_default();
    names.iter().any(|name| own.contains(name))
}

/// Gives the cells that a picture is shown in: as many as fit, each twice as high as wide.
fn fitting(w: u32, h: u32) -> (u32, u32) {
    let scale = (f64::from(CELLS.0) / f64::from(w)).min(f64::from(2 * CELLS.1) / f64::from(h));
    let cells = |side: u32, most: u32| ((f64::from(side) * scale).round() as u32).clamp(1, most);
    (cells(w, CELLS.0), cells(h, 2 * CELLS.1).div_ceil(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_shape_in_cells_and_fits() {
        assert_eq!(fitting(40, 20), (80, 20));
        assert_eq!(fitting(128, 32), (80, 10));
        assert_eq!(fitting(10, 1000), (1, 20));
        // A scroll is one line, not none.
        assert_eq!(fitting(12_500, 32), (80, 1));
    }
}
