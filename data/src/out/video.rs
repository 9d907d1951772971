//! Films through ffmpeg, which is not part of this program: it is started, and gets the pixels.

use super::{Options, PictureFormat};
use crate::DataError;
use crate::pending::{PendingFile, folder_of};
use crate::spool::Spool;
use std::ffi::OsString;
use std::io::{self, Read as _, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

/// The program, looked for where the system looks for programs.
pub(super) const FFMPEG: &str = "ffmpeg";

/// Quality of H.264 and VP9, where lower is better: no loss is seen at normal size.
const MP4: &str = "-c:v libx264 -crf 18 -movflags +faststart -f mp4";
const WEBM: &str = "-c:v libvpx-vp9 -crf 24 -b:v 0 -row-mt 1 -f webm";
const COLORS: &str = "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,\
                      setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709";

/// Finds out by a film of two small frames whether ffmpeg is there and has the encoder.
pub(super) fn check(path: &Path, format: PictureFormat, program: &str) -> Result<(), DataError> {
    let spool = Spool::create(folder_of(path), 16, 16, 2)?;
    let file = PendingFile::create(path)?;
    encode(&spool, &file, format, &Options::default(), program)
}

/// The film as MP4 or WebM. Both halve the resolution of color and need even sides: an odd
/// picture gets its last column or row twice.
pub(super) fn write(
    spool: &Spool,
    path: &Path,
    format: PictureFormat,
    options: &Options,
    program: &str,
) -> Result<(), DataError> {
    let file = PendingFile::create(path)?;
    encode(spool, &file, format, options, program)?;
    file.commit()
}

fn encode(
    spool: &Spool,
    file: &PendingFile,
    format: PictureFormat,
    options: &Options,
    program: &str,
) -> Result<(), DataError> {
    let path = file.path();
    let mut child = command(spool, file, format, options, program)
        .spawn()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => DataError::NoFfmpeg {
                path: path.to_owned(),
                source,
            },
            _ => DataError::Write {
                path: path.to_owned(),
                source,
            },
        })?;
    // Read beside the writing: with a full pipe ffmpeg would wait for us, and we for it.
    let stderr = child.stderr.take().expect("stderr was asked for");
    let messages = thread::spawn(move || {
        let mut bytes = Vec::new();
        // A message cut short is better than none.
        let _ = io::BufReader::new(stderr).read_to_end(&mut bytes);
        bytes
    });
    let fed = feed(spool, path, &mut child);
    if let Err(DataError::Read { .. }) = fed {
        // It waits for pixels that do not come, and would make a whole film of what it has.
        let _ = child.kill();
    }
    let ended = child.wait().map_err(|source| DataError::Write {
        path: path.to_owned(),
        source,
    })?;
    let messages = messages.join().unwrap_or_default();
    match fed {
        Err(error @ DataError::Read { .. }) => Err(error),
        // Where ffmpeg has given up, its own reason says more than our broken pipe.
        _ if !ended.success() => Err(DataError::Ffmpeg {
            path: path.to_owned(),
            reason: last_line(&messages),
        }),
        fed => fed,
    }
}

