//! Overlays: pictures with their classes painted over them.

use std::borrow::Cow;

use image::{GrayImage, Rgb, RgbImage, imageops};

use super::legend;
use crate::colors::class_color;

/// Opacity of the class color inside a region, 0 to 1.
const OVERLAY_ALPHA: f32 = 0.5;

/// Longest side of the picture in an overlay, in pixels. Larger pictures are drawn on a smaller
/// copy: overlays are for people to look at, and their cost must not grow with the size in a
/// picture's header.
pub(super) const MAX_SIDE_PX: u32 = 4096;

/// Red, green and blue by class id.
pub(super) type ClassColors = [[u8; 3]; 256];

/// Returns the colors of [`class_color`].
pub(super) fn default_class_colors() -> ClassColors {
    std::array::from_fn(|id| class_color(id as u8))
}

/// Draws `image` with the classes of `ids` painted over it, and a legend below: a swatch, the name
/// and the share of the pixels in percent of each class that occurs.
///
/// Class 0, the background, stays as it is. Regions of other classes are tinted and outlined in
/// their color. `ids` has the size of `image`; a mask of another size is stretched over it. Ids
/// without a name appear as `class N`, and 255 as `ignored`. The result is higher than `image` by
/// the legend, and wider where the legend needs it. An `image` with a side over 4096 pixels is
/// shrunk to that first (the shares are still those of the whole mask), and no result has more than
/// 32 million pixels.
pub fn draw_overlay(image: &RgbImage, ids: &GrayImage, class_names: &[String]) -> RgbImage {
    draw_overlay_with_colors(image, ids, class_names, class_color)
}

/// Draws an overlay as [`draw_overlay`] does, with other colors: red, green and blue by class id.
pub fn draw_overlay_with_colors(
    image: &RgbImage,
    ids: &GrayImage,
    class_names: &[String],
    color: impl Fn(u8) -> [u8; 3],
) -> RgbImage {
    if image.is_empty() || ids.is_empty() {
        return image.clone();
    }
    let colors: ClassColors = std::array::from_fn(|id| color(id as u8));
    legend::add_legend(
        &blend_classes(&shrink_to_limit(image), ids, &colors, false),
        ids,
        class_names,
        &colors,
    )
}

/// Draws `image` with the classes of `ids` painted over it as [`draw_overlay`] does, without a
/// legend. Ignored pixels are striped in their color, which tells them from a class.
pub fn draw_classes(image: &RgbImage, ids: &GrayImage) -> RgbImage {
    if image.is_empty() || ids.is_empty() {
        return image.clone();
    }
    blend_classes(&shrink_to_limit(image), ids, &default_class_colors(), true)
}

/// A mask stretched over a picture.
struct StretchedMask<'a> {
    ids: &'a GrayImage,
    /// Size of the picture, in pixels.
    width: u32,
    height: u32,
}

impl StretchedMask<'_> {
    /// Returns the class id under the center of the picture's pixel.
    fn class_id(&self, x: u32, y: u32) -> u8 {
        let column = stretched_index(x, self.width, self.ids.width());
        let row = stretched_index(y, self.height, self.ids.height());
        self.ids.get_pixel(column, row).0[0]
    }

    /// Returns true if one of the pixels at a distance of `thickness` to the left, right, top or
    /// bottom of (`x`, `y`) has another class than `class_id`.
    fn is_edge(&self, class_id: u8, x: u32, y: u32, thickness: u32) -> bool {
        let (left, right) = (x.saturating_sub(thickness), (x + thickness).min(self.width - 1));
        let (top, bottom) = (y.saturating_sub(thickness), (y + thickness).min(self.height - 1));
        self.class_id(left, y) != class_id
            || self.class_id(right, y) != class_id
            || self.class_id(x, top) != class_id
            || self.class_id(x, bottom) != class_id
    }
}

/// Returns the index among `count` pixels of a mask that lies under the center of the picture's
/// pixel `index` of `size`.
fn stretched_index(index: u32, size: u32, count: u32) -> u32 {
    let index = (2 * u64::from(index) + 1) * u64::from(count) / (2 * u64::from(size));
    (index as u32).min(count - 1)
}

fn blend_classes(
    image: &RgbImage,
    ids: &GrayImage,
    colors: &ClassColors,
    stripe_ignored: bool,
) -> RgbImage {
    let (width, height) = image.dimensions();
    let mask = StretchedMask { ids, width, height };
    // Outlines are thick enough to be visible in a view of the whole picture.
    let thickness = (width.max(height) / 400).max(1);
    RgbImage::from_fn(width, height, |x, y| {
        let class_id = mask.class_id(x, y);
        let pixel = *image.get_pixel(x, y);
        let is_gap_of_stripes =
            stripe_ignored && class_id == legend::IGNORED_CLASS_ID && !is_striped(x, y, thickness);
        if class_id == 0 || is_gap_of_stripes {
            return pixel;
        }
        let alpha = if mask.is_edge(class_id, x, y, thickness) { 1.0 } else { OVERLAY_ALPHA };
        let color = colors[usize::from(class_id)];
        Rgb(std::array::from_fn(|c| {
            (f32::from(pixel.0[c]) * (1.0 - alpha) + f32::from(color[c]) * alpha).round() as u8
        }))
    })
}

