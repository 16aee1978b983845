//! A picture that is open: its size is known and allowed, and as little of it is decoded as the
//! part asked for needs.

use std::borrow::Cow;
use std::cell::RefCell;

use fast_image_resize::Resizer;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use super::decode::{Limits, guarded};
use super::error::DecodeError;
use super::jpeg_file::{self, Header};
use super::resize::{Region, resize_pixels};
use super::sniff::{Format, format_of};
use super::{bmp_file, png_file, tiff_file, webp_file};

/// A picture of any format whose header was read. Sizes and regions are those of the upright picture.
#[derive(Debug)]
pub struct Picture<'a> {
    content: Content<'a>,
    orientation: Orientation,
    /// As stored.
    width: u32,
    height: u32,
}

#[derive(Debug)]
enum Content<'a> {
    /// Decoded when asked for, whole or reduced.
    Jpeg(Cow<'a, [u8]>, Header),
    /// Stored pixels: only of a JPEG a part can be decoded, and a PNG may tell its orientation after them.
    Pixels(RgbImage),
}

/// What one thread decodes and resizes with, kept from picture to picture: fresh memory for every
/// picture costs as much time as decoding a tenth of it.
#[derive(Default)]
struct Scratch {
    pixels: Vec<u8>,
    resizer: Resizer,
}

