//! A picture with its classes painted over it.

use image::{GrayImage, Rgb, RgbImage};

use super::legend;
use crate::imaging::class_colour;

/// How much of the class colour covers the picture inside a region.
const COVER: f32 = 0.5;

/// `image` with the classes of `ids` painted over it, and a legend below: a swatch, the name and
/// the share of the pixels in percent of each class that occurs.
///
/// Class 0, the background, stays as it is; regions of other classes are tinted and outlined in
/// their colour. `ids` has the size of `image`; a mask of another size is stretched over it.
/// Ids without a name appear as `class N`, and 255 as `ignored`. The result is at least as large as
/// `image`: higher by the legend, and wider where the legend needs it.
pub fn overlay(image: &RgbImage, ids: &GrayImage, class_names: &[String]) -> RgbImage {
    let (width, height) = image.dimensions();
    if image.is_empty() || ids.is_empty() {
        return image.clone();
    }
    let stretch = |at: u32, size: u32, count: u32| {
        let at = (2 * u64::from(at) + 1) * u64::from(count) / (2 * u64::from(size));
        (at as u32).min(count - 1)
    };
    let id = |x: u32, y: u32| {
        let (column, row) = (stretch(x, width, ids.width()), stretch(y, height, ids.height()));
        ids.get_pixel(column, row).0[0]
    };
    // Outlines are as thick as they need to be seen when the whole picture is.
    let thick = (width.max(height) / 400).max(1);
    let painted = RgbImage::from_fn(width, height, |x, y| {
        let own = id(x, y);
        let pixel = *image.get_pixel(x, y);
        if own == 0 {
            return pixel;
        }
        let near = |at: u32, size: u32| [at.saturating_sub(thick), (at + thick).min(size - 1)];
        let edge = near(x, width).iter().any(|&x| id(x, y) != own)
            || near(y, height).iter().any(|&y| id(x, y) != own);
        let cover = if edge { 1.0 } else { COVER };
        let colour = class_colour(own);
        Rgb(std::array::from_fn(|c| {
            (f32::from(pixel.0[c]) * (1.0 - cover) + f32::from(colour[c]) * cover).round() as u8
        }))
    });
    legend::add(&painted, ids, class_names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_tinted_outlined_and_the_background_is_left_alone() {
        let image = RgbImage::from_pixel(40, 30, Rgb([100, 100, 100]));
        let ids = GrayImage::from_fn(40, 30, |x, _| image::Luma([u8::from(x >= 20)]));
        let result = overlay(&image, &ids, &["nothing".to_owned(), "thing".to_owned()]);
        assert!(result.width() >= 40 && result.height() > 30);
        assert_eq!(result.get_pixel(5, 5).0, [100, 100, 100]);
        assert_eq!(result.get_pixel(20, 5).0, [128, 0, 0]);
        assert_eq!(result.get_pixel(30, 5).0, [114, 50, 50]);
    }

    #[test]
    fn any_pair_of_sizes_is_drawn() {
        for (width, height) in [(1, 1), (1, 900), (900, 1), (7, 5)] {
            let image = RgbImage::new(width, height);
            for ids in [GrayImage::new(3, 2), GrayImage::from_pixel(50, 1, image::Luma([9]))] {
                let result = overlay(&image, &ids, &[]);
                assert!(result.width() >= width && result.height() > height);
            }
        }
        assert_eq!(overlay(&RgbImage::new(0, 0), &GrayImage::new(1, 1), &[]), RgbImage::new(0, 0));
    }
}
