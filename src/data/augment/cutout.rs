//! Holes in the picture.

use rand::{Rng, RngExt};

use super::patch::Patch;
use crate::metrics::IGNORE_INDEX;

/// One or two rectangles whose sides are half of `strength` to `strength` of a crop's `side` pixels become
/// black, and ignored in the mask: the network is not asked for what it cannot see.
pub(super) fn cutout(patch: &mut Patch, strength: f64, crop_size: u32, rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..=2) {
        let mut span = |size: u32| {
            let length = rng.random_range(strength / 2.0..=strength) * f64::from(crop_size);
            let length = (length.round() as u32).min(size);
            let start = rng.random_range(0..=size - length);
            start..start + length
        };
        let (width, height) = patch.image.dimensions();
        let (columns, rows) = (span(width), span(height));
        for y in rows {
            for x in columns.clone() {
                patch.image.put_pixel(x, y, image::Rgb([0; 3]));
                patch.ids.put_pixel(x, y, image::Luma([IGNORE_INDEX]));
            }
        }
    }
}