/// Bytes of [`Scratch`] kept by each thread; a larger picture gives its memory back.
const KEEP: usize = 64 << 20;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<'a> Picture<'a> {
    /// Opens a picture, known by its first bytes.
    ///
    /// # Errors
    /// Bytes of no format that can be read, and an image larger than `limits` or longer than
    /// [`MAX_SIDE`](super::MAX_SIDE). Damage may show only when it is decoded.
    pub fn open(bytes: impl Into<Cow<'a, [u8]>>, limits: Limits) -> Result<Self, DecodeError> {
        let bytes = bytes.into();
        let format = format_of(&bytes)?;
        guarded(|| {
            let (image, orientation) = match format {
                Format::Jpeg => {
                    let header = jpeg_file::header(&bytes, limits)?;
                    let Header { width, height, orientation, .. } = header;
                    let content = if header.reducible {
                        Content::Jpeg(bytes, header)
                    } else {
                        Content::Pixels(jpeg_file::decode(&bytes, &header)?)
                    };
                    return Ok(Self { content, orientation, width, height });
                }
                Format::Png => png_file::decode(&bytes, limits)?,
                Format::WebP => webp_file::decode(&bytes, limits)?,
                Format::Tiff => tiff_file::decode(&bytes, limits)?,
                Format::Bmp => (bmp_file::decode(&bytes, limits)?, Orientation::NoTransforms),
            };
            let (width, height) = image.dimensions();
            Ok(Self { content: Content::Pixels(image), orientation, width, height })
        })
    }

    /// Columns and rows of the upright picture.
    pub fn dimensions(&self) -> (u32, u32) {
        let turned = lies_on_its_side(self.orientation);
        if turned { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// All pixels, upright.
    ///
    /// # Errors
    /// A picture that is cut off or damaged; none is returned with missing parts painted grey.
    pub fn decode(self) -> Result<RgbImage, DecodeError> {
        let image = match self.content {
            Content::Jpeg(bytes, header) => guarded(|| jpeg_file::decode(&bytes, &header))?,
            Content::Pixels(image) => image,
        };
        Ok(upright(image, self.orientation))
    }

    /// `region` scaled to `width` x `height` pixels as by [`resize_image`](super::resize_image); of
    /// a JPEG that is shrunk to a half or less, by way of the smallest reduced picture that still has
    /// at least the pixels asked for.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn cut(&self, region: Region, width: u32, height: u32) -> Result<RgbImage, DecodeError> {
        let region =
            stored(region, self.orientation, f64::from(self.width), f64::from(self.height));
        let turned = lies_on_its_side(self.orientation);
        let (width, height) = if turned { (height, width) } else { (width, height) };
        let image = SCRATCH.with_borrow_mut(|Scratch { pixels, resizer }| match &self.content {
            Content::Jpeg(bytes, header) => {
                let divisor = divisor(region, width, height);
                let size = guarded(|| jpeg_file::decode_reduced(bytes, header, divisor, pixels))?;
                let region = region.divided(divisor as f64);
                let cut = resize_pixels((pixels, size), region, (width, height), resizer);
                if pixels.capacity() > KEEP {
                    *pixels = Vec::new();
                }
                Ok(cut)
            }
            Content::Pixels(image) => {
                let source = (image.as_raw().as_slice(), image.dimensions());
                Ok(resize_pixels(source, region, (width, height), resizer))
            }
        })?;
        Ok(upright(image, self.orientation))
    }
}

/// The largest reduction after which `region` still has `width` x `height` pixels.
fn divisor(region: Region, width: u32, height: u32) -> usize {
    let enough = |divisor: &usize| {
        let divisor = *divisor as f64;
        region.width / divisor >= f64::from(width) && region.height / divisor >= f64::from(height)
    };
    [8, 4, 2].into_iter().find(enough).unwrap_or(1)
}

fn upright(image: RgbImage, orientation: Orientation) -> RgbImage {
    if orientation == Orientation::NoTransforms {
        return image;
    }
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}

fn lies_on_its_side(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
}

/// Where a region of the upright picture lies in the stored one of `columns` x `rows` pixels.
fn stored(region: Region, orientation: Orientation, columns: f64, rows: f64) -> Region {
    let Region { left, top, width, height } = region;
    let straight = |left, top| Region { left, top, width, height };
    let turned = |left, top| Region { left, top, width: height, height: width };
    match orientation {
        Orientation::NoTransforms => region,
        Orientation::FlipHorizontal => straight(columns - left - width, top),
        Orientation::FlipVertical => straight(left, rows - top - height),
        Orientation::Rotate180 => straight(columns - left - width, rows - top - height),
        Orientation::Rotate90 => turned(top, rows - left - width),
        Orientation::Rotate270 => turned(columns - top - height, left),
        Orientation::Rotate90FlipH => turned(top, left),
        Orientation::Rotate270FlipH => turned(columns - top - height, rows - left - width),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::fixtures::{all, fixture};
    use crate::imaging::{decode_upright, encode_jpeg, encode_png, resize_image};

    fn differences(a: &RgbImage, b: &RgbImage) -> (f64, u8) {
        assert_eq!(a.dimensions(), b.dimensions());
        let each = || a.as_raw().iter().zip(b.as_raw()).map(|(a, b)| a.abs_diff(*b));
        (each().map(f64::from).sum::<f64>() / a.as_raw().len() as f64, each().max().unwrap())
    }

    /// A scene with detail at every size, as photographs have, none of it as fine as a pixel.
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
        let limits = Limits::default();
        let mut oriented = 0;
        for (name, bytes) in all().filter(|(name, _)| !name.starts_with("mask_")) {
            let picture = Picture::open(&bytes, limits).unwrap();
            let whole = decode_upright(&bytes, limits).unwrap();
            let (width, height) = whole.dimensions();
            assert_eq!(picture.dimensions(), (width, height), "{name}");
            oriented += u32::from(picture.orientation != Orientation::NoTransforms);
            // Off centre, so that a wrong corner shows; enlarged, so that nothing is reduced.
            let region = Region {
                left: 0.1 * f64::from(width),
                top: 0.25 * f64::from(height),
                width: 0.6 * f64::from(width),
                height: 0.4 * f64::from(height),
            };
            let got = picture.cut(region, width + 3, height + 1).unwrap();
            let expected = resize_image(&whole, region, width + 3, height + 1);
            let (_, largest) = differences(&got, &expected);
            assert!(largest <= 2, "{name} differs by {largest}");
        }
        assert!(oriented >= 8, "only {oriented} fixtures are turned");
    }

    #[test]
    fn the_reduction_leaves_at_least_the_pixels_asked_for() {
        let region = Region { left: 3.0, top: 5.0, width: 480.0, height: 480.0 };
        for (side, expected) in [(481, 1), (480, 1), (241, 1), (240, 2), (120, 4), (61, 4), (60, 8)]
        {
            assert_eq!(divisor(region, side, side), expected, "{side}");
            assert_eq!(divisor(region, side, 480), 1, "the other side decides too");
        }
        assert_eq!(divisor(region, 1, 1), 8);
    }

    #[test]
    fn a_reduced_picture_shows_what_the_whole_one_shows() {
        let jpeg = encode_jpeg(&scene(1001, 747), 95);
        let whole = decode_upright(&jpeg, Limits::default()).unwrap();
        let picture = Picture::open(&jpeg, Limits::default()).unwrap();
        let region = Region { left: 100.5, top: 60.25, width: 880.0, height: 640.0 };
        for (width, height) in [(440, 320), (300, 200), (220, 160), (100, 70), (40, 29)] {
            assert!(divisor(region, width, height) > 1);
            let got = picture.cut(region, width, height).unwrap();
            let expected = resize_image(&whole, region, width, height);
            let (mean, largest) = differences(&got, &expected);
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
        let error = decode_upright(&bytes, Limits::default()).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        let picture = Picture::open(&bytes, Limits::default()).unwrap();
        for side in [480, 200, 100, 50] {
            let region = Region { left: 0.0, top: 0.0, width: 480.0, height: 480.0 };
            assert!(picture.cut(region, side, side).is_err(), "{side}");
        }
    }

    #[test]
    fn padding_after_the_pictures_data_is_no_damage() {
        let bytes = fixture("rgb_420.jpg");
        let end = bytes.len() - 2;
        let padded = [&bytes[..end], &[0; 17], &bytes[end..]].concat();
        assert_eq!(
            decode_upright(&padded, Limits::default()),
            decode_upright(&bytes, Limits::default())
        );
    }

    #[test]
    fn a_thread_that_cut_a_large_picture_cuts_a_small_one_after_it() {
        let cut = |bytes: &[u8]| {
            let picture = Picture::open(bytes, Limits::default()).unwrap();
            let (width, height) = picture.dimensions();
            picture.cut(Region::whole(width, height), 16, 16).unwrap()
        };
        let small = fixture("rgb_444.jpg");
        let before = cut(&small);
        cut(&encode_jpeg(&scene(900, 700), 80));
        cut(&encode_png(&scene(40, 30)));
        assert_eq!(cut(&small), before);
    }
}
