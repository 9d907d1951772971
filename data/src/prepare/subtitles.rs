//! Subtitles: what is said when, from SRT and VTT files.
//!
//! Own code: both formats are a line of times and the lines below it, and files in the wild keep
//! to little more than that.

use crate::DataError;
use std::fs;
use std::path::Path;

/// One subtitle.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cue {
    /// When it appears, in seconds.
    pub(super) start: f64,
    /// When it goes.
    pub(super) end: f64,
    /// What it says, in one line, without markup.
    pub(super) text: String,
}

/// Reads a file of subtitles. Bytes that are no UTF-8 are taken for the closest thing to it.
///
/// # Errors
///
/// [`DataError`] if the file cannot be read, has a line of times that makes no sense, or none.
pub(super) fn read(path: &Path) -> Result<Vec<Cue>, DataError> {
    let bytes = fs::read(path).map_err(|source| DataError::Read {
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let cues = parse(&text).map_err(|line| DataError::Line {
        path: path.to_owned(),
        line,
        source: "its times are not HH:MM:SS,mmm --> HH:MM:SS,mmm".into(),
    })?;
    if cues.is_empty() {
        return Err(DataError::NothingToPrepare {
            path: path.to_owned(),
            what: "subtitle",
        });
    }
    Ok(cues)
}

/// All subtitles of a text, or the number of the line that makes no sense.
fn parse(text: &str) -> Result<Vec<Cue>, usize> {
    let mut cues = Vec::new();
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    while let Some((index, line)) = lines.next() {
        // Numbers, names, headers and notes have no arrow.
        let Some((start, end)) = line.split_once("-->") else {
            continue;
        };
        // VTT has settings behind the times.
        let end = end.split_whitespace().next().unwrap_or_default();
        let times = seconds(start.trim()).zip(seconds(end));
        let (start, end) = times.filter(|(start, end)| start <= end).ok_or(index + 1)?;
        let said = lines
            .by_ref()
            .map(|(_, line)| line.trim())
            .take_while(|line| !line.is_empty());
        let said: Vec<String> = said.map(plain).collect();
        let text = said
            .join(" ")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        cues.push(Cue { start, end, text });
    }
    Ok(cues)
}

/// `HH:MM:SS,mmm`, with a point instead of the comma, or without the hours.
fn seconds(time: &str) -> Option<f64> {
    let time = time.replace(',', ".");
    let parts: Vec<&str> = time.split(':').collect();
    let ([.., minutes, seconds], 2..=3) = (parts.as_slice(), parts.len()) else {
        return None;
    };
    let hours = if parts.len() == 3 { parts[0] } else { "0" };
    let number = |text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|it| it.is_finite() && *it >= 0.0)
    };
    Some(3600.0 * number(hours)? + 60.0 * number(minutes)? + number(seconds)?)
}

/// A line without `<i>` and `{\an8}`.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut depth = 0_usize;
    for letter in line.chars() {
        match letter {
            '<' | '{' => depth += 1,
            '>' | '}' if depth > 0 => depth -= 1,
            _ if depth == 0 => text.push(letter),
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(start: f64, end: f64, text: &str) -> Cue {
        Cue {
            start,
            end,
            text: text.to_owned(),
        }
    }

    #[test]
    fn both_formats_give_the_same_cues() {
        let expected = [
            cue(1.5, 3.25, "Peppa jumps in the puddle"),
            cue(3723.0, 3724.0, "N/A"),
        ];
        let srt = "\u{feff}1\r\n00:00:01,500 --> 00:00:03,250\r\n<i>Peppa</i> jumps\r\nin the {\\an8}puddle\r\n\r\n\
                   2\r\n01:02:03,000 --> 01:02:04,000\r\nN/A\r\n";
        assert_eq!(parse(srt).unwrap(), expected);
        let vtt = "WEBVTT\n\nNOTE a note\n\nname\n00:01.500 --> 00:03.250 align:start line:0\n\
                   <v Narrator>Peppa jumps\nin the puddle\n\n01:02:03.000 --> 01:02:04.000\nN/A";
        assert_eq!(parse(vtt).unwrap(), expected);
    }

    #[test]
    fn times_that_make_no_sense_are_named_by_their_line() {
        for times in [
            "1 --> 2",
            "00:00:05,0 --> 00:00:04,0",
            "00:00:01 -->",
            "a:b:c --> 00:00:01,0",
        ] {
            assert_eq!(parse(&format!("1\n{times}\nword\n")), Err(2), "{times}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.srt");
        fs::write(&path, "no subtitles").unwrap();
        assert!(matches!(
            read(&path),
            Err(DataError::NothingToPrepare { .. })
        ));
    }
}
