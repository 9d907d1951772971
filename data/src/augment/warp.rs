//! One linear map from a crop into its picture, where it may lie, and sampling through it.

use crate::Picture;
use rand::{Rng, RngExt as _};

/// Where a step to the right and a step down in the crop lead in the picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Map {
    pub(super) right: [f64; 2],
    pub(super) down: [f64; 2],
}

impl Map {
    pub(super) const IDENTITY: Self = Self::scale(1.0, 1.0);

    /// The map that makes a crop cover `x` times its width and `y` times its height.
    pub(super) const fn scale(x: f64, y: f64) -> Self {
        Self {
            right: [x, 0.0],
            down: [0.0, y],
        }
    }

    /// Where an offset in the crop leads.
    fn at(self, x: f64, y: f64) -> [f64; 2] {
        [0, 1].map(|axis| self.right[axis] * x + self.down[axis] * y)
    }

    /// The map of a crop of this map's crop.
    pub(super) fn then(self, inner: Self) -> Self {
        Self {
            right: self.at(inner.right[0], inner.right[1]),
            down: self.at(inner.down[0], inner.down[1]),
        }
    }

    /// Whether every pixel of the crop is a pixel of the picture, given a whole-numbered place.
    fn is_exact(self) -> bool {
        let values = self.right.into_iter().chain(self.down);
        values
            .into_iter()
            .all(|value| value.abs() == 1.0 || value == 0.0)
    }
}

/// Finds a random place for a crop, given by width and height: the center from which the map stays
/// within `w` x `h` pixels. A map that reaches too far for any place is made to reach less far.
pub(super) fn place(
    map: Map,
    (w, h): (usize, usize),
    (crop_w, crop_h): (usize, usize),
    rng: &mut impl Rng,
) -> (Map, [f64; 2]) {
    // From the center of the crop to the centers of its outermost pixels.
    let half = [crop_w, crop_h].map(|side| (side - 1) as f64 / 2.0);
    let reach =
        |map: Map, axis: usize| half[0] * map.right[axis].abs() + half[1] * map.down[axis].abs();
    let room = [w, h].map(|side| (side - 1) as f64);
    let shrink = [0, 1].map(|axis| match 2.0 * reach(map, axis) {
        needed if needed > room[axis] => room[axis] / needed,
        _ => 1.0,
    });
    let shrink = shrink[0].min(shrink[1]);
    let map = Map {
        right: map.right.map(|value| value * shrink),
        down: map.down.map(|value| value * shrink),
    };
    let center = [0, 1].map(|axis| {
        let reach = reach(map, axis);
        let free = (room[axis] - 2.0 * reach).max(0.0);
        let offset = if map.is_exact() {
            f64::from(rng.random_range(0..=free as u32))
        } else {
            free * rng.random::<f64>()
        };
        reach + offset
    });
    (map, center)
}

/// The crop of `w` x `h` pixels that the map reads around `center`.
///
/// Cubic (Catmull-Rom), which keeps points of light sharp; where the map skips pixels, several
/// samples are averaged for each one of the crop.
pub(super) fn sample(
    picture: &Picture,
    map: Map,
    center: [f64; 2],
    (w, h): (usize, usize),
) -> Picture {
    let half = [w, h].map(|side| (side - 1) as f64 / 2.0);
    let stride = f64::max(
        map.right[0].hypot(map.right[1]),
        map.down[0].hypot(map.down[1]),
    );
    // A stride a little over one is not worth four times the work.
    let grid = (stride - 0.1).ceil().clamp(1.0, 8.0) as usize;
    let within = |index: usize| (index as f64 + 0.5) / grid as f64 - 0.5;
    let mut rgb = Vec::with_capacity(3 * w * h);
    for y in 0..h {
        for x in 0..w {
            let mut sum = [0.0; 3];
            for index in 0..grid * grid {
                let x = x as f64 - half[0] + within(index % grid);
                let y = y as f64 - half[1] + within(index / grid);
                let [offset_x, offset_y] = map.at(x, y);
                let color = cubic(picture, center[0] + offset_x, center[1] + offset_y);
                sum = [0, 1, 2].map(|channel| sum[channel] + color[channel]);
            }
            let samples = (grid * grid) as f32;
            // A cast from float clamps what the cubic overshoots.
            rgb.extend(sum.map(|value| (value / samples).round() as u8));
        }
    }
    Picture::new(w, h, rgb)
}

