//! Numbers of bytes, as people write them.

use std::fmt;
use std::str::FromStr;

use indicatif::BinaryBytes;

/// A number of bytes, written `6GB`, `512MiB` or plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size such as 6GB or 512MiB");
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim().to_ascii_lowercase();
        let power = |letter: &str| "kmgt".find(letter).map(|at| at as i32 + 1);
        let factor = match unit.as_str() {
            "" | "b" => 1.0,
            unit => {
                let (base, letter) = match (unit.strip_suffix("ib"), unit.strip_suffix('b')) {
                    (Some(letter), _) => (1024.0_f64, letter),
                    (None, Some(letter)) => (1000.0, letter),
                    (None, None) => (1000.0, unit),
                };
                let letter = Some(letter).filter(|letter| letter.len() == 1);
                base.powi(letter.and_then(power).ok_or_else(wrong)?)
            }
        };
        Ok(Self((number * factor) as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BinaryBytes(self.0).fmt(f)
    }
}
