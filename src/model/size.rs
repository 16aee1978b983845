//! The limit on the size of the network's input. Larger images are scaled down, and their masks
//! back up (`docs/architecture.md#limits-on-images`), so that memory is bounded and training scores
//! what serving answers.

use std::borrow::Cow;

use image::{GrayImage, RgbImage};

use crate::imaging::{Region, resize_image, resize_mask};
use crate::settings;

/// Longest side of the network's input, in pixels, unless a setting says otherwise.
pub const DEFAULT_MAX_SIDE_PX: u32 = settings::DEFAULT_MAX_SIDE_PX;

/// Returns the image itself, or a copy whose longer side has `max_side` pixels.
pub fn shrink_image(image: &RgbImage, max_side: u32) -> Cow<'_, RgbImage> {
    let (width, height) = image.dimensions();
    let longer = width.max(height);
    if longer <= max_side {
        return Cow::Borrowed(image);
    }
    let scale_side = |side: u32| {
        let side = (u64::from(side) * u64::from(max_side)).div_ceil(u64::from(longer));
        side.max(1) as u32
    };
    let whole = Region::whole(width, height);
    Cow::Owned(resize_image(image, whole, scale_side(width), scale_side(height)))
}

/// Scales the mask of a shrunken image to the size of the original, in pixels.
pub fn restore_mask_size(ids: GrayImage, (width, height): (u32, u32)) -> GrayImage {
    if ids.dimensions() == (width, height) {
        return ids;
    }
    resize_mask(&ids, Region::whole(ids.width(), ids.height()), width, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_over_the_limit_are_scaled_and_masks_come_back_in_their_size() {
        for (size, limit, expected) in
            [((100, 50), 100, (100, 50)), ((100, 50), 40, (40, 20)), ((3, 1000), 100, (1, 100))]
        {
            let image = RgbImage::new(size.0, size.1);
            let small = shrink_image(&image, limit);
            assert_eq!(small.dimensions(), expected);
            let ids = GrayImage::new(small.width(), small.height());
            assert_eq!(restore_mask_size(ids, size).dimensions(), size);
        }
    }
}
