//! Masks: PNG files whose sample values are class ids.

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage};
use png::{BitDepth, ColorType, Transformations};

use super::decode::{DecodeLimits, catch_decoder_panics};
use super::error::{DecodeError, MaskError};
use super::png_exif::read_png_orientation;
use super::png_file::{self, DecodedPng};
use super::samples::unpack_bits;
use super::sniff::{ImageFormat, detect_format};

/// A mask of class ids with the colors in which viewers show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownMask {
    /// Stored value of each pixel, upright.
    pub ids: GrayImage,
    /// Red, green, blue, alpha (0 is transparent) of each value. A palette may lack values of
    /// pixels. A 16-bit mask has no colors, because its ids all look black.
    pub colors: Vec<[u8; 4]>,
    /// True if the colors are grays that follow from the values, and no palette.
    pub is_gray: bool,
}

/// Decodes a mask to one class id per pixel. The EXIF orientation is applied, as it is to images.
///
/// The ids of a palette PNG are its indices, whatever the colors. The ids of a grayscale PNG are
/// the raw sample values at every bit depth: 0 and 1 in a 1-bit mask (not 0 and 255), 0 to 15 in a
/// 4-bit one, and in a 16-bit one the values themselves if none exceeds 255.
///
/// # Errors [`MaskError::Decode`] as [`decode_upright`](super::decode_upright);
/// [`MaskError::NotClassIds`] for other formats than PNG, RGB and images with alpha, saying which
/// it is and whether it looks like a photograph or like a color-coded mask.
pub fn decode_mask(bytes: &[u8], limits: DecodeLimits) -> Result<GrayImage, MaskError> {
    Ok(decode_shown_mask(bytes, limits)?.ids)
}

/// Decodes a mask as [`decode_mask`] does, with the colors of its values.
pub fn decode_shown_mask(bytes: &[u8], limits: DecodeLimits) -> Result<ShownMask, MaskError> {
    match detect_format(bytes)? {
        ImageFormat::Png => {}
        ImageFormat::Jpeg => {
            let description = "a JPEG photograph: its lossy values cannot be class ids";
            return Err(MaskError::NotClassIds(description.to_owned()));
        }
        other => {
            return Err(MaskError::NotClassIds(format!(
                "{}: save it as a PNG",
                other.name_with_article()
            )));
        }
    }
    let png =
        catch_decoder_panics(|| png_file::read_png(bytes, limits, |_| Transformations::IDENTITY))?;
    let is_gray = png.color == ColorType::Grayscale;
    let colors = if is_gray { shown_grays(png.bit_depth) } else { png.palette.clone() };
    let ids = match (png.color, png.bit_depth) {
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Eight) => png.samples,
        (ColorType::Grayscale | ColorType::Indexed, BitDepth::Sixteen) => {
            narrow_to_class_ids(&png.samples)?
        }
        (ColorType::Grayscale | ColorType::Indexed, depth) => unpack_png_samples(&png, depth),
        (ColorType::GrayscaleAlpha, _) => {
            let description = "a grayscale image with an alpha channel: save it without alpha";
            return Err(MaskError::NotClassIds(description.to_owned()));
        }
        (ColorType::Rgb | ColorType::Rgba, _) => {
            let (image, _) = catch_decoder_panics(|| png_file::decode_png(bytes, limits))?;
            return Err(MaskError::NotClassIds(describe_colors(image.as_raw())));
        }
    };
    match GrayImage::from_raw(png.width, png.height, ids) {
        Some(ids) => Ok(ShownMask { ids: turn_mask(ids, png.orientation), colors, is_gray }),
        None => Err(DecodeError::Broken("a PNG with too few pixels".to_owned()).into()),
    }
}

/// Returns the color of each value of a grayscale image: the largest value is white.
fn shown_grays(depth: BitDepth) -> Vec<[u8; 4]> {
    let largest = match depth {
        BitDepth::One => 1,
        BitDepth::Two => 3,
        BitDepth::Four => 15,
        BitDepth::Eight => u8::MAX,
        BitDepth::Sixteen => return Vec::new(),
    };
    let mut colors = Vec::new();
    for value in 0..=largest {
        let gray = value * (u8::MAX / largest);
        colors.push([gray, gray, gray, u8::MAX]);
    }
    colors
}

fn turn_mask(mask: GrayImage, orientation: Orientation) -> GrayImage {
    if orientation == Orientation::NoTransforms {
        return mask;
    }
    let mut mask = DynamicImage::ImageLuma8(mask);
    mask.apply_orientation(orientation);
    mask.into_luma8()
}

