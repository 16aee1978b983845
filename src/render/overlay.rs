//! Overlays: pictures with their classes painted over them.

use std::borrow::Cow;

use image::{GrayImage, Rgb, RgbImage, imageops};

use super::class_label::IGNORED_CLASS_ID;
use super::legend::{Legend, LegendLayout};
use super::palette::BACKGROUND;
use super::rasterize::rasterize;
use super::scene::Scene;
use crate::colors::class_color;

/// Opacity of the class color inside a region, 0 to 1.
const OVERLAY_ALPHA: f32 = 0.5;

/// Longest side of the picture in an overlay, in pixels. Larger pictures are drawn on a smaller
/// copy: overlays are for people to look at, and their cost must not grow with the size in a
/// picture's header.
const MAX_SIDE_PX: u32 = 4096;
/// Shortest longer side of the picture in an overlay, in pixels.
const MIN_SIDE_PX: u32 = 480;

/// Sizes of the legend's letters in pixels: the size on pictures that fit a screen, the largest one,
/// for pictures that are looked at in parts or shrunk, and the smallest that is easy to read.
const PREFERRED_FONT_PX: f32 = 14.0;
const MAX_FONT_PX: f32 = 56.0;
const MIN_FONT_PX: f32 = 11.0;
/// Distance of the legend from the picture and from the edge, in pixels.
const LEGEND_MARGIN_PX: f32 = 12.0;
/// Number of lines that a legend may have beside pictures that are a few pixels high or wide.
const MIN_ENTRIES: usize = 4;

/// Red, green and blue by class id.
pub(super) type ClassColors = [[u8; 3]; 256];

/// Returns the colors of [`class_color`].
pub(super) fn default_class_colors() -> ClassColors {
    std::array::from_fn(|id| class_color(id as u8))
}

/// Draws `image` with the classes of `ids` painted over it, and a legend: a swatch, the name and
/// the share of the pixels in percent of each class that occurs.
///
/// Class 0, the background, stays as it is. Regions of other classes are tinted and outlined in
/// their color. `ids` has the size of `image`; a mask of another size is stretched over it. Ids
/// without a name appear as `class N`, and 255 as `ignored`. An `image` with a side over 4096 pixels
/// is shrunk to that first (the shares are still those of the whole mask), and one whose longer side
/// is under 480 pixels is enlarged by a whole factor.
///
/// The legend stands beside an image that is wider than high, and below others, or the other way
/// where it fits only so. It is never larger than the image, unless a side of that has less than 150
/// pixels, enlarged: where it would be, the classes of the fewest pixels are left out, and their
/// number is said. So no result has more than twice the pixels of such an image.
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
    let picture = enlarge_small(shrink_to_limit(image));
    let picture = blend_classes(&picture, ids, &colors, false);
    let legend = Legend::new(ids, class_names, &colors);
    let panel = draw_panel(picture.dimensions(), &legend);
    let panel_pixels = rasterize(&panel.scene);
    let mut result = RgbImage::from_pixel(panel.total_size.0, panel.total_size.1, Rgb(BACKGROUND));
    imageops::replace(&mut result, &picture, 0, 0);
    let (left, top) = panel.left_top;
    imageops::replace(&mut result, &panel_pixels, i64::from(left), i64::from(top));
    result
}

/// Where the legend stands, and how.
struct Placement {
    legend: Legend,
    layout: LegendLayout,
    is_beside: bool,
}

/// The legend as a picture of its own beside or below another one.
struct LegendPanel {
    scene: Scene,
    /// Position of its upper left corner, in pixels.
    left_top: (u32, u32),
    /// Size of both pictures together, in pixels.
    total_size: (u32, u32),
}

/// Draws the legend for a picture of this size.
fn draw_panel((width, height): (u32, u32), legend: &Legend) -> LegendPanel {
    let Placement { legend, layout, is_beside } = place_legend((width, height), legend);
    let size =
        (layout.width_px() + 2.0 * LEGEND_MARGIN_PX, layout.height_px() + 2.0 * LEGEND_MARGIN_PX);
    let size = (size.0.ceil() as u32, size.1.ceil() as u32);
    let mut scene = Scene::new(size, BACKGROUND);
    legend.draw(&mut scene, (LEGEND_MARGIN_PX, LEGEND_MARGIN_PX), layout);
    if is_beside {
        let total_size = (width + size.0, height.max(size.1));
        LegendPanel { scene, left_top: (width, 0), total_size }
    } else {
        let total_size = (width.max(size.0), height + size.1);
        LegendPanel { scene, left_top: (0, height), total_size }
    }
}

