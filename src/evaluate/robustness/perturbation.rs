//! Disturbances of pictures, each at five strengths. Noise, blur, JPEG, brightness and contrast have
//! the numbers of ImageNet-C (Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to
//! Common Corruptions and Perturbations", ICLR 2019); `docs/evaluate.md#robustness` has the table.

use image::{GrayImage, Luma, Rgb, RgbImage};

use crate::data::augment::{gaussian_blur, gaussian_noise};
use crate::data::random::{Purpose, RngKey};
use crate::imaging::{Region, recompress_jpeg, resize_image, resize_mask};
use crate::metrics::IGNORE_INDEX;

/// Number of strengths of each kind.
pub(in crate::evaluate) const STRENGTHS: usize = 5;

/// Color of the air in haze: nearly white.
const AIRLIGHT: f64 = 235.0;

/// Kind of a disturbance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::evaluate) enum Perturbation {
    Noise,
    Blur,
    Jpeg,
    Brightness,
    Contrast,
    Haze,
    Rotation,
    Scale,
}

/// All kinds.
pub(in crate::evaluate) const PERTURBATIONS: [Perturbation; 8] = [
    Perturbation::Noise,
    Perturbation::Blur,
    Perturbation::Jpeg,
    Perturbation::Brightness,
    Perturbation::Contrast,
    Perturbation::Haze,
    Perturbation::Rotation,
    Perturbation::Scale,
];

impl Perturbation {
    /// Returns the name in files.
    pub(in crate::evaluate) fn name(self) -> &'static str {
        match self {
            Self::Noise => "noise",
            Self::Blur => "blur",
            Self::Jpeg => "jpeg",
            Self::Brightness => "brightness",
            Self::Contrast => "contrast",
            Self::Haze => "haze",
            Self::Rotation => "rotation",
            Self::Scale => "scale",
        }
    }

    /// Returns the amounts, the weakest first.
    pub(in crate::evaluate) fn amounts(self) -> [f64; STRENGTHS] {
        match self {
            // Standard deviation, relative to the range from black to white.
            Self::Noise => [0.08, 0.12, 0.18, 0.26, 0.38],
            // Standard deviation, in pixels.
            Self::Blur => [1.0, 2.0, 3.0, 4.0, 6.0],
            // Quality of libjpeg.
            Self::Jpeg => [25.0, 18.0, 15.0, 10.0, 7.0],
            // Addend, relative to the range from black to white.
            Self::Brightness => [0.1, 0.2, 0.3, 0.4, 0.5],
            // Factor of the distance from the mean color.
            Self::Contrast => [0.4, 0.3, 0.2, 0.1, 0.05],
            // Share of the light that the haze lets through.
            Self::Haze => [0.8, 0.65, 0.5, 0.35, 0.2],
            // Degrees, counterclockwise.
            Self::Rotation => [3.0, 6.0, 10.0, 15.0, 20.0],
            // Factor of both sides.
            Self::Scale => [0.75, 0.6, 0.5, 0.4, 0.3],
        }
    }

    /// Disturbs an image by an amount, and moves the mask where the image moves. `rng_key` decides
    /// the noise.
    pub(in crate::evaluate) fn apply(
        self,
        image: &RgbImage,
        mask: &GrayImage,
        amount: f64,
        rng_key: RngKey,
    ) -> (RgbImage, GrayImage) {
        let mut disturbed = image.clone();
        match self {
            Self::Noise => {
                let mut rng = rng_key.generator(Purpose::RobustnessNoise);
                gaussian_noise(&mut disturbed, amount, &mut rng);
            }
            Self::Blur => gaussian_blur(&mut disturbed, amount),
            Self::Jpeg => recompress_jpeg(&mut disturbed, amount as u8),
            Self::Brightness => {
                map_channels(&mut disturbed, |_, value| value + 255.0 * amount);
            }
            Self::Contrast => {
                let means = channel_means(image);
                map_channels(&mut disturbed, |channel, value| {
                    (value - means[channel]) * amount + means[channel]
                });
            }
            Self::Haze => {
                map_channels(&mut disturbed, |_, value| value * amount + AIRLIGHT * (1.0 - amount));
            }
            Self::Rotation => return rotate(image, mask, amount),
            Self::Scale => return scale(image, mask, amount),
        }
        (disturbed, mask.clone())
    }
}

/// Replaces each value of a channel, 0 to 255.
fn map_channels(image: &mut RgbImage, change: impl Fn(usize, f64) -> f64) {
    // There are 256 values of each channel and more pixels.
    let mut table = [[0_u8; 256]; 3];
    for (channel, changed) in table.iter_mut().enumerate() {
        for (value, changed) in changed.iter_mut().enumerate() {
            *changed = change(channel, value as f64).round().clamp(0.0, 255.0) as u8;
        }
    }
    for pixel in image.pixels_mut() {
        for (channel, value) in pixel.0.iter_mut().enumerate() {
            *value = table[channel][usize::from(*value)];
        }
    }
}

fn channel_means(image: &RgbImage) -> [f64; 3] {
    let mut sums = [0_u64; 3];
    for pixel in image.pixels() {
        for (sum, value) in sums.iter_mut().zip(pixel.0) {
            *sum += u64::from(value);
        }
    }
    let pixels = u64::from(image.width()) * u64::from(image.height());
    sums.map(|sum| sum as f64 / pixels.max(1) as f64)
}

