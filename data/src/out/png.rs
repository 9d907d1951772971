//! PNG, and films as folders of it.

use super::Options;
use crate::DataError;
use crate::image::PngRows;
use crate::pending::PendingFolder;
use crate::spool::Spool;
use std::path::Path;

/// One frame as a PNG.
pub(super) fn write(
    spool: &Spool,
    frame: usize,
    path: &Path,
    options: &Options,
) -> Result<(), DataError> {
    let description = options.description.as_deref();
    let mut rows = PngRows::with_description(path, spool.w(), spool.h(), description)?;
    spool.each_band(frame, |rgb| rows.push(rgb))?;
    rows.finish()
}

/// All frames as a folder, `frame-00001.png` first.
pub(super) fn write_frames(spool: &Spool, path: &Path, options: &Options) -> Result<(), DataError> {
    let folder = PendingFolder::create(path, is_frame)?;
    for frame in 0..spool.frames() {
        let file = folder.inside().join(format!("frame-{:05}.png", frame + 1));
        write(spool, frame, &file, options)?;
    }
    folder.commit()
}

/// Whether a file in a folder of frames has such a name.
pub(super) fn is_frame(name: &str) -> bool {
    let number = name
        .strip_prefix("frame-")
        .and_then(|rest| rest.strip_suffix(".png"));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}