/// Returns true if a stripe of the ignored pixels covers this one. The picture shows between the
/// stripes.
fn is_striped(x: u32, y: u32, thickness: u32) -> bool {
    ((x + y) / (2 * thickness)).is_multiple_of(3)
}

/// Returns `image` if its sides allow that, or a copy whose longer side is [`MAX_SIDE_PX`].
fn shrink_to_limit(image: &RgbImage) -> Cow<'_, RgbImage> {
    let (width, height) = image.dimensions();
    let longer = width.max(height);
    if longer <= MAX_SIDE_PX {
        return Cow::Borrowed(image);
    }
    let factor = f64::from(MAX_SIDE_PX) / f64::from(longer);
    let scale_side = |side: u32| ((f64::from(side) * factor).round() as u32).max(1);
    Cow::Owned(imageops::thumbnail(image, scale_side(width), scale_side(height)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_tinted_outlined_and_the_background_is_left_alone() {
        let image = RgbImage::from_pixel(40, 30, Rgb([100, 100, 100]));
        let ids = GrayImage::from_fn(40, 30, |x, _| image::Luma([u8::from(x >= 20)]));
        let result = draw_overlay(&image, &ids, &["nothing".to_owned(), "thing".to_owned()]);
        assert!(result.width() >= 40 && result.height() > 30);
        assert_eq!(result.get_pixel(5, 5).0, [100, 100, 100]);
        assert_eq!(result.get_pixel(20, 5).0, [128, 0, 0]);
        assert_eq!(result.get_pixel(30, 5).0, [114, 50, 50]);
    }

    #[test]
    fn regions_and_legend_have_the_colors_that_were_given() {
        let image = RgbImage::from_pixel(40, 30, Rgb([100, 100, 100]));
        let ids = GrayImage::from_fn(40, 30, |x, _| image::Luma([u8::from(x >= 20)]));
        let names = ["nothing".to_owned(), "thing".to_owned()];
        let result = draw_overlay_with_colors(&image, &ids, &names, |id| [0, id.min(1) * 200, 250]);
        assert_eq!(result.get_pixel(30, 5).0, [50, 150, 175]);
        let swatch = Rgb([0, 200, 250]);
        assert!(result.enumerate_pixels().any(|(_, y, pixel)| y > 30 && *pixel == swatch));
        assert_eq!(
            draw_overlay_with_colors(&image, &ids, &names, class_color),
            draw_overlay(&image, &ids, &names)
        );
    }

    #[test]
    fn ignored_pixels_are_striped_and_told_from_classes() {
        let image = RgbImage::from_pixel(40, 30, Rgb([100, 100, 100]));
        let ids = GrayImage::from_fn(40, 30, |x, _| image::Luma([if x < 20 { 255 } else { 1 }]));
        let result = draw_classes(&image, &ids);
        assert_eq!(result.dimensions(), (40, 30));
        let left: Vec<_> = (0..12).map(|x| result.get_pixel(x, 5).0).collect();
        let bare = left.iter().filter(|pixel| **pixel == [100; 3]).count();
        assert_eq!(bare, 8, "two thirds show what is beneath: {left:?}");
        assert!(left.contains(&[162, 162, 146]));
        assert_eq!(result.get_pixel(30, 5).0, [114, 50, 50]);
    }

    #[test]
    fn a_large_picture_is_shrunk_with_its_regions() {
        let image = RgbImage::from_pixel(8192, 20, Rgb([100, 100, 100]));
        let ids = GrayImage::from_fn(8192, 20, |x, _| image::Luma([u8::from(x >= 4096)]));
        let result = draw_overlay(&image, &ids, &[]);
        assert_eq!(result.width(), MAX_SIDE_PX);
        assert_eq!(result.get_pixel(2000, 5).0, [100, 100, 100]);
        assert_eq!(result.get_pixel(2048, 5).0, [128, 0, 0]);
        assert_eq!(result.get_pixel(3000, 5).0, [114, 50, 50]);
        // The legend's background follows after half of the rows.
        assert_eq!(result.get_pixel(3000, 10).0, [250, 250, 250]);
    }

    #[test]
    fn any_pair_of_sizes_is_drawn() {
        let small = [(1, 1), (1, 900), (900, 1), (7, 5), (640, 480)];
        let thin = [(1, 10_000_000), (10_000_000, 1), (4097, 3), (3, 9000)];
        for (width, height) in small.into_iter().chain(thin) {
            let image = RgbImage::new(width, height);
            let own = GrayImage::new(width, height);
            let other = GrayImage::from_fn(50, 6, |x, y| image::Luma([(50 * y + x) as u8]));
            for ids in [GrayImage::new(3, 2), own, other] {
                let result = draw_overlay(&image, &ids, &[]);
                let least = (width.min(MAX_SIDE_PX), height.min(MAX_SIDE_PX));
                assert!(result.width() >= least.0 && result.height() > least.1, "{width}x{height}");
                let most = u64::from(width) * u64::from(height) + 4_000_000;
                assert!(result.pixels().len() as u64 <= most, "{width}x{height}");
            }
        }
        assert_eq!(
            draw_overlay(&RgbImage::new(0, 0), &GrayImage::new(1, 1), &[]),
            RgbImage::new(0, 0)
        );
    }
}