/// Turns an image around its center by so many degrees counterclockwise: colors bilinear, classes of
/// the nearest pixel. What comes from outside is black and ignored.
fn rotate(image: &RgbImage, mask: &GrayImage, degrees: f64) -> (RgbImage, GrayImage) {
    let (width, height) = image.dimensions();
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (center_x, center_y) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    let mut turned = RgbImage::new(width, height);
    let mut ids = GrayImage::from_pixel(width, height, Luma([IGNORE_INDEX]));
    for (x, y, pixel) in turned.enumerate_pixels_mut() {
        let (dx, dy) = (f64::from(x) + 0.5 - center_x, f64::from(y) + 0.5 - center_y);
        let (from_x, from_y) = (center_x + cos * dx - sin * dy, center_y + sin * dx + cos * dy);
        let is_inside =
            (0.0..f64::from(width)).contains(&from_x) && (0.0..f64::from(height)).contains(&from_y);
        if is_inside {
            *pixel = sample_bilinear(image, from_x - 0.5, from_y - 0.5);
            ids.put_pixel(x, y, *mask.get_pixel(from_x as u32, from_y as u32));
        }
    }
    (turned, ids)
}

/// Returns the color at a position in pixels; centers of pixels are whole numbers. The outermost
/// colors go on beyond the edge.
fn sample_bilinear(image: &RgbImage, x: f64, y: f64) -> Rgb<u8> {
    let (last_x, last_y) = (f64::from(image.width() - 1), f64::from(image.height() - 1));
    let (x, y) = (x.clamp(0.0, last_x), y.clamp(0.0, last_y));
    let (left, top) = (x as u32, y as u32);
    let (right, bottom) = ((left + 1).min(image.width() - 1), (top + 1).min(image.height() - 1));
    let (right_share, bottom_share) = (x - f64::from(left), y - f64::from(top));
    let color = |x, y, channel: usize| f64::from(image.get_pixel(x, y).0[channel]);
    Rgb(std::array::from_fn(|channel| {
        let mix = |y| {
            color(left, y, channel) * (1.0 - right_share) + color(right, y, channel) * right_share
        };
        (mix(top) * (1.0 - bottom_share) + mix(bottom) * bottom_share).round() as u8
    }))
}

/// Shrinks an image: colors by the mean, classes of the nearest pixel.
fn scale(image: &RgbImage, mask: &GrayImage, factor: f64) -> (RgbImage, GrayImage) {
    let shrink = |side: u32| ((f64::from(side) * factor).round() as u32).max(1);
    let (width, height) = (shrink(image.width()), shrink(image.height()));
    let whole = Region::whole(image.width(), image.height());
    (resize_image(image, whole, width, height), resize_mask(mask, whole, width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RngKey = RngKey { seed: 1, epoch: 0, sample_index: 0 };

    fn picture(width: u32, height: u32) -> (RgbImage, GrayImage) {
        let image =
            RgbImage::from_fn(width, height, |x, y| Rgb([(x * 3) as u8, (y * 2) as u8, 90]));
        let mask = GrayImage::from_fn(width, height, |x, _| Luma([u8::from(x >= width / 2)]));
        (image, mask)
    }

    fn mean_change(image: &RgbImage, changed: &RgbImage) -> f64 {
        let mut sum = 0;
        for (one, other) in image.as_raw().iter().zip(changed.as_raw()) {
            sum += u64::from(one.abs_diff(*other));
        }
        sum as f64 / image.as_raw().len() as f64
    }

    #[test]
    fn each_strength_changes_more_than_the_one_before() {
        let (image, mask) = picture(60, 80);
        for kind in PERTURBATIONS {
            let mut last = 0.0;
            for amount in kind.amounts() {
                let (changed, ids) = kind.apply(&image, &mask, amount, KEY);
                assert_eq!(changed.dimensions(), ids.dimensions());
                let change = if kind == Perturbation::Scale {
                    1.0 / f64::from(changed.width())
                } else {
                    mean_change(&image, &changed)
                };
                assert!(change > last, "{} {amount}: {change} after {last}", kind.name());
                last = change;
                let has_moved = matches!(kind, Perturbation::Rotation | Perturbation::Scale);
                assert_eq!(ids != mask, has_moved, "{}", kind.name());
            }
        }
    }

    #[test]
    fn formulas_are_those_of_the_table() {
        let (image, mask) = picture(4, 4);
        let pixel =
            |kind: Perturbation, amount| kind.apply(&image, &mask, amount, KEY).0.get_pixel(1, 2).0;
        // The color there is 3, 4, 90; the means of the channels are 4.5, 3 and 90.
        assert_eq!(pixel(Perturbation::Brightness, 0.1), [29, 30, 116]);
        assert_eq!(pixel(Perturbation::Contrast, 0.5), [4, 4, 90]);
        assert_eq!(pixel(Perturbation::Haze, 0.5), [119, 120, 163]);
    }

    #[test]
    fn a_turn_moves_image_and_mask_alike() {
        let image =
            RgbImage::from_fn(
                21,
                21,
                |x, y| if (x, y) == (20, 10) { Rgb([255; 3]) } else { Rgb([0; 3]) },
            );
        let mask = GrayImage::from_fn(21, 21, |x, y| Luma([u8::from((x, y) == (20, 10))]));
        // A quarter counterclockwise brings the right edge to the top.
        let (turned, ids) = rotate(&image, &mask, 90.0);
        assert_eq!((turned.get_pixel(10, 0).0, ids.get_pixel(10, 0).0), ([255; 3], [1]));
        let (turned, ids) = rotate(&image, &mask, 45.0);
        assert_eq!((turned.get_pixel(0, 0).0, ids.get_pixel(0, 0).0), ([0; 3], [IGNORE_INDEX]));
    }
}