/// Checks that a mask with an EXIF orientation has that of its image. A mask without one is upright,
/// whatever its image has.
///
/// # Errors A mask that is turned otherwise than its image: nobody can tell which of the two is
/// right.
pub fn check_mask_orientation(of_image: Orientation, mask: &[u8]) -> Result<(), MaskError> {
    let of_mask = read_png_orientation(mask);
    if of_mask == Orientation::NoTransforms || of_mask == of_image {
        return Ok(());
    }
    Err(MaskError::Decode(DecodeError::Broken(format!(
        "a mask whose EXIF orientation is {}, and the image's is {}; save both upright, without an \
         orientation",
        of_mask.to_exif(),
        of_image.to_exif()
    ))))
}

/// Converts 16-bit big-endian samples to ids.
fn narrow_to_class_ids(samples: &[u8]) -> Result<Vec<u8>, MaskError> {
    let values = samples.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    match values.clone().max() {
        Some(largest @ 256..) => Err(MaskError::NotClassIds(format!(
            "a 16-bit grayscale image with values up to {largest}: class ids end at 255"
        ))),
        _ => Ok(values.map(|value| value as u8).collect()),
    }
}

/// Unpacks samples of 1, 2 or 4 bits to bytes. Rows are padded to whole bytes.
pub(super) fn unpack_png_samples(png: &DecodedPng, depth: BitDepth) -> Vec<u8> {
    let (width, bits) = (png.width as usize, depth as usize);
    unpack_bits(png.samples.chunks_exact((width * bits).div_ceil(8)), width, bits)
}

