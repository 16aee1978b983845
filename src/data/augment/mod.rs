//! What the network sees of an image: a random scale and crop, and what `augmentations` asks for.
//!
//! Scale and crop are the built-in algorithm's: the longer side is scaled to `base_size` times a number
//! from 0.5 to 2, then a square of `crop_size` is cut at random. Only that square is ever resized.
//! Everything that moves pixels moves image and mask alike, in the same resampling; then come colours,
//! blur, noise, compression and holes, on the crop alone.

mod blur;
mod color_jitter;
mod cutout;
mod homography;
mod noise;
mod patch;
mod view;
mod warp;

pub use view::View;

use image::GrayImage;
use rand::RngExt;

use self::patch::Patch;
use super::random::{Counters, Purpose, happens};
use crate::imaging::{DecodeError, Picture, recompress, resize_mask};
use crate::sagemaker::hyperparameters::{Augmentation, Augmentations};

/// The settings of the recipe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// Pixels; the longer side is scaled to this times 0.5 to 2.
    pub base_size: u32,
    /// Pixels; side of the square.
    pub crop_size: u32,
    /// What else is done.
    pub augmentations: Augmentations,
}

impl Recipe {
    /// Draws a view of an image of `width` x `height` pixels.
    pub fn draw(&self, width: u32, height: u32, counters: Counters) -> View {
        View::draw(self, (width, height), counters)
    }

    /// Cuts what a draw shows of a sample into `pixels`, `[crop, crop, 3]`, and its class ids into
    /// `ids`, `[crop, crop]`.
    pub fn apply(
        &self,
        counters: Counters,
        (picture, mask): (&Picture<'_>, &GrayImage),
        (pixels, ids): (&mut [u8], &mut [u8]),
    ) -> Result<(), DecodeError> {
        let (width, height) = mask.dimensions();
        let view = self.draw(width, height, counters);
        let mut flips = (view.mirrored, view.upside_down);
        let mut patch = if let Some(warp) = view.warp {
            // Flips are part of the map.
            flips = (false, false);
            warp::warp(&view.to_source(warp), (picture, mask), self.crop_size)?
        } else {
            Patch {
                image: picture.cut(view.region, view.width, view.height)?,
                ids: resize_mask(mask, view.region, view.width, view.height),
                outside: Vec::new(),
            }
        };
        self.change(&mut patch, counters);
        patch.lay((pixels, ids), self.crop_size, flips);
        Ok(())
    }

    /// What moves no pixel.
    fn change(&self, patch: &mut Patch, counters: Counters) {
        // The strength of one of them, and what it draws from, if it happens to this sample.
        let drawn = |of, purpose| {
            let mut random = counters.generator(purpose);
            let often = self.augmentations.probability(of);
            (often > 0.0 && happens(often, &mut random))
                .then(|| (self.augmentations.strength(of), random))
        };
        if let Some((most, mut random)) = drawn(Augmentation::ColorJitter, Purpose::ColorJitter) {
            for change in color_jitter::draw(most, &mut random) {
                change.apply(patch);
            }
        }
        if let Some((most, mut random)) = drawn(Augmentation::Blur, Purpose::Blur) {
            blur::blur(patch, random.random_range(0.0..=most));
        }
        if let Some((most, mut random)) = drawn(Augmentation::Noise, Purpose::Noise) {
            let sigma = random.random_range(0.0..=most);
            noise::noise(patch, sigma, &mut random);
        }
        if let Some((most, mut random)) = drawn(Augmentation::Jpeg, Purpose::Jpeg) {
            let quality = 100.0 - random.random_range(0.0..=most);
            recompress(&mut patch.image, quality.round() as u8);
        }
        patch.black_out();
        if let Some((most, mut random)) = drawn(Augmentation::Cutout, Purpose::Cutout) {
            cutout::cutout(patch, most, self.crop_size, &mut random);
        }
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
