//! What a landscape shows, as values.

use super::noise::Dice;

/// Color of the sky, which is the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sky {
    /// Day.
    Blue,
    /// An overcast day.
    Gray,
    /// The sun is low.
    Orange,
    /// The last light.
    Red,
    /// Dusk.
    Purple,
    /// Dark, with stars; the sun is a moon.
    Night,
}

impl Sky {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Blue,
        Self::Gray,
        Self::Orange,
        Self::Red,
        Self::Purple,
        Self::Night,
    ];
}

/// Clouds, and where they drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clouds {
    /// A clear sky.
    None,
    /// Clouds that stay where they are.
    Still,
    /// Clouds that drift to the left.
    Left,
    /// Clouds that drift to the right.
    Right,
}

/// The sun, or the moon of a night sky.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sun {
    /// Not in the picture.
    None,
    /// At its place.
    Still,
    /// Going down.
    Setting,
    /// Going up.
    Rising,
}

/// What lies under the sky.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Land {
    /// Green hills.
    Hills,
    /// Bare mountains.
    Mountains,
    /// Mountains with snow on their peaks.
    SnowyMountains,
}

/// What lies before the land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Water {
    /// A meadow.
    None,
    /// A lake.
    Still,
    /// A lake with moving ripples.
    Rippling,
}

/// Trees in the foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trees {
    /// No tree.
    None,
    /// Conifers at the sides.
    Some,
}

/// Everything a caption tells about a landscape.
///
/// It prints as a caption and is parsed from one:
///
/// ```
/// use nuwa_data::synthetic::{Attributes, Land, Sky};
///
/// let attributes: Attributes = "red sky over snowy mountains".parse()?;
/// assert_eq!((attributes.sky, attributes.land), (Sky::Red, Land::SnowyMountains));
/// assert_eq!(attributes.to_string(), "red sky over snowy mountains");
/// # Ok::<(), nuwa_data::synthetic::CaptionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// Color of the sky.
    pub sky: Sky,
    /// Clouds.
    pub clouds: Clouds,
    /// Sun or moon.
    pub sun: Sun,
    /// Hills or mountains.
    pub land: Land,
    /// Lake or meadow.
    pub water: Water,
    /// Trees or none.
    pub trees: Trees,
}

impl Attributes {
    /// Attributes of a picture: each value as likely as the others, each attribute independent of
    /// the others; nothing moves.
    pub(super) fn of_picture(dice: &mut Dice) -> Self {
        Self {
            sky: dice.one_of(&Sky::ALL),
            clouds: dice.one_of(&[Clouds::None, Clouds::Still]),
            sun: dice.one_of(&[Sun::None, Sun::Still]),
            land: dice.one_of(&[Land::Hills, Land::Mountains, Land::SnowyMountains]),
            water: dice.one_of(&[Water::None, Water::Still]),
            trees: dice.one_of(&[Trees::None, Trees::Some]),
        }
    }

    /// Attributes of a clip: as for a picture, with the motions among the values.
    pub(super) fn of_film(dice: &mut Dice) -> Self {
        Self {
            clouds: dice.one_of(&[Clouds::None, Clouds::Still, Clouds::Left, Clouds::Right]),
            sun: dice.one_of(&[Sun::None, Sun::Still, Sun::Setting, Sun::Rising]),
            water: dice.one_of(&[Water::None, Water::Still, Water::Rippling]),
            ..Self::of_picture(dice)
        }
    }

    /// The same landscape standing still: what a single frame of a clip shows.
    #[must_use]
    pub fn still(self) -> Self {
        Self {
            clouds: match self.clouds {
                Clouds::None => Clouds::None,
                _ => Clouds::Still,
            },
            sun: match self.sun {
                Sun::None => Sun::None,
                _ => Sun::Still,
            },
            water: match self.water {
                Water::None => Water::None,
                _ => Water::Still,
            },
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// Checks that every value of one attribute comes about as often as the others.
    fn check<T: std::hash::Hash + Eq + std::fmt::Debug>(
        all: impl Iterator<Item = T>,
        n_values: usize,
    ) {
        let mut counts = HashMap::new();
        let n = all
            .map(|value| *counts.entry(value).or_insert(0) += 1)
            .count();
        assert_eq!(counts.len(), n_values, "{counts:?}");
        let expected = n / n_values;
        // Over three standard deviations of the rarest value, and the seeds are fixed.
        let near = expected * 3 / 4..=expected * 5 / 4;
        assert!(
            counts.values().all(|count| near.contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn no_value_is_rarer_than_the_others() {
        let draw = |of: fn(&mut Dice) -> Attributes| -> Vec<Attributes> {
            (0..2400).map(|seed| of(&mut Dice::new(seed, 1))).collect()
        };
        let pictures = draw(Attributes::of_picture);
        check(pictures.iter().map(|it| it.sky), 6);
        check(pictures.iter().map(|it| it.clouds), 2);
        check(pictures.iter().map(|it| it.sun), 2);
        check(pictures.iter().map(|it| it.land), 3);
        check(pictures.iter().map(|it| it.water), 2);
        check(pictures.iter().map(|it| it.trees), 2);
        // Independent of each other: pairs are even too.
        check(pictures.iter().map(|it| (it.sky, it.water)), 12);
        check(pictures.iter().map(|it| (it.sun, it.clouds, it.trees)), 8);
        assert!(pictures.iter().all(|it| *it == it.still()));
        let films = draw(Attributes::of_film);
        check(films.iter().map(|it| it.clouds), 4);
        check(films.iter().map(|it| it.sun), 4);
        check(films.iter().map(|it| it.water), 3);
    }
}
