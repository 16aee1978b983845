//! Pictures that are open but not yet decoded. Their size is known and allowed, and a JPEG is
//! decoded only as far as the requested region and size need.

use std::borrow::Cow;
use std::cell::RefCell;

use fast_image_resize::Resizer;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::decode::{DecodeLimits, catch_decoder_panics};
use super::error::DecodeError;
use super::jpeg_file::OpenJpeg;
use super::resize::{Region, RgbPixels, resize_pixels};
use super::sniff::{ImageFormat, detect_format};
use super::{bmp_file, png_file, tiff_file, webp_file};

/// A picture of any format whose header was read. Sizes and regions are those of the upright
/// picture.
#[derive(Debug)]
pub struct LazyImage<'a> {
    content: ImageContent<'a>,
    orientation: Orientation,
    /// Columns of the stored picture, in pixels.
    width: u32,
    height: u32,
}

#[derive(Debug)]
enum ImageContent<'a> {
    /// JPEG that is decoded on demand, whole or reduced.
    Jpeg(OpenJpeg<'a>),
    /// Decoded pixels, not turned yet. Other formats have no reduced decoding, and the orientation
    /// of a PNG may follow its pixels.
    Pixels(RgbImage),
}

/// Memory and resizer of one thread, kept from picture to picture: fresh memory for every picture
/// costs a noticeable part of its decoding time.
#[derive(Default)]
struct ThreadBuffers {
    pixels: Vec<u8>,
    resizer: Resizer,
}

/// Largest size in bytes of the [`ThreadBuffers::pixels`] that a thread keeps; memory for a larger
/// picture is freed.
const MAX_KEPT_BYTES: usize = 64 << 20;

thread_local! {
    static THREAD_BUFFERS: RefCell<ThreadBuffers> = RefCell::default();
}

impl<'a> LazyImage<'a> {
    /// Opens a picture, recognized by its first bytes.
    ///
    /// # Errors Bytes of no supported format, and an image larger than `limits` or longer than
    /// [`MAX_SIDE_PX`](super::MAX_SIDE_PX). Damage to a JPEG may show only when it is decoded.
    pub fn open(
        bytes: impl Into<Cow<'a, [u8]>>,
        limits: DecodeLimits,
    ) -> Result<Self, DecodeError> {
        let bytes = bytes.into();
        let format = detect_format(&bytes)?;
        catch_decoder_panics(|| {
            let (image, orientation) = match format {
                ImageFormat::Jpeg => {
                    let jpeg = OpenJpeg::open(bytes, limits)?;
                    let (width, height) = (jpeg.header.width, jpeg.header.height);
                    let orientation = jpeg.header.orientation;
                    return Ok(Self {
                        content: ImageContent::Jpeg(jpeg),
                        orientation,
                        width,
                        height,
                    });
                }
                ImageFormat::Png => png_file::decode_png(&bytes, limits)?,
                ImageFormat::WebP => webp_file::decode_webp(&bytes, limits)?,
                ImageFormat::Tiff => tiff_file::decode_tiff(&bytes, limits)?,
                ImageFormat::Bmp => {
                    (bmp_file::decode_bmp(&bytes, limits)?, Orientation::NoTransforms)
                }
            };
            let (width, height) = image.dimensions();
            Ok(Self { content: ImageContent::Pixels(image), orientation, width, height })
        })
    }

