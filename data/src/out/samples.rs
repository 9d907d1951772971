//! Pixels that the tests of the formats write and compare.

use crate::{Picture, Spool};
use std::fs;
use std::path::Path;

/// Colors that run into each other, as JPEG likes them; `shift` tells frames apart.
pub(super) fn smooth(w: usize, h: usize, shift: usize) -> Picture {
    let wave = |at: usize, length: usize| {
        let phase = at % (2 * length);
        (phase.min(2 * length - 1 - phase) * 255 / (length - 1)) as u8
    };
    let color = |x: usize, y: usize| [wave(x + shift, 200), wave(y + shift, 90), wave(x + y, 130)];
    let places = (0..h).flat_map(|y| (0..w).map(move |x| (x, y)));
    Picture::new(w, h, places.flat_map(|(x, y)| color(x, y)).collect())
}

/// The frames on disk.
pub(super) fn spool_of(folder: &Path, frames: &[Picture]) -> Spool {
    let spool = Spool::create(folder, frames[0].w(), frames[0].h(), frames.len()).unwrap();
    for (frame, picture) in frames.iter().enumerate() {
        spool.paste(frame, 0, 0, picture).unwrap();
    }
    spool
}

/// The picture at half size, written as the rule reads: the mean over what each pixel covers.
pub(super) fn half(picture: &Picture) -> Picture {
    let (w, h) = (picture.w().div_ceil(2), picture.h().div_ceil(2));
    let mut rgb = Vec::new();
    for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
        let columns = 2 * x..(2 * x + 2).min(picture.w());
        let rows = 2 * y..(2 * y + 2).min(picture.h());
        let covered: Vec<_> = rows
            .flat_map(|y| columns.clone().map(move |x| picture.pixel(x, y)))
            .collect();
        for channel in 0..3 {
            let sum: f32 = covered.iter().map(|color| f32::from(color[channel])).sum();
            rgb.push((sum / covered.len() as f32).round() as u8);
        }
    }
    Picture::new(w, h, rgb)
}

/// What lies in a folder, hidden names too.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
