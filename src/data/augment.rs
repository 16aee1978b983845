//! What the network sees of an image: a random scale, crop and mirror image, alike for the mask.
//!
//! The recipe is the built-in algorithm's: the longer side is scaled to `base_size` times a number
//! from 0.5 to 2, then a square of `crop_size` is cut at random. Only that square is ever resized.

use image::{GrayImage, RgbImage};
use rand::{Rng, RngExt};

use crate::imaging::{Region, resize_image, resize_mask};
use crate::metrics::IGNORE;

/// The settings of the recipe, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// The longer side is scaled to this times 0.5 to 2.
    pub base_size: u32,
    /// Side of the square.
    pub crop_size: u32,
}

/// One draw: which part of the source fills which part of the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// The part of the source, in its pixels.
    region: Region,
    /// Its size in the crop; the rest, right and below, is black in the image and ignored in the
    /// mask, as in torchvision's references.
    width: u32,
    height: u32,
    /// Whether left and right are exchanged.
    mirrored: bool,
}

impl Recipe {
    /// Draws a view of an image of `width` x `height` pixels.
    pub fn draw(self, width: u32, height: u32, random: &mut impl Rng) -> View {
        let longer = f64::from(self.base_size) * random.random_range(0.5..2.0);
        let scale = longer / f64::from(width.max(height));
        let mut span = |source: u32| {
            let (source, place) = (f64::from(source), random.random::<f64>());
            let covered = f64::from(self.crop_size) / scale;
            if covered < source {
                ((source - covered) * place, covered, self.crop_size)
            } else {
                (0.0, source, ((source * scale).round() as u32).clamp(1, self.crop_size))
            }
        };
        let (left, region_width, crop_width) = span(width);
        let (top, region_height, crop_height) = span(height);
        View {
            region: Region { left, top, width: region_width, height: region_height },
            width: crop_width,
            height: crop_height,
            mirrored: random.random(),
        }
    }

    /// Cuts the view out: pixels `[crop, crop, 3]` and class ids `[crop, crop]`.
    pub fn cut(self, view: View, image: &RgbImage, mask: &GrayImage) -> (Vec<u8>, Vec<u8>) {
        let View { region, width, height, mirrored } = view;
        let image = resize_image(image, region, width, height);
        let mask = resize_mask(mask, region, width, height);
        let lay = |pixels: &[u8], channels, fill| {
            self.lay(pixels, (width as usize, channels), fill, mirrored)
        };
        (lay(image.as_raw(), 3, 0), lay(mask.as_raw(), 1, IGNORE))
    }

    /// Lays rows of `width` pixels into the upper left of a square filled with `fill`.
    fn lay(
        self,
        pixels: &[u8],
        (width, channels): (usize, usize),
        fill: u8,
        mirrored: bool,
    ) -> Vec<u8> {
        let side = self.crop_size as usize;
        let mut square = vec![fill; side * side * channels];
        let rows =
            square.chunks_exact_mut(side * channels).zip(pixels.chunks_exact(width * channels));
        for (to, from) in rows {
            if mirrored {
                let reversed = from.chunks_exact(channels).rev();
                for (to, from) in to.chunks_exact_mut(channels).zip(reversed) {
                    to.copy_from_slice(from);
                }
            } else {
                to[..from.len()].copy_from_slice(from);
            }
        }
        square
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, generator};
    use image::{Luma, Rgb};
    use proptest::prelude::*;

    /// An image whose red channel says its class, and the mask with the same classes.
    fn marked(width: u32, height: u32) -> (RgbImage, GrayImage) {
        let class = |x: u32, y: u32| u8::from(x > width / 3) + 2 * u8::from(y > height / 2);
        (
            RgbImage::from_fn(width, height, |x, y| Rgb([class(x, y) * 60, 9, 9])),
            GrayImage::from_fn(width, height, |x, y| Luma([class(x, y)])),
        )
    }

    proptest! {
        #[test]
        fn image_and_mask_stay_aligned_and_the_padding_is_ignored(
            width in 1u32..200, height in 1u32..200, base_size in 17u32..300, crop in 3u32..12,
            sample in 0u64..1000,
        ) {
            let recipe = Recipe { base_size, crop_size: crop * 8 };
            let (image, mask) = marked(width, height);
            let view = recipe.draw(width, height, &mut generator(1, Purpose::Augmentation, 0, sample));
            let (pixels, ids) = recipe.cut(view, &image, &mask);
            let side = recipe.crop_size as usize;
            prop_assert_eq!((pixels.len(), ids.len()), (side * side * 3, side * side));
            let mut agree = 0;
            let mut counted = 0;
            for (pixel, &id) in pixels.chunks_exact(3).zip(&ids) {
                prop_assert!(id < 4 || id == IGNORE);
                if id == IGNORE {
                    prop_assert_eq!(pixel, [0, 0, 0]);
                } else {
                    counted += 1;
                    // Pixels on an edge between classes are blends.
                    agree += u32::from(pixel[0].abs_diff(id * 60) <= 30);
                }
            }
            prop_assert!(counted > 0);
            // Where the classes are a few pixels wide, every pixel is on an edge.
            if width.min(height) >= 64 && base_size >= 64 {
                prop_assert!(f64::from(agree) >= 0.5 * f64::from(counted), "{agree} of {counted}");
            }
        }
    }

    #[test]
    fn draws_cover_scales_places_and_both_mirrorings() {
        let recipe = Recipe { base_size: 100, crop_size: 80 };
        let views: Vec<View> = (0..200)
            .map(|i| recipe.draw(200, 100, &mut generator(1, Purpose::Augmentation, 0, i)))
            .collect();
        assert!(views.iter().any(|v| v.mirrored) && views.iter().any(|v| !v.mirrored));
        assert!(views.iter().any(|v| v.width == 80 && v.height == 80));
        assert!(views.iter().any(|v| v.height < 30), "small scales are padded");
        assert!(views.iter().any(|v| v.region.left > 50.0));
        let first = recipe.draw(200, 100, &mut generator(1, Purpose::Augmentation, 0, 0));
        assert_eq!(views[0], first, "a draw depends on its counters alone");
    }
}
