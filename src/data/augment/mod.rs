//! Random transforms of training images: scale, crop, and the list of `augmentations`.
//!
//! Scale and crop are the built-in algorithm's: the longer side is scaled to `base_size` times a
//! number from 0.5 to 2, then a square of `crop_size` pixels is cut at random. Only that square is
//! ever resized. Everything that moves pixels moves image and mask alike, in the same resampling;
//! then come colors, blur, noise, compression and holes, on the crop alone.

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
pub use blur::gaussian_blur;
pub use crop_params::CropParams;
pub use noise::gaussian_noise;

use image::GrayImage;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use self::patch::Patch;
use super::random::{Purpose, RngKey, bernoulli};
use crate::imaging::{DecodeError, LazyImage, recompress_jpeg, resize_mask};

/// Settings of the transforms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transforms {
    /// Longer side in pixels, before it is scaled by 0.5 to 2.
    pub base_size: u32,
    /// Side of the square crop, in pixels.
    pub crop_size: u32,
    /// Transforms beyond scale and crop.
    pub augmentations: Augmentations,
}

impl Transforms {
    /// Draws the crop of an image of `width` x `height` pixels.
    pub fn random_crop(&self, width: u32, height: u32, rng_key: RngKey) -> CropParams {
        CropParams::random(self, (width, height), rng_key)
    }

    /// Writes the random crop of a sample to `pixels`, `[crop, crop, 3]`, and its class ids to
    /// `ids`, `[crop, crop]`.
    pub fn apply(
        &self,
        rng_key: RngKey,
        lazy_image: &LazyImage<'_>,
        mask: &GrayImage,
        (pixels, ids): (&mut [u8], &mut [u8]),
    ) -> Result<(), DecodeError> {
        let (width, height) = mask.dimensions();
        let crop_params = self.random_crop(width, height, rng_key);
        let mut flips = (crop_params.hflip, crop_params.vflip);
        let mut patch = if let Some(homography) = crop_params.homography {
            // The map includes the flips.
            flips = (false, false);
            warp::warp_image_and_mask(
                &crop_params.to_source(homography),
                lazy_image,
                mask,
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

    /// Applies the augmentations that move no pixel.
    fn adjust_pixels(&self, patch: &mut Patch, rng_key: RngKey) {
        let draw = |augmentation, purpose| self.draw_augmentation(augmentation, purpose, rng_key);
        if let Some((max_strength, mut rng)) = draw(Augmentation::ColorJitter, Purpose::ColorJitter)
        {
            for adjustment in color_jitter::draw_adjustments(max_strength, &mut rng) {
                adjustment.apply(patch);
            }
        }
        if let Some((max_strength, mut rng)) = draw(Augmentation::Blur, Purpose::Blur) {
            gaussian_blur(&mut patch.image, rng.random_range(0.0..=max_strength));
        }
        if let Some((max_strength, mut rng)) = draw(Augmentation::Noise, Purpose::Noise) {
            let sigma = rng.random_range(0.0..=max_strength);
            gaussian_noise(&mut patch.image, sigma, &mut rng);
        }
        if let Some((max_strength, mut rng)) = draw(Augmentation::Jpeg, Purpose::Jpeg) {
            let quality = 100.0 - rng.random_range(0.0..=max_strength);
            recompress_jpeg(&mut patch.image, quality.round() as u8);
        }
        patch.black_out();
        if let Some((max_strength, mut rng)) = draw(Augmentation::Cutout, Purpose::Cutout) {
            cutout::cutout(patch, max_strength, self.crop_size, &mut rng);
        }
    }

    /// Returns the strength of an augmentation and its generator, if the augmentation happens to
    /// this sample.
    fn draw_augmentation(
        &self,
        augmentation: Augmentation,
        purpose: Purpose,
        rng_key: RngKey,
    ) -> Option<(f64, ChaCha8Rng)> {
        let mut rng = rng_key.generator(purpose);
        let probability = self.augmentations.probability(augmentation);
        if probability > 0.0 && bernoulli(probability, &mut rng) {
            return Some((self.augmentations.strength(augmentation), rng));
        }
        None
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
