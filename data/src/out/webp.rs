//! Lossless WebP.

use super::image_error;
use crate::DataError;
use crate::image::side;
use crate::pending::PendingFile;
use crate::spool::Spool;
use ::image::codecs::webp::WebPEncoder;
use ::image::{ExtendedColorType, ImageEncoder as _};
use std::path::Path;

/// The whole picture is in memory meanwhile: the encoder has no other way, and the format's
/// limit keeps it below 0.8 GB.
pub(super) fn write(spool: &Spool, path: &Path) -> Result<(), DataError> {
    let (w, h) = (spool.w(), spool.h());
    let mut rgb = Vec::new();
    spool.read_rows(0, 0, h, &mut rgb)?;
    let mut file = PendingFile::create(path)?;
    WebPEncoder::new_lossless(&mut file)
        .write_image(&rgb, side(w), side(h), ExtendedColorType::Rgb8)
        .map_err(|error| image_error(path, error))?;
    file.commit()
}