/// Finds the largest letters for which the legend is not larger than a picture of this size.
fn place_legend(size: (u32, u32), legend: &Legend) -> Placement {
    let is_wide = size.0 > size.1;
    let space = (
        (size.0 as f32 - 2.0 * LEGEND_MARGIN_PX).max(0.0),
        (size.1 as f32 - 2.0 * LEGEND_MARGIN_PX).max(0.0),
    );
    let longer = size.0.max(size.1) as f32;
    let mut font_px = (longer / 75.0).clamp(PREFERRED_FONT_PX, MAX_FONT_PX);
    loop {
        for is_beside in [is_wide, !is_wide] {
            let layout = if is_beside {
                legend.fit_to_height(font_px, space.1, space.0)
            } else {
                legend.fit_to_width(font_px, space.0)
            };
            if layout.width_px() <= space.0 && layout.height_px() <= space.1 {
                return Placement { legend: legend.clone(), layout, is_beside };
            }
        }
        if font_px <= MIN_FONT_PX {
            return place_part(space, legend, is_wide);
        }
        font_px = (font_px - 1.0).max(MIN_FONT_PX);
    }
}

/// Places as much of the legend as there is space for (width and height in pixels), with small
/// letters, and at least a few lines.
fn place_part((width, height): (f32, f32), legend: &Legend, is_beside: bool) -> Placement {
    let font_px = MIN_FONT_PX;
    let whole = legend.fit_to_width(font_px, width);
    let mut count = MIN_ENTRIES;
    // Beside or below a picture that is narrower than a line, a long legend would be much larger.
    if whole.width_px() <= width {
        count = count.max(LegendLayout::capacity(font_px, whole.columns(), height));
    }
    loop {
        let part = legend.keep_largest(count);
        let layout = part.fit_to_width(font_px, width);
        // The classes that stay may have longer names, which make fewer columns.
        if layout.height_px() <= height || count <= MIN_ENTRIES {
            return Placement { legend: part, layout, is_beside };
        }
        count -= 1;
    }
}

