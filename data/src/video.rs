//! Moving pictures: clips as APNG, which loses nothing and moves in any browser, and frames of
//! other people's videos through an installed ffmpeg.

use crate::image::MOST_PIXELS;
use crate::out::{self, Options};
use crate::pending::folder_of;
use crate::{DataError, Picture, Spool};
use ::image::AnimationDecoder as _;
use ::image::codecs::png::PngDecoder;
use ::image::{DynamicImage, ImageDecoder as _};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

/// The program, looked for where the system looks for programs.
const FFMPEG: &str = "ffmpeg";
/// Endings of the videos that a folder is searched for.
const ENDINGS: [&str; 7] = ["mp4", "webm", "mkv", "mov", "avi", "m4v", "mpg"];

/// Whether a name is that of a video.
pub(crate) fn is_video(path: &Path) -> bool {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&&*ending))
}

/// Writes a clip of two frames or more as APNG, five frames per second.
///
/// # Errors
///
/// [`DataError`] if there is one frame only, the name does not end in `.apng`, or the disk
/// refuses.
///
/// # Panics
///
/// If there is no frame, or their sizes differ.
pub fn write_clip(path: &Path, frames: &[Picture]) -> Result<(), DataError> {
    let [first, ..] = frames else {
        panic!("a clip of no frames")
    };
    let spool = Spool::create(folder_of(path), first.w(), first.h(), frames.len())?;
    for (index, frame) in frames.iter().enumerate() {
        assert_eq!(
            (frame.w(), frame.h()),
            (first.w(), first.h()),
            "sizes in one clip"
        );
        spool.paste(index, 0, 0, frame)?;
    }
    out::write(&spool, path, &Options::default())
}

/// Reads the frames of an APNG, or the one picture that any other file is.
///
/// # Errors
///
/// [`DataError`] if the file cannot be read or decoded, or has too many pixels for one picture.
pub fn read_clip(path: &Path) -> Result<Vec<Picture>, DataError> {
    let decode = |source| DataError::Decode {
        path: path.to_owned(),
        source,
    };
    let open = || {
        File::open(path)
            .map(BufReader::new)
            .map_err(|source| DataError::Read {
                path: path.to_owned(),
                source,
            })
    };
    let Ok(decoder) = PngDecoder::new(open()?) else {
        return Ok(vec![Picture::read(path)?]);
    };
    let (w, h) = decoder.dimensions();
    if u64::from(w) * u64::from(h) > MOST_PIXELS || !decoder.is_apng().map_err(decode)? {
        // Refuses what is too large, too.
        return Ok(vec![Picture::read(path)?]);
    }
    let frames = decoder.apng().map_err(decode)?.into_frames();
    let picture = |frame: Result<::image::Frame, _>| {
        let frame = DynamicImage::ImageRgba8(frame.map_err(decode)?.into_buffer());
        Ok(frame.into_rgb8().into())
    };
    frames.map(picture).collect()
}

/// What is taken of a video.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cut {
    /// Width and height of every frame in pixels: scaled until it is covered, and cut to it in
    /// the middle.
    pub(crate) size: (usize, usize),
    pub(crate) fps: u32,
    /// Where to begin, in seconds.
    pub(crate) start: f64,
    /// The most frames.
    pub(crate) frames: Option<usize>,
}

/// Gives the frames of a video one after another, as ffmpeg decodes them.
///
/// # Errors
///
/// [`DataError`] if ffmpeg is missing or fails, or `take` does.
pub(crate) fn each_frame(
    path: &Path,
    cut: Cut,
    take: &mut dyn FnMut(Picture) -> Result<(), DataError>,
) -> Result<(), DataError> {
    each_frame_by(FFMPEG, path, cut, take)
}

fn each_frame_by(
    program: &str,
    path: &Path,
    cut: Cut,
    take: &mut dyn FnMut(Picture) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let read = |source| DataError::Read {
        path: path.to_owned(),
        source,
    };
    // ffmpeg's own words for a missing file are longer.
    File::open(path).map_err(read)?;
    let mut child = command(program, path, cut)
        .spawn()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DataError::NoFfmpegToRead {
                path: path.to_owned(),
                source,
            },
            _ => read(source),
        })?;
    // Read beside the frames: with a full pipe ffmpeg would wait for us, and we for it.
    let mut stderr = child.stderr.take().expect("stderr was asked for");
    let messages = thread::spawn(move || {
        let mut bytes = Vec::new();
        // A message cut short is better than none.
        let _ = stderr.read_to_end(&mut bytes);
        bytes
    });
    let taken = take_frames(&mut child, cut.size, take, &read);
    if taken.is_err() {
        // Nobody reads what it still has to say.
        let _ = child.kill();
    }
    let ended = child.wait().map_err(read)?;
    let messages = messages.join().unwrap_or_default();
    taken?;
    if !ended.success() {
        return Err(DataError::Undecodable {
            path: path.to_owned(),
            reason: out::last_line(&messages),
        });
    }
    Ok(())
}

fn take_frames(
    child: &mut Child,
    (w, h): (usize, usize),
    take: &mut dyn FnMut(Picture) -> Result<(), DataError>,
    read: &dyn Fn(io::Error) -> DataError,
) -> Result<(), DataError> {
    let mut pixels = child.stdout.take().expect("stdout was asked for");
    loop {
        let mut rgb = vec![0; 3 * w * h];
        match pixels.read_exact(&mut rgb) {
            Ok(()) => take(Picture::new(w, h, rgb))?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(read(error)),
        }
    }
}

