//! JPEG from rows on disk, and tiles of it.

use super::{Options, image_error};
use crate::DataError;
use crate::image::side;
use crate::pending::PendingFile;
use crate::spool::Spool;
use ::image::codecs::jpeg::JpegEncoder;
use ::image::{ExtendedColorType, GenericImageView, ImageEncoder as _, ImageResult, Rgb};
use std::cell::RefCell;
use std::path::Path;

/// Rows of a block, the unit the encoder goes down by.
const BAND_ROWS: usize = 8;

/// The picture as one JPEG.
pub(super) fn write(spool: &Spool, path: &Path, options: &Options) -> Result<(), DataError> {
    let mut file = PendingFile::create(path)?;
    let view = View {
        spool,
        band: RefCell::new(Band::default()),
    };
    let encoded =
        JpegEncoder::new_with_quality(&mut file, options.jpeg_quality).encode_image(&view);
    if let Some(error) = view.band.into_inner().failure {
        return Err(error);
    }
    encoded.map_err(|error| image_error(path, error))?;
    file.commit()
}

/// A small picture as the bytes of a JPEG.
pub(super) fn encode(rgb: &[u8], w: usize, h: usize, quality: u8) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality).write_image(
        rgb,
        side(w),
        side(h),
        ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

/// The picture on disk, as the encoder wants to see it: pixel by pixel.
struct View<'a> {
    spool: &'a Spool,
    /// The rows the encoder is at. It looks at pixels through a shared reference.
    band: RefCell<Band>,
}

#[derive(Default)]
struct Band {
    /// Which band is in memory, counted from 1; 0 before the first.
    number: usize,
    rgb: Vec<u8>,
    /// A pixel cannot be refused: the picture goes on in black, and is thrown away at the end.
    failure: Option<DataError>,
}

impl Band {
    fn load(&mut self, spool: &Spool, number: usize) {
        self.number = number;
        let y = (number - 1) * BAND_ROWS;
        let rows = BAND_ROWS.min(spool.h() - y);
        if self.failure.is_none() {
            self.failure = spool.read_rows(0, y, rows, &mut self.rgb).err();
        }
        if self.failure.is_some() {
            self.rgb = vec![0; 3 * spool.w() * rows];
        }
    }
}

impl GenericImageView for View<'_> {
    type Pixel = Rgb<u8>;

    fn dimensions(&self) -> (u32, u32) {
        (side(self.spool.w()), side(self.spool.h()))
    }

    fn get_pixel(&self, x: u32, y: u32) -> Rgb<u8> {
        let (x, y) = (x as usize, y as usize);
        let mut band = self.band.borrow_mut();
        let number = y / BAND_ROWS + 1;
        if band.number != number {
            band.load(self.spool, number);
        }
        let start = 3 * (y % BAND_ROWS * self.spool.w() + x);
        Rgb([band.rgb[start], band.rgb[start + 1], band.rgb[start + 2]])
    }
}
