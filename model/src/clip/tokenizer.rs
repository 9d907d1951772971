//! Text to token ids, as OpenCLIP does it: byte-level byte pair encoding.

use std::collections::HashMap;
use std::fmt;

use burn::tensor::{Device, Int, Tensor, TensorData};
use regex::Regex;

use super::clean::clean;

/// Ids of one text, padding included.
pub const CONTEXT_LENGTH: usize = 77;

/// The merges in the order they were learned, as pairs of ids of 16 bits, little-endian.
const MERGES: &[u8] = include_bytes!("vocabulary/merges.bin");
/// Ids of bytes come first, then those of bytes at the end of a word, then those of merges.
const N_BYTES: u16 = 256;
/// Ids of the marks around a text, after all merges, with how they are written.
const MARKS: [(u16, &str); 2] = [(49406, "<start_of_text>"), (49407, "<end_of_text>")];

/// A mark, a contraction, letters, one digit, or anything else between spaces.
const WORD: &str = concat!(
    r"(?i:<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d)",
    r"|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
);

/// Cuts text into the tokens CLIP was trained on.
///
/// Making one reads the whole vocabulary; keep it.
pub struct ClipTokenizer {
    merges: HashMap<(u16, u16), u16>,
    bytes: [u16; N_BYTES as usize],
    word: Regex,
}

impl ClipTokenizer {
    /// Makes the tokenizer with the vocabulary of the released weights.
    pub fn new() -> Self {
        let id = |pair: &[u8], at| u16::from_le_bytes([pair[at], pair[at + 1]]);
        let pairs = MERGES
            .chunks_exact(4)
            .map(|pair| (id(pair, 0), id(pair, 2)));
        Self {
            merges: pairs.zip(2 * N_BYTES..).collect(),
            bytes: byte_ids(),
            word: Regex::new(WORD).expect("a constant, tried by tests"),
        }
    }

    /// Gives the ids of a text between those of start and end, padded with 0. Of a long text the
    /// first 75 tokens are kept.
    pub fn tokenize(&self, text: &str) -> [i32; CONTEXT_LENGTH] {
        let [(start, _), (end, _)] = MARKS;
        let text = clean(text);
        let tokens = self
            .word
            .find_iter(&text)
            .flat_map(|word| self.word(word.as_str()));
        let tokens = tokens.take(CONTEXT_LENGTH - 2);
        let tokens = std::iter::once(start).chain(tokens).chain([end]);
        let mut ids = [0; CONTEXT_LENGTH];
        for (id, token) in ids.iter_mut().zip(tokens) {
            *id = token.into();
        }
        ids
    }

    /// Merges the bytes of a word as long as a neighboring pair has a merge, the first learned first.
    fn word(&self, word: &str) -> Vec<u16> {
        if let Some((id, _)) = MARKS.iter().find(|(_, mark)| *mark == word) {
            return vec![*id];
        }
        let mut tokens: Vec<u16> = word
            .bytes()
            .map(|byte| self.bytes[usize::from(byte)])
            .collect();
        if let Some(last) = tokens.last_mut() {
            *last += N_BYTES;
        }
        let merge = |pair: &[u16]| self.merges.get(&(pair[0], pair[1])).copied();
        while let Some(merged) = tokens.windows(2).filter_map(merge).min() {
            let mut rest = tokens.as_slice();
            let mut shorter = Vec::with_capacity(tokens.len());
            while let Some(&first) = rest.first() {
                let fits = rest.len() > 1 && merge(rest) == Some(merged);
                shorter.push(if fits { merged } else { first });
                rest = &rest[if fits { 2 } else { 1 }..];
            }
            tokens = shorter;
        }
        tokens
    }

    /// Gives the ids of some texts, `[b, 77]`.
    pub fn batch(&self, texts: &[impl AsRef<str>], device: &Device) -> Tensor<2, Int> {
        let ids: Vec<i32> = texts
            .iter()
            .flat_map(|text| self.tokenize(text.as_ref()))
            .collect();
        Tensor::from_data(TensorData::new(ids, [texts.len(), CONTEXT_LENGTH]), device)
    }
}

/// The id of each byte: those with a visible character in Latin-1 come first.
fn byte_ids() -> [u16; N_BYTES as usize] {
    let is_visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let (visible, hidden): (Vec<u8>, Vec<u8>) = (0..=u8::MAX).partition(is_visible);
    let mut ids = [0; N_BYTES as usize];
    for (id, byte) in (0..).zip(visible.into_iter().chain(hidden)) {
        ids[usize::from(byte)] = id;
    }
    ids
}

impl Default for ClipTokenizer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ClipTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClipTokenizer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<i32> {
        let ids = ClipTokenizer::new().tokenize(text);
        // The last of them: a text may hold the mark of the end.
        let end = ids.iter().rposition(|&id| id == 49407).unwrap();
        assert_eq!(ids[0], 49406);
        assert!(ids[end + 1..].iter().all(|&id| id == 0));
        ids[1..end].to_vec()
    }

    #[test]
    fn an_empty_text_is_start_and_end() {
        assert!(tokens("").is_empty());
        assert!(tokens(" \t\n\u{a0}").is_empty());
    }

    #[test]
    fn a_long_text_keeps_its_start_and_the_end() {
        let ids = ClipTokenizer::new().tokenize(&"word ".repeat(200));
        assert!(ids[1..76].iter().all(|&id| id == ids[1]));
        assert_eq!(ids[76], 49407);
        assert_ne!(ids[1], 49407);
    }

    #[test]
    fn marks_written_out_are_marks() {
        assert_eq!(tokens("a <START_of_text>"), [320, 49406]);
        assert_eq!(tokens("<end_of_text>"), [49407]);
    }

    #[test]
    fn contractions_are_cut_off_without_regard_to_case() {
        assert_eq!(tokens("IT'S").len(), 2);
        // The long s is an s to whoever ignores case.
        assert_eq!(tokens("'\u{17f}"), [6, 129, 379]);
    }

    #[test]
    fn a_batch_has_one_row_per_text() {
        let ids = ClipTokenizer::new().batch(&["a", ""], &Device::flex());
        assert_eq!(ids.dims(), [2, CONTEXT_LENGTH]);
        let ids: Vec<i32> = ids.into_data().try_into_vec_as().unwrap();
        assert_eq!(ids[..3], [49406, 320, 49407]);
        assert_eq!(ids[77..80], [49406, 49407, 0]);
    }
}
