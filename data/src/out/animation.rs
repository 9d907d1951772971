//! Films that browsers show without another program: GIF and APNG.

use super::Options;
use crate::DataError;
use crate::image::{add_description, png_error, side};
use crate::pending::PendingFile;
use crate::spool::Spool;
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
    // Whole frames: the crate's writer by rows makes a second still picture of each further one.
    let mut rgb = Vec::new();
    for frame in 0..spool.frames() {
        spool.read_rows(frame, 0, spool.h(), &mut rgb)?;
        writer.write_image_data(&rgb).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{names, smooth, spool_of};
    use super::*;
    use crate::Picture;
    use std::fs::File;
    use std::io::BufReader;
    use std::num::NonZeroU16;

    #[test]
    fn delays_add_up_to_the_length() {
        for (fps, first) in [(5, 20), (1, 100), (24, 4), (30, 3), (100, 1)] {
            assert_eq!(delay(0, fps), first, "{fps}");
            let second: u16 = (0..usize::from(fps)).map(|index| delay(index, fps)).sum();
            assert_eq!(second, 100, "{fps}");
        }
    }

    /// Frames and delays as the decoder of the crate gives them.
    fn read_gif(path: &Path) -> (Vec<Picture>, Vec<u16>) {
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(File::open(path).unwrap()).unwrap();
        assert_eq!(decoder.repeat(), gif::Repeat::Infinite);
        let (mut frames, mut delays) = (Vec::new(), Vec::new());
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            let rgb = frame
                .buffer
                .chunks(4)
                .flat_map(|rgba| [rgba[0], rgba[1], rgba[2]]);
            let (w, h) = (frame.width.into(), frame.height.into());
            frames.push(Picture::new(w, h, rgb.collect()));
            delays.push(frame.delay);
        }
        (frames, delays)
    }

    #[test]
    fn a_gif_plays_the_frames_at_their_rate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        // The first two have few colors and lose none.
        let tiles = |shift: usize| {
            let byte = |at: usize| ((at / 3 + at % 3 * 40 + shift) % 128) as u8;
            Picture::new(37, 21, (0..3 * 37 * 21).map(byte).collect())
        };
        let frames = [tiles(0), tiles(9), smooth(37, 21, 0)];
        let options = Options {
            fps: NonZeroU16::new(30).unwrap(),
            ..Options::default()
        };
        write_gif(&spool_of(folder.path(), &frames), &path, &options).unwrap();
        let (back, delays) = read_gif(&path);
        assert_eq!(back[..2], frames[..2]);
        assert!(
            back[2].psnr(&frames[2]) > 25.0,
            "{}",
            back[2].psnr(&frames[2])
        );
        assert_eq!((back.len(), delays), (3, vec![3, 4, 3]));
        assert_eq!(names(folder.path()), ["a.gif"]);
    }

    #[test]
    fn an_apng_plays_every_pixel_of_the_frames() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.apng");
        let frames = [
            smooth(300, 200, 0),
            smooth(300, 200, 5),
            smooth(300, 200, 77),
        ];
        write_apng(
            &spool_of(folder.path(), &frames),
            &path,
            &Options::default(),
        )
        .unwrap();
        let decoder = png::Decoder::new(BufReader::new(File::open(&path).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let control = *reader.info().animation_control().unwrap();
        assert_eq!((control.num_frames, control.num_plays), (3, 0));
        for frame in &frames {
            let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut rgb).unwrap();
            assert_eq!(Picture::new(300, 200, rgb), *frame);
            let delay = reader.info().frame_control().unwrap();
            assert_eq!((delay.delay_num, delay.delay_den), (1, 5));
        }
        assert!(reader.next_frame(&mut [0; 3 * 300 * 200]).is_err());
        assert_eq!(names(folder.path()), ["a.apng"]);
    }
}
