//! Sizes, places and rectangles in pixels, as they are typed.

use std::fmt;
use std::str::FromStr;

use nuwa_data::Picture;
use serde::{Deserialize, Serialize};

use super::TaskError;

/// Width and height in pixels, written `4096x1024`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SizePx {
    /// Columns.
    pub w: usize,
    /// Rows.
    pub h: usize,
}

/// A place in pixels from the top left corner, written `X,Y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PointPx {
    /// Column.
    pub x: usize,
    /// Row.
    pub y: usize,
}

/// A rectangle of pixels, written `X,Y,WxH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RegionPx {
    /// Its top left corner.
    pub at: PointPx,
    /// Its size.
    pub size: SizePx,
}

impl SizePx {
    /// Gives the size of a picture.
    pub fn of(picture: &Picture) -> Self {
        Self {
            w: picture.w(),
            h: picture.h(),
        }
    }

    /// Checks that there are pixels and that they can be counted.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub fn check(self) -> Result<(), TaskError> {
        if self.w == 0 || self.h == 0 {
            return Err(TaskError::Empty(self));
        }
        // Three bytes per pixel and some room for what else is counted per pixel.
        let bytes = self.w.checked_mul(self.h).and_then(|px| px.checked_mul(64));
        bytes.map(|_| ()).ok_or(TaskError::TooLarge(self))
    }
}

impl FromStr for SizePx {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (w, h) = pair(text, 'x').ok_or_else(|| format!("{text:?} is not WIDTHxHEIGHT"))?;
        Ok(Self { w, h })
    }
}

impl FromStr for PointPx {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (x, y) = pair(text, ',').ok_or_else(|| format!("{text:?} is not X,Y"))?;
        Ok(Self { x, y })
    }
}

fn pair(text: &str, between: char) -> Option<(usize, usize)> {
    let (a, b) = text.split_once(between)?;
    Some((a.trim().parse().ok()?, b.trim().parse().ok()?))
}

impl FromStr for RegionPx {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not X,Y,WIDTHxHEIGHT");
        let (at, size) = text.rsplit_once(',').ok_or_else(wrong)?;
        let (at, size) = (at.parse().ok(), size.parse().ok());
        let (at, size) = at.zip(size).ok_or_else(wrong)?;
        Ok(Self { at, size })
    }
}

impl TryFrom<String> for RegionPx {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RegionPx> for String {
    fn from(region: RegionPx) -> Self {
        format!("{},{}", Self::from(region.at), Self::from(region.size))
    }
}

impl fmt::Display for RegionPx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.size, self.at)
    }
}

impl TryFrom<String> for SizePx {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for PointPx {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SizePx> for String {
    fn from(size: SizePx) -> Self {
        format!("{}x{}", size.w, size.h)
    }
}

impl From<PointPx> for String {
    fn from(point: PointPx) -> Self {
        format!("{},{}", point.x, point.y)
    }
}

impl fmt::Display for SizePx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} px", self.w, self.h)
    }
}

impl fmt::Display for PointPx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.x, self.y)
    }
}