/// The color between pixels; beyond the border the outermost pixels go on.
fn cubic(picture: &Picture, x: f64, y: f64) -> [f32; 3] {
    let (first_x, weights_x) = taps(x);
    let (first_y, weights_y) = taps(y);
    let inside = |index: i64, side: usize| index.clamp(0, side as i64 - 1) as usize;
    let mut color = [0.0; 3];
    for (row, weight_y) in weights_y.into_iter().enumerate() {
        if weight_y == 0.0 {
            continue;
        }
        let row = inside(first_y + row as i64, picture.h());
        for (column, weight_x) in weights_x.into_iter().enumerate() {
            let column = inside(first_x + column as i64, picture.w());
            let start = 3 * (row * picture.w() + column);
            let pixel = &picture.rgb()[start..start + 3];
            let weight = weight_x * weight_y;
            color = [0, 1, 2].map(|channel| color[channel] + weight * f32::from(pixel[channel]));
        }
    }
    color
}

/// The first of the four pixels around a place on one axis, and their weights.
fn taps(at: f64) -> (i64, [f32; 4]) {
    let floor = at.floor();
    let t = (at - floor) as f32;
    let weights = [
        0.5 * t * ((2.0 - t) * t - 1.0),
        0.5 * (t * t * (3.0 * t - 5.0) + 2.0),
        0.5 * t * ((4.0 - 3.0 * t) * t + 1.0),
        0.5 * t * t * (t - 1.0),
    ];
    (floor as i64 - 1, weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    const QUARTER_TURN: Map = Map {
        right: [0.0, 1.0],
        down: [-1.0, 0.0],
    };

    fn texture(w: usize, h: usize) -> Picture {
        let byte = |index: usize| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8;
        Picture::new(w, h, (0..3 * w * h).map(byte).collect())
    }

    #[test]
    fn weights_add_up_and_a_whole_place_takes_one_pixel() {
        assert_eq!(taps(7.0), (6, [0.0, 1.0, 0.0, 0.0]));
        for at in [0.1, 0.5, 0.9, -3.3] {
            let sum: f32 = taps(at).1.iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{at}: {sum}");
        }
        // A ramp is read exactly between its pixels, too.
        let ramp = Picture::new(9, 1, (0..9).flat_map(|x| [x * 10; 3]).collect());
        assert!((cubic(&ramp, 4.25, 0.0)[0] - 42.5).abs() < 1e-4);
    }

    #[test]
    fn beyond_the_border_its_pixels_go_on() {
        let mut picture = Picture::filled(8, 8, [0; 3]);
        picture.paste(&Picture::filled(8, 4, [200; 3]), 0, 4);
        picture.paste(&Picture::filled(4, 8, [100; 3]), 0, 0);
        assert_eq!(cubic(&picture, 6.5, 0.5), [0.0; 3]);
        assert_eq!(cubic(&picture, 6.5, 6.5), [200.0; 3]);
        assert_eq!(cubic(&picture, 0.5, 6.5), [100.0; 3]);
    }

    #[test]
    fn a_quarter_turn_moves_pixels_and_changes_none() {
        let picture = texture(5, 5);
        let turned = sample(&picture, QUARTER_TURN, [2.0, 2.0], (5, 5));
        for (x, y) in [(0, 0), (4, 0), (3, 1), (2, 2)] {
            assert_eq!(turned.pixel(x, y), picture.pixel(4 - y, x), "{x},{y}");
        }
        let again = QUARTER_TURN.then(QUARTER_TURN);
        let half = sample(&picture, again, [2.0, 2.0], (5, 5));
        assert_eq!(half.pixel(0, 1), picture.pixel(4, 3));
    }

    #[test]
    fn every_corner_of_a_placed_crop_is_inside() {
        let mut rng = StdRng::seed_from_u64(3);
        for turn in 0..200 {
            let (sine, cosine) = (f64::from(turn) * 0.1).sin_cos();
            let stride = 0.2 + f64::from(turn % 10) * 0.3;
            let map = Map {
                right: [cosine * stride, sine * stride],
                down: [-sine * stride, cosine * stride],
            };
            let (map, center) = place(map, (50, 40), (30, 21), &mut rng);
            for (x, y) in [(-14.5, -10.0), (14.5, -10.0), (-14.5, 10.0), (14.5, 10.0)] {
                let offset = map.at(x, y);
                for (axis, side) in [50.0, 40.0].into_iter().enumerate() {
                    let at = center[axis] + offset[axis];
                    assert!(
                        (-1e-9..=side - 1.0 + 1e-9).contains(&at),
                        "turn {turn}: {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_crop_from_afar_averages_what_it_skips() {
        // A checkerboard of single pixels: gray from afar, black or white when sampled thinly.
        let byte = |index: usize| {
            if (index % 64 + index / 64).is_multiple_of(2) {
                0
            } else {
                255
            }
        };
        let board = Picture::new(64, 64, (0..64 * 64).flat_map(|i| [byte(i); 3]).collect());
        let far = sample(&board, Map::scale(4.0, 4.0), [31.5, 31.5], (16, 16));
        for value in far.rgb() {
            assert!((110..=145).contains(value), "{value}");
        }
    }
}
