//! Brightness, contrast, saturation and hue as torchvision's `ColorJitter` defines them.

use rand::Rng;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::patch::Patch;

/// Red, green and blue in the grey of `rgb_to_grayscale`: ITU-R 601.
const GREY: [f32; 3] = [0.2989, 0.587, 0.114];

/// One change of the colours, with how much of it: the original's share, or for hue the part of the
/// circle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    /// Away from black.
    Brightness(f32),
    /// Away from the mean grey of what is inside the picture.
    Contrast(f32),
    /// Away from each pixel's own grey.
    Saturation(f32),
    /// Around the circle of hues of HSV.
    Hue(f32),
}

/// All four, in random order, with random factors around the original.
pub(super) fn draw(strength: f64, random: &mut impl Rng) -> [Change; 4] {
    let strength = strength as f32;
    let mut around = |middle: f32, by: f32| random.random_range(middle - by..=middle + by);
    let mut changes = [
        Change::Brightness(around(1.0, strength)),
        Change::Contrast(around(1.0, strength)),
        Change::Saturation(around(1.0, strength)),
        Change::Hue(around(0.0, strength / 4.0)),
    ];
    changes.shuffle(random);
    changes
}

impl Change {
    pub(super) fn apply(self, patch: &mut Patch) {
        match self {
            Self::Brightness(share) => blend(patch, share, 0.0),
            Self::Contrast(share) => {
                let grey: f32 = patch.mean_inside().iter().zip(GREY).map(|(a, b)| a * b).sum();
                blend(patch, share, grey);
            }
            Self::Saturation(share) => each(patch, |pixel| {
                let grey = grey(pixel) * (1.0 - share);
                pixel.map(|value| to_byte(f32::from(value) * share + grey))
            }),
            Self::Hue(turn) => each(patch, |pixel| turned(pixel, turn)),
        }
    }
}

/// Every channel's way from `other`, times `share`.
fn blend(patch: &mut Patch, share: f32, other: f32) {
    let other = other * (1.0 - share);
    let table: [u8; 256] = std::array::from_fn(|value| to_byte(value as f32 * share + other));
    for value in patch.image.iter_mut() {
        *value = table[usize::from(*value)];
    }
}

fn each(patch: &mut Patch, change: impl Fn([u8; 3]) -> [u8; 3]) {
    for pixel in patch.image.as_chunks_mut::<3>().0 {
        *pixel = change(*pixel);
    }
}

fn grey(pixel: [u8; 3]) -> f32 {
    pixel.iter().zip(GREY).map(|(&value, weight)| f32::from(value) * weight).sum()
}

/// Rounds to the nearest of 0 to 255.
fn to_byte(value: f32) -> u8 {
    (value + 0.5) as u8
}

/// The pixel with its hue turned by a part of the circle; lightest and darkest channel keep their values.
fn turned(pixel: [u8; 3], turn: f32) -> [u8; 3] {
    let [red, green, blue] = pixel.map(f32::from);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = most - least;
    if range == 0.0 {
        return pixel;
    }
    // In sixths of the circle, from red.
    let (sixth, side) = if red >= most {
        (0.0, green - blue)
    } else if green >= most {
        (2.0, blue - red)
    } else {
        (4.0, red - green)
    };
    let hue = sixth + side / range + 6.0 * turn;
    // How far each channel is from the lightest: https://en.wikipedia.org/wiki/HSL_and_HSV#HSV_to_RGB_alternative
    [5.0, 3.0, 1.0].map(|offset: f32| {
        // From -3 to 13, as a turn is half a circle at most. Not by floor, which is a call on plain x86-64.
        let sixth = hue + offset;
        let sixth = if sixth < 0.0 { sixth + 6.0 } else { sixth };
        let sixth = if sixth >= 12.0 { sixth - 6.0 } else { sixth };
        let sixth = if sixth >= 6.0 { sixth - 6.0 } else { sixth };
        to_byte(most - range * sixth.min(4.0 - sixth).clamp(0.0, 1.0))
    })
}
