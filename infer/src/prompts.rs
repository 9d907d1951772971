//! Prompts that change along a painting: which text a patch is told.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::task::RegionPx;

/// A text and where it holds, as a file of prompts gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// What is painted there.
    pub text: String,
    /// Columns of pixels, from the first to before the last; all when not given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub x: Option<[usize; 2]>,
    /// A rectangle instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rect: Option<RegionPx>,
    /// Frames, from the first to before the last; all when not given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frames: Option<[usize; 2]>,
}

/// A span that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpanError {
    /// No text at all.
    #[error("there is no [[prompt]]")]
    None,
    /// Two ways to say where.
    #[error("prompt {0:?} has both x and rect")]
    Both(String),
    /// From a place to one before it.
    #[error("prompt {0:?} covers nothing")]
    Empty(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    prompt: Vec<Span>,
}

/// Where a patch lies: its middle in pixels, and its first frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Column.
    pub x: f64,
    /// Row.
    pub y: f64,
    /// Frame.
    pub frame: usize,
}

/// Reads a file of prompts: TOML with a list `[[prompt]]` of [`Span`]s.
///
/// # Errors
/// When it cannot be read or a span cannot be.
pub fn read(path: &Path) -> anyhow::Result<Vec<Span>> {
    let named = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(named)?;
    let file: File = toml::from_str(&text).map_err(|error| {
        // Its message points at the place over several lines.
        let start = error.span().map_or(0, |span| span.start);
        let line = 1 + text[..start].matches('\n').count();
        anyhow::anyhow!("{}, line {line}: {}", named(), error.message())
    })?;
    check(&file.prompt).with_context(named)?;
    Ok(file.prompt)
}

/// Checks that every span says where it holds.
///
/// # Errors
/// The first that does not.
pub fn check(spans: &[Span]) -> Result<(), SpanError> {
    if spans.is_empty() {
        return Err(SpanError::None);
    }
    for span in spans {
        if span.x.is_some() && span.rect.is_some() {
            return Err(SpanError::Both(span.text.clone()));
        }
        let is_empty = |range: Option<[usize; 2]>| range.is_some_and(|[from, to]| from >= to);
        let no_pixels = |rect: RegionPx| rect.size.w == 0 || rect.size.h == 0;
        if is_empty(span.x) || is_empty(span.frames) || span.rect.is_some_and(no_pixels) {
            return Err(SpanError::Empty(span.text.clone()));
        }
    }
    Ok(())
}

/// Gives how much each span counts at a place; the shares add up to 1.
///
/// Spans that cover the place share it equally. Where none does, the two nearest do, the nearer
/// the more: a text turns into its neighbor over the gap between them. `patch_px` is the length in
/// pixels that counts as one frame.
pub fn shares(spans: &[Span], place: Place, patch_px: f64) -> Vec<f64> {
    let distances: Vec<f64> = spans
        .iter()
        .map(|span| span.distance(place, patch_px))
        .collect();
    let covering = distances
        .iter()
        .filter(|&&distance| distance == 0.0)
        .count();
    if covering > 0 {
        let share = |&distance: &f64| {
            if distance == 0.0 {
                1.0 / covering as f64
            } else {
                0.0
            }
        };
        return distances.iter().map(share).collect();
    }
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
    let mut shares = vec![0.0; spans.len()];
    match order[..] {
        [] => {}
        [only] => shares[only] = 1.0,
        [first, second, ..] => {
            let (near, far) = (distances[first], distances[second]);
            shares[first] = far / (near + far);
            shares[second] = near / (near + far);
        }
    }
    shares
}