    /// Returns columns and rows of the upright picture, in pixels.
    pub fn dimensions(&self) -> (u32, u32) {
        let is_transposed = swaps_width_and_height(self.orientation);
        if is_transposed { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// Returns the EXIF orientation: how the stored picture is turned or mirrored to stand upright.
    pub fn orientation(&self) -> Orientation {
        self.orientation
    }

    /// Returns columns and rows of the picture as it is stored, in pixels.
    pub fn stored_dimensions(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Decodes all pixels, upright.
    ///
    /// # Errors A picture that is cut off or damaged. No picture is returned with missing parts
    /// painted gray.
    pub fn decode(self) -> Result<RgbImage, DecodeError> {
        let image = match self.content {
            ImageContent::Jpeg(jpeg) => catch_decoder_panics(|| jpeg.decode())?,
            ImageContent::Pixels(image) => image,
        };
        Ok(apply_orientation(image, self.orientation))
    }

    /// Decodes `region` scaled to `width` x `height` pixels, as
    /// [`resize_image`](super::resize_image) does. A JPEG that shrinks to a half or less is decoded
    /// to the smallest reduced picture that still has at least the requested pixels.
    ///
    /// # Errors As [`decode`](Self::decode).
    pub fn crop_and_resize(
        &self,
        region: Region,
        width: u32,
        height: u32,
    ) -> Result<RgbImage, DecodeError> {
        let region = to_stored_region(
            region,
            self.orientation,
            f64::from(self.width),
            f64::from(self.height),
        );
        let is_transposed = swaps_width_and_height(self.orientation);
        let (width, height) = if is_transposed { (height, width) } else { (width, height) };
        let image = THREAD_BUFFERS
            .with_borrow_mut(|buffers| self.resize_stored(region, width, height, buffers))?;
        Ok(apply_orientation(image, self.orientation))
    }

    /// Decodes `region` of the stored picture scaled to `width` x `height` pixels.
    fn resize_stored(
        &self,
        region: Region,
        width: u32,
        height: u32,
        buffers: &mut ThreadBuffers,
    ) -> Result<RgbImage, DecodeError> {
        let ThreadBuffers { pixels, resizer } = buffers;
        match &self.content {
            ImageContent::Jpeg(jpeg) => {
                let divisor =
                    if jpeg.header.is_scalable { choose_divisor(region, width, height) } else { 1 };
                let size = catch_decoder_panics(|| jpeg.decode_scaled(divisor, pixels))?;
                let region = region.divided_by(divisor as f64);
                let source = RgbPixels { pixels, size };
                let resized = resize_pixels(source, region, (width, height), resizer);
                if pixels.capacity() > MAX_KEPT_BYTES {
                    *pixels = Vec::new();
                }
                Ok(resized)
            }
            ImageContent::Pixels(image) => {
                let source = RgbPixels { pixels: image.as_raw(), size: image.dimensions() };
                Ok(resize_pixels(source, region, (width, height), resizer))
            }
        }
    }
}

/// Returns the largest divisor after which `region` still has `width` x `height` pixels.
fn choose_divisor(region: Region, width: u32, height: u32) -> usize {
    for divisor in [8, 4, 2] {
        let reduced = region.divided_by(divisor as f64);
        if reduced.width >= f64::from(width) && reduced.height >= f64::from(height) {
            return divisor;
        }
    }
    1
}

fn apply_orientation(image: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

fn swaps_width_and_height(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Converts a region of the upright picture to one of the stored picture of `stored_width` x
/// `stored_height` pixels.
fn to_stored_region(
    region: Region,
    orientation: Orientation,
    stored_width: f64,
    stored_height: f64,
) -> Region {
    let Region { left, top, width, height } = region;
    let (left, top) = match orientation {
        Orientation::NoTransforms => (left, top),
        Orientation::FlipHorizontal => (stored_width - left - width, top),
        Orientation::FlipVertical => (left, stored_height - top - height),
        Orientation::Rotate180 => (stored_width - left - width, stored_height - top - height),
        Orientation::Rotate90 => (top, stored_height - left - width),
        Orientation::Rotate270 => (stored_width - top - height, left),
        Orientation::Rotate90FlipH => (top, left),
        Orientation::Rotate270FlipH => (stored_width - top - height, stored_height - left - width),
    };
    if swaps_width_and_height(orientation) {
        return Region { left, top, width: height, height: width };
    }
    Region { left, top, width, height }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::fixtures::{all_fixtures, fixture};
    use crate::imaging::{decode_upright, encode_jpeg, encode_png, resize_image};

    fn mean_and_max_difference(a: &RgbImage, b: &RgbImage) -> (f64, u8) {
        assert_eq!(a.dimensions(), b.dimensions());
        let sample_differences = || a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b));
        (
            sample_differences().map(f64::from).sum::<f64>() / a.as_raw().len() as f64,
            sample_differences().max().unwrap(),
        )
    }

    /// Draws a scene with detail at every size, as photographs have, but none as fine as a pixel.
    fn scene(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let wave = |period: f64, angle: f64| {
                (std::f64::consts::TAU * (f64::from(x) * angle.cos() + f64::from(y) * angle.sin())
                    / period)
                    .sin()
            };
            let value = 128.0
                + 50.0 * wave(300.0, 0.3)
                + 30.0 * wave(90.0, 1.2)
                + 20.0 * wave(30.0, 2.1)
                + 10.0 * wave(9.0, 0.8);
            image::Rgb([value as u8, (255.0 - value) as u8, (value / 2.0) as u8])
        })
    }

    #[test]
    fn a_cut_of_any_picture_is_that_of_the_whole_upright_one() {
        let limits = DecodeLimits::default();
        let mut oriented = 0;
        for (name, bytes) in all_fixtures().filter(|(name, _)| !name.starts_with("mask_")) {
            let picture = LazyImage::open(&bytes, limits).unwrap();
            let whole = decode_upright(&bytes, limits).unwrap();
            let (width, height) = whole.dimensions();
            assert_eq!(picture.dimensions(), (width, height), "{name}");
            oriented += u32::from(picture.orientation != Orientation::NoTransforms);
            // The region is off center, so that a wrong corner shows, and enlarged, so that nothing
            // is reduced.
            let region = Region {
                left: 0.1 * f64::from(width),
                top: 0.25 * f64::from(height),
                width: 0.6 * f64::from(width),
                height: 0.4 * f64::from(height),
            };
            let got = picture.crop_and_resize(region, width + 3, height + 1).unwrap();
            let expected = resize_image(&whole, region, width + 3, height + 1);
            let (_, largest) = mean_and_max_difference(&got, &expected);
            assert!(largest <= 2, "{name} differs by {largest}");
        }
        assert!(oriented >= 8, "only {oriented} fixtures are turned");
    }

    #[test]
    fn the_reduction_leaves_at_least_the_pixels_asked_for() {
        let region = Region { left: 3.0, top: 5.0, width: 480.0, height: 480.0 };
        for (side, expected) in [(481, 1), (480, 1), (241, 1), (240, 2), (120, 4), (61, 4), (60, 8)]
        {
            assert_eq!(choose_divisor(region, side, side), expected, "{side}");
            assert_eq!(choose_divisor(region, side, 480), 1, "the other side decides too");
        }
        assert_eq!(choose_divisor(region, 1, 1), 8);
    }

    #[test]
    fn a_reduced_picture_shows_what_the_whole_one_shows() {
        let jpeg = encode_jpeg(&scene(1001, 747), 95);
        let whole = decode_upright(&jpeg, DecodeLimits::default()).unwrap();
        let picture = LazyImage::open(&jpeg, DecodeLimits::default()).unwrap();
        let region = Region { left: 100.5, top: 60.25, width: 880.0, height: 640.0 };
        for (width, height) in [(440, 320), (300, 200), (220, 160), (100, 70), (40, 29)] {
            assert!(choose_divisor(region, width, height) > 1);
            let got = picture.crop_and_resize(region, width, height).unwrap();
            let expected = resize_image(&whole, region, width, height);
            let (mean, largest) = mean_and_max_difference(&got, &expected);
            // A shift by half a pixel of the result would give a mean of 3 to 8.
            assert!(mean < 1.5 && largest < 24, "{width}x{height}: {mean} {largest}");
        }
    }

    #[test]
    fn damage_inside_a_scan_is_an_error_at_every_scale() {
        let mut bytes = encode_jpeg(&scene(640, 480), 90);
        let middle = bytes.len() / 2;
        // A run of ones is no code of any Huffman table.
        for pair in bytes[middle..middle + 40].chunks_exact_mut(2) {
            pair.copy_from_slice(&[0xff, 0]);
        }
        let error = decode_upright(&bytes, DecodeLimits::default()).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        let picture = LazyImage::open(&bytes, DecodeLimits::default()).unwrap();
        for side in [480, 200, 100, 50] {
            let region = Region { left: 0.0, top: 0.0, width: 480.0, height: 480.0 };
            assert!(picture.crop_and_resize(region, side, side).is_err(), "{side}");
        }
    }

    #[test]
    fn padding_after_the_pictures_data_is_no_damage() {
        let bytes = fixture("rgb_420.jpg");
        let end = bytes.len() - 2;
        let padded = [&bytes[..end], &[0; 17], &bytes[end..]].concat();
        assert_eq!(
            decode_upright(&padded, DecodeLimits::default()),
            decode_upright(&bytes, DecodeLimits::default())
        );
    }

    #[test]
    fn a_thread_that_cut_a_large_picture_cuts_a_small_one_after_it() {
        let cut = |bytes: &[u8]| {
            let picture = LazyImage::open(bytes, DecodeLimits::default()).unwrap();
            let (width, height) = picture.dimensions();
            picture.crop_and_resize(Region::whole(width, height), 16, 16).unwrap()
        };
        let small = fixture("rgb_444.jpg");
        let before = cut(&small);
        cut(&encode_jpeg(&scene(900, 700), 80));
        cut(&encode_png(&scene(40, 30)));
        assert_eq!(cut(&small), before);
    }
}
