//! Text as CLIP's tokenizer wants it: repaired, HTML unescaped twice, one space between words, lower
//! case. Every step follows what OpenCLIP calls for it, odd cases included.

use std::borrow::Cow;
use std::sync::LazyLock;

use plsfix::{TextFixerConfig, fix_text};
use regex::{Captures, Regex};

/// Cleans a text.
pub(super) fn clean(text: &str) -> String {
    let text = unescape(&unescape(&repair(text))).into_owned();
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

/// Colors and other commands to a terminal.
static TERMINAL: LazyLock<Regex> = LazyLock::new(|| regex(r"\x1b\[[\d;]*[A-Za-z]"));

/// Repairs text that was decoded with another encoding than it was encoded with, ligatures, wide
/// letters, curly quotes and control characters, as ftfy does.
///
/// Entities are left alone from the first line that holds a `<`, for that is HTML. `plsfix`, which
/// does the work, lacks this rule, terminal commands, and entities of impossible characters.
fn repair(text: &str) -> String {
    let text = TERMINAL.replace_all(text, "");
    let config = TextFixerConfig::default();
    let mut is_html = false;
    let mut repaired = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        is_html |= line.contains('<');
        if !is_html {
            let line = NUMERIC.replace_all(line, |captures: &Captures| number(captures));
            repaired += &fix_text(&line, Some(&config));
        } else if let Some(unused) = unused_sign(line) {
            let hidden = fix_text(&line.replace('&', unused), Some(&config));
            repaired += &hidden.replace(unused, "&");
        } else {
            repaired += &fix_text(line, Some(&config));
        }
    }
    repaired
}

/// A sign that repairing leaves alone and the line does not hold.
fn unused_sign(line: &str) -> Option<&'static str> {
    let signs = ["^", "~", "|", "%", "$", "#", "*", "+", "="];
    signs.into_iter().find(|sign| !line.contains(sign))
}

/// A numeric entity that ends properly.
static NUMERIC: LazyLock<Regex> =
    LazyLock::new(|| regex(r"&#(?:([0-9]{1,24})|[xX]([0-9A-Fa-f]{1,23}));"));

/// Everything that HTML5 may take for an entity.
static ENTITY: LazyLock<Regex> =
    LazyLock::new(|| regex(r"&(?:#([0-9]+);?|#[xX]([0-9a-fA-F]+);?|([^\t\n\x0c <&#;]{1,32};?))"));

/// Entities that need no semicolon, by HTML5, for old times' sake.
const LEGACY: &str = "AElig AMP Aacute Acirc Agrave Aring Atilde Auml COPY Ccedil ETH Eacute Ecirc \
    Egrave Euml GT Iacute Icirc Igrave Iuml LT Ntilde Oacute Ocirc Ograve Oslash Otilde Ouml QUOT \
    REG THORN Uacute Ucirc Ugrave Uuml Yacute aacute acirc acute aelig agrave amp aring atilde auml \
    brvbar ccedil cedil cent copy curren deg divide eacute ecirc egrave eth euml frac12 frac14 \
    frac34 gt iacute icirc iexcl igrave iquest iuml laquo lt macr micro middot nbsp not ntilde \
    oacute ocirc ograve ordf ordm oslash otilde ouml para plusmn pound quot raquo reg sect shy sup1 \
    sup2 sup3 szlig thorn times uacute ucirc ugrave uml uuml yacute yen yuml";

/// What the numbers 128 to 159 stand for, by HTML5: the characters of Windows.
const WINDOWS: &str = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";

/// Replaces entities by what they stand for, by the rules of HTML5.
fn unescape(text: &str) -> Cow<'_, str> {
    ENTITY.replace_all(text, |captures: &Captures| match captures.get(3) {
        None => number(captures),
        Some(name) => named(name.as_str()),
    })
}

/// The character of a decimal number (group 1) or a hexadecimal one (group 2).
fn number(captures: &Captures) -> String {
    let (digits, radix) = match captures.get(1) {
        Some(digits) => (digits, 10),
        None => (captures.get(2).expect("one of two groups matched"), 16),
    };
    // A number too long for the type is beyond the last character, too.
    let number = u32::from_str_radix(digits.as_str(), radix).unwrap_or(u32::MAX);
    match number {
        0x80..=0x9f => WINDOWS
            .chars()
            .skip(number as usize - 0x80)
            .take(1)
            .collect(),
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0xfdd0..=0xfdef => String::new(),
        _ => match char::from_u32(number) {
            Some('\0') | None => char::REPLACEMENT_CHARACTER.into(),
            Some(_) if number & 0xfffe == 0xfffe => String::new(),
            Some(character) => character.into(),
        },
    }
}

/// What a name with or without semicolon stands for, or its longest start that is an entity.
fn named(name: &str) -> String {
    let whole = format!("&{name}");
    if name.ends_with(';') {
        let decoded = html_escape::decode_html_entities(&whole);
        if decoded != whole {
            return decoded.into_owned();
        }
    }
    let starts = LEGACY
        .split_whitespace()
        .filter(|legacy| name.starts_with(legacy));
    match starts.max_by_key(|legacy| legacy.len()) {
        None => whole,
        Some(legacy) => {
            let entity = format!("&{legacy};");
            let decoded = html_escape::decode_html_entities(&entity);
            format!("{decoded}{}", &name[legacy.len()..])
        }
    }
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("patterns are constants, tried by tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            assert_eq!(clean(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn entities_are_taken_as_browsers_take_them() {
        check(&[
            ("&amp;lt;Tag&amp;gt;", "<tag>"),
            ("&lt &copy;x &copyx &notit; &notin;", "< ©x ©x ¬it; ∉"),
            ("&#65;&#x42 &#128512; &#0;", "ab 😀 \u{fffd}"),
            ("&#x80;&#150;&#x99", "€–™"),
            ("a&#1;b&#xfffe;c&#127;d", "abcd"),
            (
                "&#xD800; &#x110000; &#99999999999999999999",
                "\u{fffd} \u{fffd} \u{fffd}",
            ),
            ("&foo; &; &# &#x; & &amp", "&foo; &; &# &#x; & &"),
            ("&NotEqualTilde; &ampamp; &quot&quot;", "≂̸ & \"\""),
        ]);
    }

    #[test]
    fn text_is_repaired_but_html_keeps_its_entities_for_later() {
        check(&[
            ("tÃ©tÃ© lâ€™eau", "tété l'eau"),
            ("&rsquo;", "'"),
            ("<b> &rsquo;", "<b> ’"),
            (
                "&rsquo; first\n< &rsquo;\n&rsquo; last",
                "' first < ’ ’ last",
            ),
            ("\u{1b}[1;31mred\u{1b}[0m \u{1b}x", "red x"),
            ("ﬁne ＷＩＤＥ “curly” a\u{301}", "fine wide \"curly\" á"),
        ]);
    }

    #[test]
    fn white_space_and_case_are_leveled() {
        check(&[
            ("  A\t B\r\n\u{3000}C\u{a0}\u{85}", "a b c …"),
            ("ΟΔΟΣ İ", "οδος i\u{307}"),
            ("", ""),
        ]);
    }
}
