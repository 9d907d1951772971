//! Attributes as captions, and captions as attributes.
//!
//! The grammar, with what is absent left out:
//!
//! ```text
//! caption = SKY "sky" [with AIR] "over" LAND [and LAKE] ["behind trees"]
//!         | LAND [and LAKE] "under a" SKY "sky" [with AIR] [", trees in front"]
//!         | LAKE "below" LAND [and "trees"], [AIR,] "a" SKY "sky"
//! AIR     = clouds [drifting left | right], the [setting | rising] sun | moon
//! ```
//!
//! Parsing takes the words in any order and fails on one it does not know, so that a prompt is
//! never half understood.

use super::attributes::{Attributes, Clouds, Land, Sky, Sun, Trees, Water};
use std::fmt;
use std::str::FromStr;

/// Why a text is not the caption of a synthetic landscape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptionError {
    /// A word that no caption has.
    #[error("captions of synthetic landscapes do not have the word '{word}'")]
    UnknownWord {
        /// The word, in lower case.
        word: String,
    },
    /// Two words that exclude each other.
    #[error("'{word}' does not go with what the caption says before")]
    Contradiction {
        /// The later word.
        word: String,
    },
    /// Something every caption tells is not told.
    #[error("the caption does not tell the {what}")]
    Missing {
        /// What is not told.
        what: &'static str,
    },
}

impl Attributes {
    /// The caption in one of three orders of words, which `variant` picks by its remainder.
    #[must_use]
    pub fn caption(&self, variant: u64) -> String {
        let sky = self.sky.word();
        let article = if self.sky == Sky::Orange { "an" } else { "a" };
        let land = self.land.words();
        let air: Vec<&str> = [self.cloud_words(), self.sun_words()]
            .into_iter()
            .flatten()
            .collect();
        let with_air = match air.join(" and ") {
            air if air.is_empty() => air,
            air => format!(" with {air}"),
        };
        let lake = self.lake_words();
        let and_lake = lake.map_or_else(String::new, |lake| format!(" and {lake}"));
        let has_trees = self.trees == Trees::Some;
        match variant % 3 {
            0 => {
                let trees = if has_trees { " behind trees" } else { "" };
                format!("{sky} sky{with_air} over {land}{and_lake}{trees}")
            }
            1 => {
                let trees = if has_trees { ", trees in front" } else { "" };
                format!("{land}{and_lake} under {article} {sky} sky{with_air}{trees}")
            }
            _ => {
                let lake = lake.map_or_else(String::new, |lake| format!("{lake} below "));
                let trees = if has_trees { " and trees" } else { "" };
                let air: String = air.iter().map(|thing| format!("{thing}, ")).collect();
                format!("{lake}{land}{trees}, {air}{article} {sky} sky")
            }
        }
    }

    fn cloud_words(&self) -> Option<&'static str> {
        match self.clouds {
            Clouds::None => None,
            Clouds::Still => Some("clouds"),
            Clouds::Left => Some("clouds drifting left"),
            Clouds::Right => Some("clouds drifting right"),
        }
    }

    fn sun_words(&self) -> Option<&'static str> {
        match (self.sun, self.sky == Sky::Night) {
            (Sun::None, _) => None,
            (Sun::Still, false) => Some("the sun"),
            (Sun::Setting, false) => Some("the setting sun"),
            (Sun::Rising, false) => Some("the rising sun"),
            (Sun::Still, true) => Some("the moon"),
            (Sun::Setting, true) => Some("the setting moon"),
            (Sun::Rising, true) => Some("the rising moon"),
        }
    }

    fn lake_words(&self) -> Option<&'static str> {
        match self.water {
            Water::None => None,
            Water::Still => Some("a lake"),
            Water::Rippling => Some("a rippling lake"),
        }
    }
}

impl Sky {
    /// The word captions have for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Gray => "gray",
            Self::Orange => "orange",
            Self::Red => "red",
            Self::Purple => "purple",
            Self::Night => "night",
        }
    }
}

impl Land {
    /// The words captions have for it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Hills => "green hills",
            Self::Mountains => "mountains",
            Self::SnowyMountains => "snowy mountains",
        }
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.caption(0))
    }
}

/// What has been read so far; the first word of a kind decides, another one contradicts it.
#[derive(Default)]
struct Told {
    sky: Option<Sky>,
    land: Option<Land>,
    is_snowy: bool,
    has_clouds: bool,
    drift: Option<Clouds>,
    disc: Option<bool>,
    path: Option<Sun>,
    has_lake: bool,
    ripples: bool,
    trees: bool,
    has_sky: bool,
}

impl FromStr for Attributes {
    type Err = CaptionError;

    fn from_str(text: &str) -> Result<Self, CaptionError> {
        let mut told = Told::default();
        for word in text.split(|letter: char| !letter.is_alphanumeric()) {
            if !word.is_empty() {
                told.read(&word.to_lowercase())?;
            }
        }
        told.attributes()
    }
}