fn command(program: &str, path: &Path, cut: Cut) -> Command {
    let Cut {
        size: (w, h),
        fps,
        start,
        frames,
    } = cut;
    let mut input = OsString::from("file:");
    input.push(path);
    let filter = format!(
        "fps={fps},scale={w}:{h}:force_original_aspect_ratio=increase:flags=lanczos,crop={w}:{h}"
    );
    let mut command = Command::new(program);
    command
        .args(["-hide_banner", "-loglevel", "error", "-nostdin"])
        // Before the input: ffmpeg then jumps there instead of decoding all before it.
        .args(["-ss", &format!("{start:.3}")])
        .arg("-i")
        .arg(input)
        .args(["-an", "-sn", "-vf", &filter]);
    if let Some(frames) = frames {
        command.args(["-frames:v", &frames.to_string()]);
    }
    command
        .args("-f rawvideo -pix_fmt rgb24 pipe:1".split(' '))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const CUT: Cut = Cut {
        size: (6, 4),
        fps: 5,
        start: 1.5,
        frames: Some(3),
    };

    /// A program that does what `script` says. Another process writes it: while this one has it
    /// open, a test beside this one may start a child that has it open too, and then it cannot
    /// be run.
    #[cfg(unix)]
    fn program(folder: &Path, script: &str) -> String {
        let path = folder.join("program");
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod +x \"$0\"";
        let done = Command::new("sh")
            .args(["-c", write])
            .arg(&path)
            .arg(script)
            .status();
        assert!(done.unwrap().success());
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn clips_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let frames: Vec<Picture> = (0..5)
            .map(|i| Picture::filled(7, 5, [i, 9, 250 - i]))
            .collect();
        let path = folder.path().join("a.apng");
        write_clip(&path, &frames).unwrap();
        assert_eq!(read_clip(&path).unwrap(), frames);
        let still = folder.path().join("b.tif");
        frames[3].write(&still).unwrap();
        assert_eq!(read_clip(&still).unwrap(), frames[3..4]);
        let error = write_clip(&path, &frames[..1]).unwrap_err();
        assert!(matches!(error, DataError::FrameCount { .. }), "{error:?}");
        fs::write(&path, b"\x89PNG\r\n\x1a\n and no more").unwrap();
        assert!(read_clip(&path).is_err());
        assert!(matches!(
            read_clip(&folder.path().join("no")),
            Err(DataError::Read { .. })
        ));
    }

    #[cfg(unix)]
    #[test]
    fn frames_arrive_whole_and_the_cut_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        // Two frames and a half.
        fs::write(&path, (0..180).collect::<Vec<u8>>()).unwrap();
        let script = "for word; do case $word in file:*) cat \"${word#file:}\";; esac; done; \
                      echo \"$@\" > \"$0.args\"";
        let program = program(folder.path(), script);
        let mut frames = Vec::new();
        let mut take = |frame: Picture| {
            frames.push(frame);
            Ok(())
        };
        each_frame_by(&program, &path, CUT, &mut take).unwrap();
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[1].pixel(0, 0), [72, 73, 74]);
        let args = fs::read_to_string(format!("{program}.args")).unwrap();
        for part in ["-ss 1.500 -i", "fps=5,scale=6:4", "crop=6:4", "-frames:v 3"] {
            assert!(args.contains(part), "{args} lacks {part}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn failures_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        fs::write(&path, "no film").unwrap();
        let mut take = |_| Ok(());
        let fail = program(
            folder.path(),
            "echo 'some warning' >&2; echo 'no moov atom' >&2; exit 1",
        );
        let error = each_frame_by(&fail, &path, CUT, &mut take).unwrap_err();
        let text = error.to_string();
        assert!(text.ends_with("film.mp4: no moov atom"), "{text}");
        let error = each_frame_by("no-such-program", &path, CUT, &mut take).unwrap_err();
        assert!(
            matches!(error, DataError::NoFfmpegToRead { .. }),
            "{error:?}"
        );
        let error = each_frame_by(&fail, &folder.path().join("no"), CUT, &mut take).unwrap_err();
        assert!(matches!(error, DataError::Read { .. }), "{error:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_reader_that_gives_up_ends_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        fs::write(&path, "film").unwrap();
        let program = program(folder.path(), "cat /dev/zero");
        let mut take = |_| {
            Err(DataError::NotAPicture {
                path: "stop".into(),
            })
        };
        let error = each_frame_by(&program, &path, CUT, &mut take).unwrap_err();
        assert!(matches!(error, DataError::NotAPicture { .. }), "{error:?}");
    }

    /// Only where it is installed: nothing else here needs it.
    #[test]
    fn ffmpeg_itself_gives_five_frames_a_second() {
        if Command::new(FFMPEG).arg("-version").output().is_err() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        let spool = Spool::create(folder.path(), 32, 16, 20).unwrap();
        for index in 0..20 {
            let color = if index < 10 {
                [220, 20, 20]
            } else {
                [20, 20, 220]
            };
            spool
                .paste(index, 0, 0, &Picture::filled(32, 16, color))
                .unwrap();
        }
        let options = Options {
            fps: 10.try_into().unwrap(),
            ..Options::default()
        };
        out::write(&spool, &path, &options).unwrap();
        let mut frames = Vec::new();
        let cut = Cut {
            size: (8, 8),
            frames: None,
            start: 0.0,
            ..CUT
        };
        each_frame(&path, cut, &mut |frame| {
            frames.push(frame);
            Ok(())
        })
        .unwrap();
        assert!((9..=11).contains(&frames.len()), "{}", frames.len());
        assert!(frames[0].pixel(4, 4)[0] > 150 && frames[8].pixel(4, 4)[2] > 150);
    }
}
