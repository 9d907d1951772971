//! Films that browsers show without another program: GIF and APNG.

use super::Options;
use crate::DataError;
use crate::image::{CHUNK_BYTES, add_description, png_error, side};
use crate::pending::PendingFile;
use crate::spool::Spool;
use std::io::Write as _;
use std::path::Path;

/// Of 30, the higher the faster; its authors call 10 a good compromise.
const PALETTE_SPEED: i32 = 10;

/// The film as a GIF without end, each frame in its own 256 colors.
pub(super) fn write_gif(spool: &Spool, path: &Path, options: &Options) -> Result<(), DataError> {
    let failed = |error| match error {
        gif::EncodingError::Io(source) => DataError::Write {
            path: path.to_owned(),
            source,
        },
        error => DataError::Encode {
            path: path.to_owned(),
            source: error.into(),
        },
    };
    let [w, h] =
        [spool.w(), spool.h()].map(|side| u16::try_from(side).expect("the size was checked"));
    let mut file = PendingFile::create(path)?;
    let mut encoder = gif::Encoder::new(&mut file, w, h, &[]).map_err(failed)?;
    encoder.set_repeat(gif::Repeat::Infinite).map_err(failed)?;
    let mut rgb = Vec::new();
    for index in 0..spool.frames() {
        spool.read_rows(index, 0, spool.h(), &mut rgb)?;
        let mut frame = gif::Frame::from_rgb_speed(w, h, &rgb, PALETTE_SPEED);
        frame.delay = delay(index, options.fps.get());
        encoder.write_frame(&frame).map_err(failed)?;
    }
    encoder.into_inner().map_err(failed)?;
    file.commit()
}

/// How long a GIF shows a frame, in hundredths of a second. They are rounded so that the film
/// as a whole keeps its length.
fn delay(index: usize, fps: u16) -> u16 {
    let until = |frames: usize| (100 * frames + usize::from(fps) / 2) / usize::from(fps);
    u16::try_from(until(index + 1) - until(index)).expect("at most 100 at one frame a second")
}

/// The film as an APNG without end.
pub(super) fn write_apng(spool: &Spool, path: &Path, options: &Options) -> Result<(), DataError> {
    let failed = |error| png_error(path, error);
    let n_frames = u32::try_from(spool.frames()).map_err(|error| DataError::Encode {
        path: path.to_owned(),
        source: error.into(),
    })?;
    let mut file = PendingFile::create(path)?;
    let mut encoder = png::Encoder::new(&mut file, side(spool.w()), side(spool.h()));
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_animated(n_frames, 0).map_err(failed)?;
    encoder
        .set_frame_delay(1, options.fps.get())
        .map_err(failed)?;
    add_description(&mut encoder, options.description.as_deref()).map_err(failed)?;
    let mut writer = encoder.write_header().map_err(failed)?;
    for frame in 0..spool.frames() {
        // A new one each time: it would predict the first row from the last of the frame before.
        let mut rows = writer
            .stream_writer_with_size(CHUNK_BYTES)
            .map_err(failed)?;
        spool.each_band(frame, |rgb| {
            rows.write_all(rgb).map_err(|source| DataError::Write {
                path: path.to_owned(),
                source,
            })
        })?;
        rows.finish().map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_add_up_to_the_length() {
        for (fps, first) in [(5, 20), (1, 100), (24, 4), (30, 3), (100, 1)] {
            assert_eq!(delay(0, fps), first, "{fps}");
            let second: u16 = (0..usize::from(fps)).map(|index| delay(index, fps)).sum();
            assert_eq!(second, 100, "{fps}");
        }
    }
}
