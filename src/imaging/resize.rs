//! Regions of pictures and masks to a given size.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{GrayImage, Luma, RgbImage};

/// A rectangle in source pixels; (0, 0) is the outer corner of the first pixel, so fractions are
/// meaningful. What lies outside the source is cut away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Distance of the left edge from the source's left edge.
    pub left: f64,
    /// Distance of the upper edge from the source's upper edge.
    pub top: f64,
    /// Columns covered.
    pub width: f64,
    /// Rows covered.
    pub height: f64,
}

impl Region {
    /// A whole picture of `width` x `height` pixels.
    pub fn whole(width: u32, height: u32) -> Self {
        Self { left: 0.0, top: 0.0, width: f64::from(width), height: f64::from(height) }
    }

    /// The part of the region that lies on a source of this size, at least a thousandth of a
    /// pixel wide and high.
    fn clamped(self, width: u32, height: u32) -> Self {
        let (left, width) = clamp_span(self.left, self.width, f64::from(width));
        let (top, height) = clamp_span(self.top, self.height, f64::from(height));
        Self { left, top, width, height }
    }
}

/// `(start, length)` of a span cut to `0..size`; values that are not numbers count as 0.
fn clamp_span(start: f64, length: f64, size: f64) -> (f64, f64) {
    const LEAST: f64 = 1e-3;
    let number = |value: f64| if value.is_nan() { 0.0 } else { value };
    let (start, end) = (number(start), number(start) + number(length));
    let start = start.clamp(0.0, size - LEAST);
    let end = number(end).clamp(start + LEAST, size.max(start + LEAST));
    // start + length must not exceed size by a rounding error.
    (start, (end - start).min(size - start))
}

/// `region` of `image` scaled to `width` x `height` pixels (each at least 1), bilinear with
/// antialiasing when it shrinks: the values of PIL's `resize(..., BILINEAR, box=...)`. Only the
/// region is computed. A source without pixels gives black.
pub fn resize_image(image: &RgbImage, region: Region, width: u32, height: u32) -> RgbImage {
    let (width, height) = (width.max(1), height.max(1));
    if image.is_empty() {
        return RgbImage::new(width, height);
    }
    let region = region.clamped(image.width(), image.height());
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(region.left, region.top, region.width, region.height);
    let mut target = Image::new(width, height, PixelType::U8x3);
    if let Ok(source) =
        ImageRef::new(image.width(), image.height(), image.as_raw(), PixelType::U8x3)
    {
        // Fails only for a region outside the source or unequal pixel types: neither can be.
        let _ = Resizer::new().resize(&source, &mut target, &options);
    }
    RgbImage::from_raw(width, height, target.into_vec()).unwrap_or_default()
}

/// `region` of a mask scaled to `width` x `height` pixels (each at least 1): every target pixel
/// takes the id of the source pixel that its centre falls on. A source without pixels gives 0.
pub fn resize_mask(ids: &GrayImage, region: Region, width: u32, height: u32) -> GrayImage {
    let (width, height) = (width.max(1), height.max(1));
    if ids.is_empty() {
        return GrayImage::new(width, height);
    }
    let region = region.clamped(ids.width(), ids.height());
    let pick = |start: f64, length: f64, count: u32, size: u32| -> Vec<u32> {
        let step = length / f64::from(count);
        let at = |i| (start + (f64::from(i) + 0.5) * step) as u32;
        (0..count).map(|i| at(i).min(size - 1)).collect()
    };
    let columns = pick(region.left, region.width, width, ids.width());
    let rows = pick(region.top, region.height, height, ids.height());
    GrayImage::from_fn(width, height, |x, y| {
        Luma([ids.get_pixel(columns[x as usize], rows[y as usize]).0[0]])
    })
}