impl Told {
    fn read(&mut self, word: &str) -> Result<(), CaptionError> {
        fn once<T: PartialEq>(
            place: &mut Option<T>,
            value: T,
            word: &str,
        ) -> Result<(), CaptionError> {
            match place.replace(value) {
                Some(before) if Some(&before) != place.as_ref() => {
                    let word = word.to_owned();
                    Err(CaptionError::Contradiction { word })
                }
                _ => Ok(()),
            }
        }
        if let Some(sky) = Sky::ALL.into_iter().find(|sky| sky.word() == word) {
            return once(&mut self.sky, sky, word);
        }
        match word {
            "grey" => once(&mut self.sky, Sky::Gray, word)?,
            "sky" => self.has_sky = true,
            "cloud" | "clouds" => self.has_clouds = true,
            "left" => once(&mut self.drift, Clouds::Left, word)?,
            "right" => once(&mut self.drift, Clouds::Right, word)?,
            "sun" => once(&mut self.disc, false, word)?,
            "moon" => once(&mut self.disc, true, word)?,
            "setting" => once(&mut self.path, Sun::Setting, word)?,
            "rising" => once(&mut self.path, Sun::Rising, word)?,
            "snowy" => self.is_snowy = true,
            "mountain" | "mountains" => once(&mut self.land, Land::Mountains, word)?,
            "hill" | "hills" => once(&mut self.land, Land::Hills, word)?,
            "lake" => self.has_lake = true,
            "rippling" => self.ripples = true,
            "tree" | "trees" => self.trees = true,
            "a" | "an" | "the" | "and" | "with" | "over" | "under" | "behind" | "below" | "in"
            | "front" | "green" | "drifting" => {}
            _ => {
                let word = word.to_owned();
                return Err(CaptionError::UnknownWord { word });
            }
        }
        Ok(())
    }

    fn attributes(self) -> Result<Attributes, CaptionError> {
        let contradiction = |word: &str| {
            let word = word.to_owned();
            Err(CaptionError::Contradiction { word })
        };
        let missing = |what| CaptionError::Missing { what };
        let sky = self.sky.filter(|_| self.has_sky);
        let sky = sky.ok_or(missing("color of the sky"))?;
        let land = match (self.land.ok_or(missing("land"))?, self.is_snowy) {
            (Land::Hills, true) => return contradiction("snowy"),
            (_, true) => Land::SnowyMountains,
            (land, false) => land,
        };
        match self.disc {
            Some(true) if sky != Sky::Night => return contradiction("moon"),
            Some(false) if sky == Sky::Night => return contradiction("sun"),
            _ => {}
        }
        Ok(Attributes {
            sky,
            land,
            clouds: match (self.has_clouds, self.drift) {
                (true, drift) => drift.unwrap_or(Clouds::Still),
                (false, None) => Clouds::None,
                (false, Some(_)) => return Err(missing("clouds that drift")),
            },
            sun: match (self.disc, self.path) {
                (Some(_), path) => path.unwrap_or(Sun::Still),
                (None, None) => Sun::None,
                (None, Some(_)) => return Err(missing("sun that moves")),
            },
            water: match (self.has_lake, self.ripples) {
                (true, true) => Water::Rippling,
                (true, false) => Water::Still,
                (false, false) => Water::None,
                (false, true) => return Err(missing("lake that ripples")),
            },
            trees: if self.trees { Trees::Some } else { Trees::None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::noise::Dice;
    use super::*;

    #[test]
    fn every_caption_is_parsed_back() {
        let mut dice = Dice::new(1, 1);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2000 {
            let attributes = Attributes::of_film(&mut dice);
            for variant in 0..3 {
                let caption = attributes.caption(variant);
                assert_eq!(caption.parse(), Ok(attributes), "{caption}");
                assert!(
                    !caption.contains("  ") && !caption.contains(" ,"),
                    "{caption:?}"
                );
                seen.insert((attributes, caption));
            }
        }
        assert!(seen.len() > 3000, "{}", seen.len());
    }

    #[test]
    fn captions_read_like_sentences() {
        let all = Attributes {
            sky: Sky::Orange,
            clouds: Clouds::Left,
            sun: Sun::Setting,
            land: Land::SnowyMountains,
            water: Water::Rippling,
            trees: Trees::Some,
        };
        assert_eq!(
            [0, 1, 2].map(|variant| all.caption(variant)),
            [
                "orange sky with clouds drifting left and the setting sun over snowy mountains \
                 and a rippling lake behind trees",
                "snowy mountains and a rippling lake under an orange sky with clouds drifting \
                 left and the setting sun, trees in front",
                "a rippling lake below snowy mountains and trees, clouds drifting left, the \
                 setting sun, an orange sky",
            ]
        );
        let night = Attributes {
            sky: Sky::Night,
            clouds: Clouds::None,
            water: Water::None,
            trees: Trees::None,
            ..all.still()
        };
        assert_eq!(
            night.to_string(),
            "night sky with the moon over snowy mountains"
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<Attributes>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("red sky over snowy mountains and a castle", "'castle'");
        check("red sky, blue sky over hills", "'blue'");
        check("blue sky over snowy hills", "'snowy'");
        check("blue sky with the moon over hills", "'moon'");
        check("night sky with the sun over hills", "'sun'");
        check("clouds left and right, blue sky, hills", "'right'");
        check("blue sky drifting left over hills", "clouds that drift");
        check("a rising blue sky over hills", "sun that moves");
        check("rippling hills under a blue sky", "lake that ripples");
        check("blue hills", "color of the sky");
        check("blue sky", "land");
        check("", "color of the sky");
    }
}
