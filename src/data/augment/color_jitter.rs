//! Brightness, contrast, saturation and hue as torchvision's `ColorJitter` defines them.

use rand::Rng;
use rand::RngExt;
use rand::seq::SliceRandom;

use super::patch::Patch;

/// Weights of red, green and blue in the gray of `rgb_to_grayscale` (ITU-R 601).
const GRAY_WEIGHTS: [f32; 3] = [0.2989, 0.587, 0.114];

/// One change of the colors. Its number is the factor of the distance to a reference, where 1
/// changes nothing; for the hue it is a part of the circle, -0.5 to 0.5.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ColorAdjustment {
    /// Scales the distance to black.
    Brightness(f32),
    /// Scales the distance to the mean gray of the pixels inside the picture.
    Contrast(f32),
    /// Scales the distance to each pixel's own gray.
    Saturation(f32),
    /// Turns the hue around the circle of HSV.
    Hue(f32),
}

/// Draws all four adjustments, in random order, with random factors around the original.
pub(super) fn draw_adjustments(strength: f64, rng: &mut impl Rng) -> [ColorAdjustment; 4] {
    let strength = strength as f32;
    let mut adjustments = [
        ColorAdjustment::Brightness(draw_around(1.0, strength, rng)),
        ColorAdjustment::Contrast(draw_around(1.0, strength, rng)),
        ColorAdjustment::Saturation(draw_around(1.0, strength, rng)),
        ColorAdjustment::Hue(draw_around(0.0, strength / 4.0, rng)),
    ];
    adjustments.shuffle(rng);
    adjustments
}

fn draw_around(middle: f32, spread: f32, rng: &mut impl Rng) -> f32 {
    rng.random_range(middle - spread..=middle + spread)
}

impl ColorAdjustment {
    pub(super) fn apply(self, patch: &mut Patch) {
        match self {
            Self::Brightness(factor) => blend(patch, factor, 0.0),
            Self::Contrast(factor) => {
                let gray: f32 =
                    patch.mean_inside().iter().zip(GRAY_WEIGHTS).map(|(a, b)| a * b).sum();
                blend(patch, factor, gray);
            }
            Self::Saturation(factor) => map_pixels(patch, |pixel| {
                let gray = rgb_to_gray(pixel) * (1.0 - factor);
                pixel.map(|value| to_byte(f32::from(value) * factor + gray))
            }),
            Self::Hue(hue_factor) => map_pixels(patch, |pixel| shift_hue(pixel, hue_factor)),
        }
    }
}

/// Scales the distance of every channel to `reference` by `factor`.
fn blend(patch: &mut Patch, factor: f32, reference: f32) {
    let offset = reference * (1.0 - factor);
    let table: [u8; 256] = std::array::from_fn(|value| to_byte(value as f32 * factor + offset));
    for value in patch.image.iter_mut() {
        *value = table[usize::from(*value)];
    }
}

fn map_pixels(patch: &mut Patch, change: impl Fn([u8; 3]) -> [u8; 3]) {
    for pixel in patch.image.as_chunks_mut::<3>().0 {
        *pixel = change(*pixel);
    }
}

fn rgb_to_gray(pixel: [u8; 3]) -> f32 {
    pixel.iter().zip(GRAY_WEIGHTS).map(|(&value, weight)| f32::from(value) * weight).sum()
}

/// Rounds to the nearest whole number from 0 to 255.
fn to_byte(value: f32) -> u8 {
    (value + 0.5) as u8
}

/// Turns the hue of a pixel by a part of the circle. The lightest and the darkest channel keep
/// their values.
fn shift_hue(pixel: [u8; 3], hue_factor: f32) -> [u8; 3] {
    let [red, green, blue] = pixel.map(f32::from);
    let (max, min) = (red.max(green).max(blue), red.min(green).min(blue));
    let range = max - min;
    if range == 0.0 {
        return pixel;
    }
    // The hue is measured in sixths of the circle, from red.
    let (sixth, difference) = if red >= max {
        (0.0, green - blue)
    } else if green >= max {
        (2.0, blue - red)
    } else {
        (4.0, red - green)
    };
    let hue = sixth + difference / range + 6.0 * hue_factor;
    // Distance of each channel from the lightest one:
    // https://en.wikipedia.org/wiki/HSL_and_HSV#HSV_to_RGB_alternative
    [5.0, 3.0, 1.0].map(|offset: f32| {
        // The sector is from -3 to 13, as a turn is half a circle at most. `floor` would be a call
        // on plain x86-64.
        let sector = hue + offset;
        let sector = if sector < 0.0 { sector + 6.0 } else { sector };
        let sector = if sector >= 12.0 { sector - 6.0 } else { sector };
        let sector = if sector >= 6.0 { sector - 6.0 } else { sector };
        to_byte(max - range * sector.min(4.0 - sector).clamp(0.0, 1.0))
    })
}
