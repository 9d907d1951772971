//! How a picture was made, read back from its file.

use crate::DataError;
use crate::image::DESCRIPTION;
use ::image::error::DecodingError;
use ::image::{ImageError, ImageFormat};
use ::tiff::TiffResult;
use ::tiff::tags::{Tag, Type, ValueBuffer};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

/// What a PNG, an APNG or a TIFF says about how it was made; nothing from other files.
///
/// # Errors
///
/// [`DataError`] if the file cannot be read or is damaged.
pub fn description(path: &Path) -> Result<Option<String>, DataError> {
    let failed = |source| DataError::Read {
        path: path.to_owned(),
        source,
    };
    let decode =
        |format: ImageFormat, error: Box<dyn std::error::Error + Send + Sync>| DataError::Decode {
            path: path.to_owned(),
            source: ImageError::Decoding(DecodingError::new(format.into(), error)),
        };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    match file.fill_buf().map_err(failed)? {
        [0x89, b'P', b'N', b'G', ..] => {
            of_png(file).map_err(|error| decode(ImageFormat::Png, error.into()))
        }
        // Two orders of bytes; 42 is the format, 43 its form with longer offsets.
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => {
            of_tiff(file).map_err(|error| decode(ImageFormat::Tiff, error.into()))
        }
        _ => Ok(None),
    }
}

/// The text by its keyword, in any of the three ways PNG has, up to where the pixels begin.
fn of_png(file: BufReader<File>) -> Result<Option<String>, png::DecodingError> {
    let reader = png::Decoder::new(file).read_info()?;
    let info = reader.info();
    let is_it = |keyword: &str| keyword == DESCRIPTION;
    if let Some(text) = info.utf8_text.iter().find(|text| is_it(&text.keyword)) {
        return text.get_text().map(Some);
    }
    let mut plain = info.uncompressed_latin1_text.iter();
    if let Some(text) = plain.find(|text| is_it(&text.keyword)) {
        return Ok(Some(text.text.clone()));
    }
    let mut compressed = info.compressed_latin1_text.iter();
    let text = compressed.find(|text| is_it(&text.keyword));
    text.map(png::text_metadata::ZTXtChunk::get_text)
        .transpose()
}

/// The tag of the first directory. Its bytes and not its text: the crate reads short text as
/// ASCII only.
fn of_tiff(file: BufReader<File>) -> TiffResult<Option<String>> {
    let mut decoder = ::tiff::decoder::Decoder::new(file)?;
    let mut value = ValueBuffer::empty(Type::ASCII);
    let found = decoder
        .image_ifd()
        .find_tag_buf(Tag::ImageDescription, &mut value)?;
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0);
        String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
    };
    Ok(found.map(|_| text(value.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{smooth, spool_of};
    use super::super::{Options, write};
    use super::*;

    #[test]
    fn what_was_written_about_a_picture_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let still = spool_of(folder.path(), &[smooth(20, 10, 0)]);
        let film = spool_of(folder.path(), &[smooth(20, 10, 0), smooth(20, 10, 9)]);
        // Short enough to lie in the tag of a TIFF itself, not ASCII, and in several lines.
        for text in ["a", "", "Wüste", "prompt: a desert, 沙漠\nseed: 7\n"] {
            let options = Options {
                description: Some(text.to_owned()),
                ..Options::default()
            };
            for (name, spool) in [("a.png", &still), ("a.tif", &still), ("a.apng", &film)] {
                let path = folder.path().join(name);
                write(spool, &path, &options).unwrap();
                let back = description(&path).unwrap();
                assert_eq!(back.as_deref(), Some(text), "{name}");
                let bytes = std::fs::read(&path).unwrap();
                let has = |part: &[u8]| bytes.windows(part.len()).any(|at| at == part);
                // The keyword other programs look for.
                assert!(name == "a.tif" || has(b"iTXtDescription\0"), "{name}");
            }
        }
    }

    #[test]
    fn other_files_say_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let still = spool_of(folder.path(), &[smooth(20, 10, 0)]);
        for name in ["a.png", "a.tif", "a.jpg", "a.webp"] {
            let path = folder.path().join(name);
            write(&still, &path, &Options::default()).unwrap();
            assert_eq!(description(&path).unwrap(), None, "{name}");
        }
        let check = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            description(&path)
        };
        assert_eq!(check("text", b"no picture").unwrap(), None);
        assert_eq!(check("empty", b"").unwrap(), None);
        for (name, head) in [
            ("b.png", b"\x89PNG\r\n\x1a\n--"),
            ("b.tif", b"II*\0--------"[..10].try_into().unwrap()),
        ] {
            let error = check(name, head).unwrap_err();
            assert!(matches!(error, DataError::Decode { .. }), "{error:?}");
        }
        let missing = description(&folder.path().join("none.png")).unwrap_err();
        assert!(matches!(missing, DataError::Read { .. }), "{missing:?}");
    }
}
