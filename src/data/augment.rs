//! What the network sees of an image: a random scale, crop and mirror image, alike for the mask.
//!
//! The recipe is the built-in algorithm's: the longer side is scaled to `base_size` times a number
//! from 0.5 to 2, then a square of `crop_size` is cut at random. Only that square is ever resized.

use image::GrayImage;
use rand::{Rng, RngExt};

use crate::imaging::{DecodeError, Picture, Region, resize_mask};
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

    /// Cuts the view out into `pixels`, `[crop, crop, 3]`, and its class ids into `ids`,
    /// `[crop, crop]`.
    pub fn cut(
        self,
        view: View,
        (picture, mask): (&Picture<'_>, &GrayImage),
        (pixels, ids): (&mut [u8], &mut [u8]),
    ) -> Result<(), DecodeError> {
        let View { region, width, height, mirrored } = view;
        let image = picture.cut(region, width, height)?;
        let mask = resize_mask(mask, region, width, height);
        let side = self.crop_size as usize;
        let width = width as usize;
        lay::<3>((image.as_raw(), width), (pixels, side), 0, mirrored);
        lay::<1>((mask.as_raw(), width), (ids, side), IGNORE, mirrored);
        Ok(())
    }
}

/// Lays rows of `width` pixels of `N` bytes into the upper left of a square filled with `fill`.
fn lay<const N: usize>(
    (pixels, width): (&[u8], usize),
    (square, side): (&mut [u8], usize),
    fill: u8,
    mirrored: bool,
) {
    let height = pixels.len() / (width * N);
    let (filled, below) = square.split_at_mut(height * side * N);
    below.fill(fill);
    let rows = filled.chunks_exact_mut(side * N).zip(pixels.chunks_exact(width * N));
    for (to, from) in rows {
        let (to, right) = to.split_at_mut(from.len());
        right.fill(fill);
        if mirrored {
            let reversed = from.as_chunks::<N>().0.iter().rev();
            for (to, from) in to.as_chunks_mut::<N>().0.iter_mut().zip(reversed) {
                *to = *from;
            }
        } else {
            to.copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::{Purpose, generator};
    use crate::imaging::{Limits, encode_png};
    use image::{Luma, Rgb, RgbImage};
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
            let side = recipe.crop_size as usize;
            // What an earlier batch left must not show through.
            let (mut pixels, mut ids) = (vec![77; side * side * 3], vec![77; side * side]);
            let picture = Picture::open(encode_png(&image), Limits::default()).unwrap();
            recipe.cut(view, (&picture, &mask), (&mut pixels, &mut ids)).unwrap();
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
