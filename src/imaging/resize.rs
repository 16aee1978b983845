//! Scaling of regions of pictures and masks.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{GrayImage, RgbImage};

/// A rectangle in source pixels. (0, 0) is the outer corner of the first pixel, so fractions are
/// meaningful. Parts outside the source are cut away.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Distance from the source's left edge, in pixels.
    pub left: f64,
    /// Distance from the source's upper edge, in pixels.
    pub top: f64,
    /// Width, in pixels.
    pub width: f64,
    /// Height, in pixels.
    pub height: f64,
}

impl Region {
    /// Returns the region of a whole picture of `width` x `height` pixels.
    pub fn whole(width: u32, height: u32) -> Self {
        Self { left: 0.0, top: 0.0, width: f64::from(width), height: f64::from(height) }
    }

    /// Returns the same part of the picture after its width and height were divided by `divisor`.
    pub(super) fn divided_by(self, divisor: f64) -> Self {
        let Self { left, top, width, height } = self;
        Self {
            left: left / divisor,
            top: top / divisor,
            width: width / divisor,
            height: height / divisor,
        }
    }

    /// Returns the part of the region that lies on a source of this size, at least a thousandth of
    /// a pixel wide and high.
    fn clamped(self, width: u32, height: u32) -> Self {
        let (left, width) = clamp_span(self.left, self.width, f64::from(width));
        let (top, height) = clamp_span(self.top, self.height, f64::from(height));
        Self { left, top, width, height }
    }
}

/// Returns `(start, length)` of a span cut to `0..size`. Values that are not numbers count as 0.
fn clamp_span(start: f64, length: f64, size: f64) -> (f64, f64) {
    const MIN_LENGTH: f64 = 1e-3;
    let (start, end) = (zero_if_nan(start), zero_if_nan(start) + zero_if_nan(length));
    let start = start.clamp(0.0, size - MIN_LENGTH);
    let end = zero_if_nan(end).clamp(start + MIN_LENGTH, size.max(start + MIN_LENGTH));
    // The sum of start and length must not exceed the size by a rounding error.
    (start, (end - start).min(size - start))
}

fn zero_if_nan(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// Scales `region` of `image` to `width` x `height` pixels (each at least 1), bilinear with
/// antialiasing where it shrinks: the values of PIL's `resize(..., BILINEAR, box=...)`. Only the
/// region is computed. A source without pixels gives black.
pub fn resize_image(image: &RgbImage, region: Region, width: u32, height: u32) -> RgbImage {
    let source = RgbPixels { pixels: image.as_raw(), size: image.dimensions() };
    resize_pixels(source, region, (width, height), &mut Resizer::new())
}

/// The pixels of a picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct RgbPixels<'a> {
    /// Red, green and blue of each pixel.
    pub(super) pixels: &'a [u8],
    /// Columns and rows.
    pub(super) size: (u32, u32),
}

/// Scales as [`resize_image`] does, from the RGB bytes of a source of `columns` x `rows` pixels and
/// with a resizer whose buffers are used again.
pub(super) fn resize_pixels(
    source: RgbPixels<'_>,
    region: Region,
    (width, height): (u32, u32),
    resizer: &mut Resizer,
) -> RgbImage {
    let RgbPixels { pixels, size: (columns, rows) } = source;
    let mut target = RgbImage::new(width.max(1), height.max(1));
    if columns == 0 || rows == 0 {
        return target;
    }
    let region = region.clamped(columns, rows);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(region.left, region.top, region.width, region.height);
    // The typed calls compile the resizer for this pixel type only, and not for all thirteen.
    let source = TypedImageRef::<U8x3>::from_buffer(columns, rows, pixels);
    let target_view = TypedImage::<U8x3>::from_buffer(width.max(1), height.max(1), &mut target);
    let resized = match (source, target_view) {
        (Ok(source), Ok(mut view)) => resizer.resize_typed(&source, &mut view, &options).is_ok(),
        _ => false,
    };
    // Resizing fails only for a buffer that is too short or a region outside the source; neither
    // can occur here.
    debug_assert!(resized, "{region:?} of {columns} x {rows}");
    target
}