impl Span {
    fn distance(&self, place: Place, patch_px: f64) -> f64 {
        let outside =
            |at: f64, [from, to]: [usize; 2]| (from as f64 - at).max(at - to as f64).max(0.0);
        let columns = |rect: RegionPx| [rect.at.x, rect.at.x + rect.size.w];
        let rows = |rect: RegionPx| [rect.at.y, rect.at.y + rect.size.h];
        let x = self
            .x
            .or(self.rect.map(columns))
            .map_or(0.0, |range| outside(place.x, range));
        let y = self
            .rect
            .map(rows)
            .map_or(0.0, |range| outside(place.y, range));
        let frames = self.frames.map_or(0.0, |[from, to]| {
            outside(place.frame as f64, [from, to - 1]) * patch_px
        });
        (x * x + y * y + frames * frames).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str, x: Option<[usize; 2]>) -> Span {
        Span {
            text: text.into(),
            x,
            rect: None,
            frames: None,
        }
    }

    fn at(x: f64) -> Place {
        Place {
            x,
            y: 10.0,
            frame: 0,
        }
    }

    #[test]
    fn a_text_holds_in_its_span_and_turns_into_its_neighbor_between() {
        let spans = [span("sea", Some([0, 100])), span("town", Some([200, 300]))];
        let shares = |x| shares(&spans, at(x), 16.0);
        assert_eq!(shares(50.0), [1.0, 0.0]);
        assert_eq!(shares(250.0), [0.0, 1.0]);
        assert_eq!(shares(150.0), [0.5, 0.5]);
        assert_eq!(shares(125.0), [0.75, 0.25]);
        // Beyond the last one the nearest counts most.
        let beyond = shares(350.0);
        assert!(
            beyond[1] > 0.8 && (beyond[0] + beyond[1] - 1.0).abs() < 1e-12,
            "{beyond:?}"
        );
        let everywhere = [span("sea", None), span("town", Some([200, 300]))];
        assert_eq!(super::shares(&everywhere, at(250.0), 16.0), [0.5, 0.5]);
        assert_eq!(super::shares(&everywhere[..1], at(9e9), 16.0), [1.0]);
    }

    #[test]
    fn rectangles_and_frames_say_where_too() {
        let mut high = span("sun", None);
        high.rect = Some("0,0,100x5".parse().expect("a region"));
        let mut late = span("night", None);
        late.frames = Some([2, 4]);
        let spans = [high, late];
        assert_eq!(
            shares(
                &spans,
                Place {
                    x: 1.0,
                    y: 2.0,
                    frame: 0
                },
                16.0
            ),
            [1.0, 0.0]
        );
        assert_eq!(
            shares(
                &spans,
                Place {
                    x: 1.0,
                    y: 2.0,
                    frame: 3
                },
                16.0
            ),
            [0.5, 0.5]
        );
        // 16 px below the one, one frame (a patch of 16 px) before the other.
        assert_eq!(
            shares(
                &spans,
                Place {
                    x: 1.0,
                    y: 21.0,
                    frame: 1
                },
                16.0
            ),
            [0.5, 0.5]
        );
    }

    #[test]
    fn files_that_mean_nothing_are_refused_with_the_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("prompts.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            read(&path).map_err(|error| format!("{error:#}"))
        };
        let good = read(
            "[[prompt]]\ntext = \"sea\"\nx = [0, 9]\n\n[[prompt]]\ntext = \"sun\"\nrect = \"1,2,3x4\"\nframes = [0, 2]\n",
        );
        assert_eq!(good.map(|spans| spans.len()), Ok(2));
        for (text, why) in [
            ("", "prompt"),
            ("prompt = []", "there is no [[prompt]]"),
            (
                "[[prompt]]\ntext = \"a\"\nfrom = 3\n",
                "line 3: unknown field `from`",
            ),
            ("[[prompt]]\ntext = \"a\"\nx = [3, 3]\n", "covers nothing"),
            (
                "[[prompt]]\ntext = \"a\"\nx = [3, 4]\nrect = \"1,2,3x4\"\n",
                "both x and rect",
            ),
            (
                "[[prompt]]\ntext = \"a\"\nrect = \"1,2\"\n",
                "X,Y,WIDTHxHEIGHT",
            ),
        ] {
            let error = read(text).expect_err("refused");
            assert!(error.contains(why) && error.lines().count() == 1, "{error}");
        }
    }
}
