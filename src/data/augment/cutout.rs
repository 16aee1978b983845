//! Random holes in a picture.

use std::ops::Range;

use rand::{Rng, RngExt};

use super::patch::Patch;
use crate::metrics::IGNORE_INDEX;

/// Makes one or two rectangles black, and ignored in the mask, because the network cannot know what
/// they hide. Their sides are `strength / 2` to `strength` times the `crop_size` in pixels.
pub(super) fn cutout(patch: &mut Patch, strength: f64, crop_size: u32, rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..=2) {
        let (width, height) = patch.image.dimensions();
        let columns = draw_span(width, strength, crop_size, rng);
        let rows = draw_span(height, strength, crop_size, rng);
        for y in rows {
            for x in columns.clone() {
                patch.image.put_pixel(x, y, image::Rgb([0; 3]));
                patch.ids.put_pixel(x, y, image::Luma([IGNORE_INDEX]));
            }
        }
    }
}

/// Draws one side of a rectangle within `0..size`, in pixels.
fn draw_span(size: u32, strength: f64, crop_size: u32, rng: &mut impl Rng) -> Range<u32> {
    let length = rng.random_range(strength / 2.0..=strength) * f64::from(crop_size);
    let length = (length.round() as u32).min(size);
    let start = rng.random_range(0..=size - length);
    start..start + length
}