/// Scales `region` of a mask to `width` x `height` pixels (each at least 1). Every target pixel
/// takes the id of the source pixel that its center falls on. A source without pixels gives 0.
pub fn resize_mask(ids: &GrayImage, region: Region, width: u32, height: u32) -> GrayImage {
    let (width, height) = (width.max(1), height.max(1));
    if ids.is_empty() {
        return GrayImage::new(width, height);
    }
    let region = region.clamped(ids.width(), ids.height());
    let columns = source_indices(region.left, region.width, width, ids.width());
    let rows = source_indices(region.top, region.height, height, ids.height());
    let mut target = GrayImage::new(width, height);
    let target_rows = target.chunks_exact_mut(width as usize).zip(rows);
    for (target_row, row) in target_rows {
        let source_row =
            &ids.as_raw()[row as usize * ids.width() as usize..][..ids.width() as usize];
        for (target_id, &column) in target_row.iter_mut().zip(&columns) {
            *target_id = source_row[column as usize];
        }
    }
    target
}

/// Returns for each of `count` target pixels the index of the source pixel, of `size`, that its
/// center falls on. The target covers the span of `length` source pixels from `start` on.
fn source_indices(start: f64, length: f64, count: u32, size: u32) -> Vec<u32> {
    let step = length / f64::from(count);
    let mut indices = Vec::with_capacity(count as usize);
    for index in 0..count {
        let position = start + (f64::from(index) + 0.5) * step;
        indices.push((position as u32).min(size - 1));
    }
    indices
}

#[cfg(test)]
mod tests {
    use image::Luma;
    use proptest::prelude::*;

    use super::*;
    use crate::imaging::fixtures::fixture;
    use crate::imaging::{DecodeLimits, decode_upright};

    fn picture(name: &str) -> RgbImage {
        decode_upright(&fixture(name), DecodeLimits::default()).unwrap()
    }

    #[test]
    fn pictures_are_resized_as_by_pil() {
        let source = picture("resize_source.png");
        let whole = Region::whole(40, 30);
        let part = Region { left: 5.25, top: 3.5, width: 24.75, height: 18.25 };
        for (name, region) in [("smaller", whole), ("larger", whole), ("part", part)] {
            let expected = picture(&format!("resize_{name}.png"));
            let got = resize_image(&source, region, expected.width(), expected.height());
            let pairs = got.as_raw().iter().zip(expected.as_raw());
            assert!(pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap() <= 1, "{name}");
        }
    }

    #[test]
    fn mask_pixels_come_from_the_source_pixel_under_their_center() {
        let ids = GrayImage::from_raw(4, 1, vec![1, 2, 3, 4]).unwrap();
        let row = |region, width| resize_mask(&ids, region, width, 1).into_raw();
        let whole = Region::whole(4, 1);
        assert_eq!(row(whole, 2), [2, 4]);
        assert_eq!(row(whole, 8), [1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(row(Region { left: 1.0, width: 2.0, ..whole }, 4), [2, 2, 3, 3]);
        assert_eq!(resize_mask(&GrayImage::new(0, 0), whole, 2, 2), GrayImage::new(2, 2));
    }

    fn length() -> impl Strategy<Value = f64> {
        prop_oneof![-20.0..50.0, Just(0.0), Just(f64::NAN), Just(f64::INFINITY), Just(1e300)]
    }

    proptest! {
        #[test]
        fn any_region_gives_source_pixels(
            (source_width, source_height) in (1_u32..40, 1_u32..40),
            (left, top, width, height) in (length(), length(), length(), length()),
            (to_width, to_height) in (0_u32..50, 0_u32..50),
        ) {
            let region = Region { left, top, width, height };
            let white = RgbImage::from_pixel(source_width, source_height, image::Rgb([255; 3]));
            let image = resize_image(&white, region, to_width, to_height);
            prop_assert_eq!(image.dimensions(), (to_width.max(1), to_height.max(1)));
            prop_assert!(image.as_raw().iter().all(|&value| value == 255));
            let ids = GrayImage::from_pixel(source_width, source_height, Luma([7]));
            let mask = resize_mask(&ids, region, to_width, to_height);
            prop_assert!(mask.as_raw().iter().all(|&value| value == 7));
        }
    }
}