/// Enlarges a picture whose longer side is under [`MIN_SIDE_PX`] by the smallest whole factor that
/// reaches it, so that its pixels stay visible and a legend has room beside it.
fn enlarge_small(image: Cow<'_, RgbImage>) -> Cow<'_, RgbImage> {
    let (width, height) = image.dimensions();
    let factor = MIN_SIDE_PX.div_ceil(width.max(height));
    if factor == 1 {
        return image;
    }
    let nearest = imageops::FilterType::Nearest;
    Cow::Owned(imageops::resize(&*image, width * factor, height * factor, nearest))
}

/// Draws `image` with the classes of `ids` painted over it as [`draw_overlay`] does, without a
/// legend. Ignored pixels are striped in their color, which tells them from a class.
pub fn draw_classes(image: &RgbImage, ids: &GrayImage) -> RgbImage {
    draw_classes_with_colors(image, ids, class_color)
}

/// Draws classes as [`draw_classes`] does, with other colors: red, green and blue by class id.
pub fn draw_classes_with_colors(
    image: &RgbImage,
    ids: &GrayImage,
    color: impl Fn(u8) -> [u8; 3],
) -> RgbImage {
    if image.is_empty() || ids.is_empty() {
        return image.clone();
    }
    let colors: ClassColors = std::array::from_fn(|id| color(id as u8));
    blend_classes(&shrink_to_limit(image), ids, &colors, true)
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
            stripe_ignored && class_id == IGNORED_CLASS_ID && !is_striped(x, y, thickness);
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
    use crate::render::palette::INK;
    use crate::render::scene::tests::assert_texts_are_apart;
    use image::Luma;

    /// Makes a gray picture, and a mask of two classes side by side.
    fn two_halves(width: u32, height: u32) -> (RgbImage, GrayImage) {
        let image = RgbImage::from_pixel(width, height, Rgb([100; 3]));
        let ids = GrayImage::from_fn(width, height, |x, _| Luma([u8::from(x >= width / 2)]));
        (image, ids)
    }

    /// Makes a mask of as many classes in stripes.
    fn stripes(width: u32, height: u32, classes: u32) -> GrayImage {
        GrayImage::from_fn(width, height, |x, y| Luma([((x + y * width) % classes) as u8]))
    }

    #[test]
    fn regions_are_tinted_outlined_and_the_background_is_left_alone() {
        let (image, ids) = two_halves(600, 400);
        let result = draw_overlay(&image, &ids, &["nothing".to_owned(), "thing".to_owned()]);
        assert!(result.width() > 600 && result.height() == 400, "the legend stands beside");
        assert_eq!(result.get_pixel(5, 5).0, [100, 100, 100]);
        assert_eq!(result.get_pixel(300, 5).0, [128, 0, 0]);
        assert_eq!(result.get_pixel(400, 5).0, [114, 50, 50]);
    }

    #[test]
    fn regions_and_legend_have_the_colors_that_were_given() {
        let (image, ids) = two_halves(600, 400);
        let names = ["nothing".to_owned(), "thing".to_owned()];
        let result = draw_overlay_with_colors(&image, &ids, &names, |id| [0, id.min(1) * 200, 250]);
        assert_eq!(result.get_pixel(400, 5).0, [50, 150, 175]);
        let swatch = Rgb([0, 200, 250]);
        assert!(result.enumerate_pixels().any(|(x, _, pixel)| x > 600 && *pixel == swatch));
        assert_eq!(
            draw_overlay_with_colors(&image, &ids, &names, class_color),
            draw_overlay(&image, &ids, &names)
        );
    }

    #[test]
    fn ignored_pixels_are_striped_and_told_from_classes() {
        let image = RgbImage::from_pixel(40, 30, Rgb([100, 100, 100]));
        let ids = GrayImage::from_fn(40, 30, |x, _| Luma([if x < 20 { 255 } else { 1 }]));
        let result = draw_classes(&image, &ids);
        assert_eq!(result.dimensions(), (40, 30));
        let left: Vec<_> = (0..12).map(|x| result.get_pixel(x, 5).0).collect();
        let bare = left.iter().filter(|pixel| **pixel == [100; 3]).count();
        assert_eq!(bare, 8, "two thirds show what is beneath: {left:?}");
        assert!(left.contains(&[162, 162, 146]));
        assert_eq!(result.get_pixel(30, 5).0, [114, 50, 50]);
    }

    #[test]
    fn large_pictures_are_shrunk_and_small_ones_enlarged_by_a_whole_factor() {
        let (image, ids) = two_halves(8192, 4000);
        let result = draw_overlay(&image, &ids, &[]);
        assert_eq!(result.height(), 2000);
        assert_eq!(result.get_pixel(2000, 5).0, [100, 100, 100]);
        assert_eq!(result.get_pixel(2048, 5).0, [128, 0, 0]);
        assert_eq!(result.get_pixel(3000, 5).0, [114, 50, 50]);
        let (image, ids) = two_halves(50, 70);
        let result = draw_overlay(&image, &ids, &[]);
        assert_eq!(result.width(), 7 * 50);
        assert_eq!(result.get_pixel(7 * 25 - 1, 3).0, [100, 100, 100]);
        assert_eq!(result.get_pixel(7 * 25, 3).0, [128, 0, 0]);
    }

    #[test]
    fn the_legend_is_beside_wide_and_below_high_pictures_and_never_larger() {
        let mut names: Vec<String> = (0..254).map(|id| format!("class ṒŠģ {id}")).collect();
        names[1].push_str(&" with a long name".repeat(1000));
        for (width, height) in
            [(480, 320), (320, 480), (640, 640), (150, 480), (480, 150), (1920, 1080), (4096, 3000)]
        {
            for classes in [1, 2, 21, 150, 254] {
                let ids = stripes(width, height, classes);
                let legend = Legend::new(&ids, &names, &default_class_colors());
                let LegendPanel { scene, total_size, .. } = draw_panel((width, height), &legend);
                assert_texts_are_apart(&scene);
                let (beside, below) = (total_size.0 - width, total_size.1 - height);
                assert!((beside == 0) != (below == 0), "{total_size:?}");
                assert!(beside <= width && below <= height, "{width}x{height} {classes}");
                if classes <= 2 {
                    assert_eq!(beside > 0, width > height, "{width}x{height}");
                }
                let text = scene.texts().last().unwrap();
                assert!(text.size_px >= MIN_FONT_PX);
                // The legend counts the classes that it has no room for.
                let lines = scene.texts().filter(|text| text.color == INK).count();
                let left_out = scene.texts().find_map(|text| {
                    text.text.strip_prefix("and ")?.strip_suffix(" more")?.parse::<usize>().ok()
                });
                let listed = lines - usize::from(left_out.is_some());
                assert_eq!(listed + left_out.unwrap_or(0), classes as usize);
            }
        }
    }

    #[test]
    fn any_pair_of_sizes_is_drawn() {
        let small = [(1, 1), (1, 900), (900, 1), (7, 5), (640, 480)];
        let thin = [(1, 10_000_000), (10_000_000, 1), (4097, 3), (3, 9000)];
        for (width, height) in small.into_iter().chain(thin) {
            let image = RgbImage::new(width, height);
            let own = GrayImage::new(width, height);
            let other = GrayImage::from_fn(50, 6, |x, y| Luma([(50 * y + x) as u8]));
            for ids in [GrayImage::new(3, 2), own, other] {
                let result = draw_overlay(&image, &ids, &[]);
                let least = (width.min(MAX_SIDE_PX), height.min(MAX_SIDE_PX));
                assert!(result.width() >= least.0 && result.height() >= least.1);
                let pixels = u64::from(width) * u64::from(height);
                assert!(result.pixels().len() as u64 <= 2 * pixels + 500_000, "{width}x{height}");
            }
        }
        assert_eq!(
            draw_overlay(&RgbImage::new(0, 0), &GrayImage::new(1, 1), &[]),
            RgbImage::new(0, 0)
        );
    }
}