fn command(
    spool: &Spool,
    file: &PendingFile,
    format: PictureFormat,
    options: &Options,
    program: &str,
) -> Command {
    let [w, h] = [spool.w(), spool.h()].map(|side| side.next_multiple_of(2));
    let fps = options.fps;
    let codec = match format {
        PictureFormat::WebM => WEBM,
        _ => MP4,
    };
    let mut out = OsString::from("file:");
    out.push(file.temporary());
    let mut command = Command::new(program);
    command
        .args(["-hide_banner", "-loglevel", "error", "-y"])
        .args("-f rawvideo -pixel_format rgb24".split(' '))
        .args([
            "-video_size",
            &format!("{w}x{h}"),
            "-framerate",
            &fps.to_string(),
        ])
        .args(["-i", "pipe:0"])
        // The colors of HD films, and saying so: players guess them by the size else.
        .args(["-vf", COLORS])
        .args(codec.split(' '))
        .arg(out)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Writes all frames to ffmpeg, at even size, and closes the pipe.
fn feed(spool: &Spool, path: &Path, child: &mut Child) -> Result<(), DataError> {
    let failed = |source| DataError::Write {
        path: path.to_owned(),
        source,
    };
    let mut pipe = child.stdin.take().expect("stdin was asked for");
    let (row_bytes, h) = (3 * spool.w(), spool.h());
    let mut even = Vec::new();
    for frame in 0..spool.frames() {
        let mut left = h;
        spool.each_band(frame, |rgb| {
            even.clear();
            let rows = rgb.chunks_exact(row_bytes);
            left -= rows.len();
            // The last row of an odd frame comes twice.
            let again = if left == 0 { h % 2 } else { 0 };
            let last = rgb.chunks_exact(row_bytes).next_back().into_iter();
            for row in rows.chain(last.cycle().take(again)) {
                even.extend_from_slice(row);
                if !spool.w().is_multiple_of(2) {
                    even.extend_from_slice(&row[row_bytes - 3..]);
                }
            }
            pipe.write_all(&even).map_err(failed)
        })?;
    }
    pipe.flush().map_err(failed)
}

/// The last line that a program printed.
pub(crate) fn last_line(messages: &[u8]) -> String {
    let messages = String::from_utf8_lossy(messages);
    let line = messages.lines().rfind(|line| !line.trim().is_empty());
    line.unwrap_or("it does not say why").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Picture;
    use std::fs;
    use std::path::PathBuf;

    fn noise(w: usize, h: usize, seed: usize) -> Picture {
        let byte = |index: usize| ((index + seed).wrapping_mul(0x9e37_79b9) >> 13) as u8;
        Picture::new(w, h, (0..3 * w * h).map(byte).collect())
    }

    fn film(folder: &Path, frames: &[Picture]) -> Spool {
        let spool = Spool::create(folder, frames[0].w(), frames[0].h(), frames.len()).unwrap();
        for (frame, picture) in frames.iter().enumerate() {
            spool.paste(frame, 0, 0, picture).unwrap();
        }
        spool
    }

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

    fn names(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn without_ffmpeg_other_ways_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let spool = film(folder.path(), &[noise(4, 4, 0), noise(4, 4, 1)]);
        let path = folder.path().join("a.mp4");
        let none = "no-such-program";
        for error in [
            check(&path, PictureFormat::Mp4, none).unwrap_err(),
            write(&spool, &path, PictureFormat::Mp4, &Options::default(), none).unwrap_err(),
        ] {
            assert!(matches!(error, DataError::NoFfmpeg { .. }), "{error:?}");
            let text = error.to_string();
            assert!(
                text.contains("ffmpeg") && text.contains(".gif, .apng or a folder"),
                "{text}"
            );
        }
        assert!(names(folder.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn frames_arrive_whole_and_even() {
        let folder = tempfile::tempdir().unwrap();
        let tools = tempfile::tempdir().unwrap();
        let copy = "for last; do :; done; echo \"$@\" >&2; cat > \"${last#file:}\"";
        let program = program(tools.path(), copy);
        let path = folder.path().join("a.webm");
        // Over a megabyte, so that a frame comes in several bands.
        for (w, h) in [(901, 601), (4, 5), (5, 4), (6, 2)] {
            let frames = [noise(w, h, 0), noise(w, h, 7)];
            let spool = film(folder.path(), &frames);
            let options = Options::default();
            write(&spool, &path, PictureFormat::WebM, &options, &program).unwrap();
            let bytes = fs::read(&path).unwrap();
            let (even_w, even_h) = (w + w % 2, h + h % 2);
            let mut sent = bytes.chunks_exact(3 * even_w * even_h);
            assert_eq!((sent.len(), sent.remainder().len()), (2, 0), "{w}x{h}");
            for frame in &frames {
                let sent = Picture::new(even_w, even_h, sent.next().unwrap().to_vec());
                assert_eq!(sent.crop(0, 0, w, h), *frame, "{w}x{h}");
                assert_eq!(
                    sent.pixel(even_w - 1, even_h - 1),
                    frame.pixel(w - 1, h - 1)
                );
                assert_eq!(sent.pixel(0, even_h - 1), frame.pixel(0, h - 1));
            }
        }
        assert_eq!(names(folder.path()), [path]);
    }

    #[cfg(unix)]
    #[test]
    fn the_last_words_of_ffmpeg_are_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let tools = tempfile::tempdir().unwrap();
        // It reads nothing, and says more than a pipe holds before it gives up.
        let fail = "i=0; while [ $i -lt 9000 ]; do echo 'some warning' >&2; i=$((i+1)); done; \
                    echo 'Unknown encoder' >&2; echo >&2; exit 3";
        let program = program(tools.path(), fail);
        let spool = film(folder.path(), &[noise(300, 300, 0), noise(300, 300, 1)]);
        let path = folder.path().join("a.mp4");
        let options = Options::default();
        let error = write(&spool, &path, PictureFormat::Mp4, &options, &program).unwrap_err();
        let DataError::Ffmpeg { reason, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(reason, "Unknown encoder");
        assert!(names(folder.path()).is_empty());
    }

    /// Only where it is installed: nothing else here needs it.
    #[test]
    fn ffmpeg_itself_makes_films() {
        if Command::new(FFMPEG).arg("-version").output().is_err() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let frames = [[200, 30, 30], [30, 200, 30]].map(|color| Picture::filled(33, 17, color));
        let spool = film(folder.path(), &frames);
        for (name, format) in [
            ("a.mp4", PictureFormat::Mp4),
            ("a.webm", PictureFormat::WebM),
        ] {
            let path = folder.path().join(name);
            check(&path, format, FFMPEG).unwrap();
            write(&spool, &path, format, &Options::default(), FFMPEG).unwrap();
            let decoded = Command::new(FFMPEG)
                .args(["-loglevel", "error", "-i"])
                .arg(&path)
                .args("-f rawvideo -pix_fmt rgb24 pipe:1".split(' '))
                .output()
                .unwrap();
            let mut back = decoded.stdout.chunks_exact(3 * 34 * 18);
            assert_eq!(back.len(), 2, "{name}");
            for frame in &frames {
                let back = Picture::new(34, 18, back.next().unwrap().to_vec());
                let psnr = back.crop(0, 0, 33, 17).psnr(frame);
                assert!(psnr > 30.0, "{name}: {psnr}");
            }
        }
    }
}