/// Describes an RGB picture by its number of colors.
fn describe_colors(rgb: &[u8]) -> String {
    let mut seen_colors = vec![0_u64; (1 << 24) / 64];
    let mut is_gray = true;
    for pixel in rgb.chunks_exact(3) {
        let color = u32::from_be_bytes([0, pixel[0], pixel[1], pixel[2]]) as usize;
        seen_colors[color / 64] |= 1 << (color % 64);
        is_gray &= pixel[0] == pixel[1] && pixel[1] == pixel[2];
    }
    let mut count = 0;
    for word in seen_colors {
        count += word.count_ones();
    }
    let s = if count == 1 { "" } else { "s" };
    match count {
        _ if is_gray => format!(
            "an RGB image whose three channels are equal, with {count} value{s}: save one channel"
        ),
        ..=256 => format!(
            "a color-coded mask, an RGB image with {count} color{s}: replace each color by its \
             class id"
        ),
        _ => format!("a photograph, an RGB image with {count} colors: is it in the wrong folder?"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lazy_image::LazyImage;
    use super::*;
    use crate::imaging::encode_mask;
    use crate::imaging::fixtures::fixture;

    fn decode(name: &str) -> Result<GrayImage, MaskError> {
        decode_mask(&fixture(name), DecodeLimits::default())
    }

    #[test]
    fn stored_values_are_the_ids_at_every_bit_depth() {
        let kinds = ["gray_1", "gray_2", "gray_4", "gray_8", "gray_16"];
        let kinds = kinds.into_iter().chain(["palette_1", "palette_2", "palette_4", "palette_8"]);
        let interlaced = ["interlaced_1", "interlaced_2", "interlaced_4", "interlaced_8"];
        for kind in kinds.chain(interlaced) {
            let values = match kind.split_once('_').unwrap().1 {
                "1" => 2,
                "2" => 4,
                _ => 16,
            };
            let expected =
                GrayImage::from_fn(13, 7, |x, y| image::Luma([((x + 2 * y) % values) as u8]));
            assert_eq!(decode(&format!("mask_{kind}_bit.png")).unwrap(), expected, "{kind}");
        }
    }

    #[test]
    fn colors_are_those_that_a_viewer_shows() {
        for kind in ["gray_1", "gray_2", "gray_4", "gray_8", "palette_2", "palette_8"] {
            let bytes = fixture(&format!("mask_{kind}_bit.png"));
            let mask = decode_shown_mask(&bytes, DecodeLimits::default()).unwrap();
            let shown = crate::imaging::decode_upright(&bytes, DecodeLimits::default()).unwrap();
            for (id, pixel) in mask.ids.iter().zip(shown.pixels()) {
                assert_eq!(mask.colors[usize::from(*id)][..3], pixel.0, "{kind}");
            }
            assert_eq!(mask.is_gray, kind.starts_with("gray"));
        }
        let bytes = fixture("mask_gray_16_bit.png");
        let mask = decode_shown_mask(&bytes, DecodeLimits::default()).unwrap();
        assert!(mask.is_gray && mask.colors.is_empty());
    }

    #[test]
    fn what_is_not_a_mask_is_told_apart() {
        let error_text = |name| decode(name).unwrap_err().to_string();
        assert!(error_text("mask_too_large_values.png").contains("up to 1500"));
        assert!(
            error_text("mask_color_coded.png").contains("color-coded mask, an RGB image with 3")
        );
        assert!(
            error_text("mask_three_equal_channels.png")
                .contains("channels are equal, with 3 values")
        );
        assert!(
            error_text("mask_photograph.png")
                .contains("a photograph, an RGB image with 300 colors")
        );
        assert!(error_text("mask_gray_alpha.png").contains("alpha channel"));
        assert!(error_text("rgb_444.jpg").contains("a JPEG photograph"));
        assert!(error_text("rgba.png").contains("a photograph"));
        let whole = fixture("mask_gray_8_bit.png");
        let cut = decode_mask(&whole[..60], DecodeLimits::default()).unwrap_err();
        assert_eq!(cut, MaskError::Decode(DecodeError::Broken("a PNG that is cut off".to_owned())));
        let small = decode_mask(&whole, DecodeLimits { max_pixels: 90 }).unwrap_err();
        assert!(small.to_string().contains("13 x 7 = 91 pixels"), "{small}");
    }

    /// Returns a PNG with an orientation in EXIF data before its pixels.
    fn with_orientation(png: &[u8], orientation: u8) -> Vec<u8> {
        let mut chunk = b"eXIfMM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0".to_vec();
        chunk[23] = orientation;
        let length = (chunk.len() as u32 - 4).to_be_bytes();
        let sum = crc32fast::hash(&chunk).to_be_bytes();
        [&png[..33], &length, &chunk, &sum, &png[33..]].concat()
    }

    #[test]
    fn a_mask_turns_as_an_image_does() {
        let ids = GrayImage::from_fn(5, 3, |x, y| image::Luma([(x + 5 * y) as u8]));
        let mask = encode_mask(&ids);
        let limits = DecodeLimits::default();
        for orientation in 1..=8 {
            let turned = with_orientation(&mask, orientation);
            let expected = turn_mask(ids.clone(), Orientation::from_exif(orientation).unwrap());
            assert_eq!(decode_mask(&turned, limits).unwrap(), expected, "{orientation}");
            assert_eq!((expected.width() == 5), orientation < 5);
            let shown = crate::imaging::decode_upright(&turned, limits).unwrap();
            for (x, y, id) in expected.enumerate_pixels() {
                assert_eq!(shown.get_pixel(x, y).0, crate::colors::class_color(id.0[0]));
            }
            let colors = crate::imaging::decode_color_mask(&turned, limits).unwrap();
            let crate::imaging::ColorPixels::Palette { indices, .. } = colors.pixels else {
                panic!("a palette");
            };
            assert_eq!((colors.width, colors.height), expected.dimensions());
            assert_eq!(indices, expected.into_raw());
        }
    }

    #[test]
    fn a_mask_that_turns_otherwise_than_its_image_is_refused() {
        let mask = fixture("mask_gray_8_bit.png");
        let limits = DecodeLimits::default();
        for (of_image, of_mask, is_fine) in
            [(1, 1, true), (3, 3, true), (3, 1, true), (1, 3, false), (6, 8, false)]
        {
            let image = with_orientation(&fixture("rgb.png"), of_image);
            let image = LazyImage::open(&image, limits).unwrap();
            let result =
                check_mask_orientation(image.orientation(), &with_orientation(&mask, of_mask));
            assert_eq!(result.is_ok(), is_fine, "{of_image} {of_mask}");
            if let Err(error) = result {
                let words = format!("orientation is {of_mask}, and the image's is {of_image};");
                assert!(error.to_string().contains(&words), "{error}");
            }
        }
    }

    #[test]
    fn a_mask_survives_the_round_trip() {
        let ids = GrayImage::from_fn(300, 17, |x, y| image::Luma([(x * y) as u8]));
        let bytes = encode_mask(&ids);
        assert_eq!(decode_mask(&bytes, DecodeLimits::default()).unwrap(), ids);
        assert_eq!(bytes, encode_mask(&ids));
        let shown = crate::imaging::decode_upright(&bytes, DecodeLimits::default()).unwrap();
        assert_eq!(shown.get_pixel(3, 1).0, crate::colors::class_color(3));
    }
}
