//! What the network sees of an image: a random scale and crop, and what `augmentations` asks for.
//!
//! Scale and crop are the built-in algorithm's: the longer side is scaled to `base_size` times a number
//! from 0.5 to 2, then a square of `crop_size` is cut at random. Only that square is ever resized.
//! Everything that moves pixels moves image and mask alike, in the same resampling; then come colors,
//! blur, noise, compression and holes, on the crop alone.

mod augmentations;
mod blur;
mod color_jitter;
mod crop_params;
mod cutout;
mod homography;
mod noise;
mod patch;
mod warp;

pub use augmentations::{Augmentation, Augmentations};
pub(crate) use augmentations::{augmentations_markdown, augmentations_pattern};
pub use crop_params::CropParams;

use image::GrayImage;
use rand::RngExt;

use self::patch::Patch;
use super::random::{Purpose, RngKey, bernoulli};
use crate::imaging::{DecodeError, LazyImage, recompress_jpeg, resize_mask};

/// The settings of the recipe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transforms {
    /// Pixels; the longer side is scaled to this times 0.5 to 2.
    pub base_size: u32,
    /// Pixels; side of the square.
    pub crop_size: u32,
    /// What else is done.
    pub augmentations: Augmentations,
}

impl Transforms {
    /// Draws a view of an image of `width` x `height` pixels.
    pub fn random_crop(&self, width: u32, height: u32, rng_key: RngKey) -> CropParams {
        CropParams::random(self, (width, height), rng_key)
    }

    /// Cuts what a draw shows of a sample into `pixels`, `[crop, crop, 3]`, and its class ids into
    /// `ids`, `[crop, crop]`.
    pub fn apply(
        &self,
        rng_key: RngKey,
        (lazy_image, mask): (&LazyImage<'_>, &GrayImage),
        (pixels, ids): (&mut [u8], &mut [u8]),
    ) -> Result<(), DecodeError> {
        let (width, height) = mask.dimensions();
        let crop_params = self.random_crop(width, height, rng_key);
        let mut flips = (crop_params.hflip, crop_params.vflip);
        let mut patch = if let Some(homography) = crop_params.homography {
            // Flips are part of the map.
            flips = (false, false);
            warp::warp_image_and_mask(
                &crop_params.to_source(homography),
                (lazy_image, mask),
                self.crop_size,
            )?
        } else {
            Patch {
                image: lazy_image.crop_and_resize(
                    crop_params.region,
                    crop_params.width,
                    crop_params.height,
                )?,
                ids: resize_mask(mask, crop_params.region, crop_params.width, crop_params.height),
                outside: Vec::new(),
            }
        };
        self.adjust_pixels(&mut patch, rng_key);
        patch.write_crop((pixels, ids), self.crop_size, flips);
        Ok(())
    }

    /// What moves no pixel.
    fn adjust_pixels(&self, patch: &mut Patch, rng_key: RngKey) {
        // The strength of one of them, and what it draws from, if it happens to this sample.
        let draw_strength = |augmentation, purpose| {
            let mut rng = rng_key.generator(purpose);
            let probability = self.augmentations.probability(augmentation);
            (probability > 0.0 && bernoulli(probability, &mut rng))
                .then(|| (self.augmentations.strength(augmentation), rng))
        };
        if let Some((max_strength, mut rng)) =
            draw_strength(Augmentation::ColorJitter, Purpose::ColorJitter)
        {
            for adjustment in color_jitter::draw_adjustments(max_strength, &mut rng) {
                adjustment.apply(patch);
            }
        }
        if let Some((max_strength, mut rng)) = draw_strength(Augmentation::Blur, Purpose::Blur) {
            blur::gaussian_blur(patch, rng.random_range(0.0..=max_strength));
        }
        if let Some((max_strength, mut rng)) = draw_strength(Augmentation::Noise, Purpose::Noise) {
            let sigma = rng.random_range(0.0..=max_strength);
            noise::gaussian_noise(patch, sigma, &mut rng);
        }
        if let Some((max_strength, mut rng)) = draw_strength(Augmentation::Jpeg, Purpose::Jpeg) {
            let quality = 100.0 - rng.random_range(0.0..=max_strength);
            recompress_jpeg(&mut patch.image, quality.round() as u8);
        }
        patch.black_out();
        if let Some((max_strength, mut rng)) = draw_strength(Augmentation::Cutout, Purpose::Cutout)
        {
            cutout::cutout(patch, max_strength, self.crop_size, &mut rng);
        }
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
