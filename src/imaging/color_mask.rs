//! Masks whose colors stand for classes: PNG files in color in place of class ids.

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};
use png::{BitDepth, ColorType, Transformations};

use super::decode::{DecodeLimits, catch_decoder_panics};
use super::error::{DecodeError, MaskError};
use super::mask::unpack_png_samples;
use super::png_file;
use super::sniff::{ImageFormat, detect_format};

/// A mask in color, upright: the EXIF orientation is applied, as it is to images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColorMask {
    /// Columns, in pixels.
    pub width: u32,
    /// Rows, in pixels.
    pub height: u32,
    /// Pixels by rows from the top.
    pub pixels: ColorPixels,
}

/// Colors of pixels, with 8 bits per sample. 16-bit samples keep their high byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColorPixels {
    /// Pixels as indices, which may be past the end of the palette.
    Palette {
        /// Red, green, blue, alpha (0 is transparent) of each entry.
        colors: Vec<[u8; 4]>,
        /// Index of each pixel.
        indices: Vec<u8>,
    },
    /// Red, green, blue of each pixel.
    Rgb(Vec<u8>),
    /// Red, green, blue, alpha of each pixel.
    Rgba(Vec<u8>),
}

/// Decodes a mask in color: palette, RGB, or grayscale, each with transparency or without.
///
/// # Errors [`MaskError::Decode`] as [`decode_upright`](super::decode_upright);
/// [`MaskError::NotClassIds`] for other formats than PNG.
pub fn decode_color_mask(bytes: &[u8], limits: DecodeLimits) -> Result<ColorMask, MaskError> {
    match detect_format(bytes)? {
        ImageFormat::Png => {}
        ImageFormat::Jpeg => {
            let description = "a JPEG photograph: its lossy values cannot say classes";
            return Err(MaskError::NotClassIds(description.to_owned()));
        }
        other => {
            return Err(MaskError::NotClassIds(format!(
                "{}: save it as a PNG",
                other.name_with_article()
            )));
        }
    }
    let png = catch_decoder_panics(|| png_file::read_png(bytes, limits, choose_transformations))?;
    let pixels = match png.color {
        ColorType::Indexed => {
            let indices = match png.bit_depth {
                BitDepth::Eight | BitDepth::Sixteen => png.samples,
                depth => unpack_png_samples(&png, depth),
            };
            ColorPixels::Palette { colors: png.palette, indices }
        }
        ColorType::Grayscale => {
            let colors = (0..=u8::MAX).map(|gray| [gray, gray, gray, u8::MAX]).collect();
            ColorPixels::Palette { colors, indices: png.samples }
        }
        ColorType::GrayscaleAlpha => ColorPixels::Rgba(
            png.samples.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect(),
        ),
        ColorType::Rgb => ColorPixels::Rgb(png.samples),
        ColorType::Rgba => ColorPixels::Rgba(png.samples),
    };
    let mask = ColorMask { width: png.width, height: png.height, pixels };
    let pixel_count = match &mask.pixels {
        ColorPixels::Palette { indices, .. } => indices.len(),
        ColorPixels::Rgb(samples) => samples.len() / 3,
        ColorPixels::Rgba(samples) => samples.len() / 4,
    };
    if pixel_count as u64 != u64::from(mask.width) * u64::from(mask.height) {
        return Err(DecodeError::Broken("a PNG with too few pixels".to_owned()).into());
    }
    Ok(turn_color_mask(mask, png.orientation))
}

fn turn_color_mask(mask: ColorMask, orientation: Orientation) -> ColorMask {
    if orientation == Orientation::NoTransforms {
        return mask;
    }
    let ColorMask { width, height, pixels } = mask;
    let (mut image, palette) = match pixels {
        ColorPixels::Palette { colors, indices } => {
            let image = GrayImage::from_raw(width, height, indices);
            (image.map(DynamicImage::ImageLuma8).unwrap_or_default(), colors)
        }
        ColorPixels::Rgb(samples) => {
            let image = RgbImage::from_raw(width, height, samples);
            (image.map(DynamicImage::ImageRgb8).unwrap_or_default(), Vec::new())
        }
        ColorPixels::Rgba(samples) => {
            let image = RgbaImage::from_raw(width, height, samples);
            (image.map(DynamicImage::ImageRgba8).unwrap_or_default(), Vec::new())
        }
    };
    image.apply_orientation(orientation);
    let (width, height) = (image.width(), image.height());
    let pixels = match image {
        DynamicImage::ImageLuma8(image) => {
            ColorPixels::Palette { colors: palette, indices: image.into_raw() }
        }
        DynamicImage::ImageRgb8(image) => ColorPixels::Rgb(image.into_raw()),
        image => ColorPixels::Rgba(image.into_rgba8().into_raw()),
    };
    ColorMask { width, height, pixels }
}

fn choose_transformations(color: ColorType) -> Transformations {
    match color {
        // The palette stays: its users look up each color once, not each pixel.
        ColorType::Indexed => Transformations::IDENTITY,
        _ => Transformations::EXPAND | Transformations::STRIP_16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::fixtures::{all_fixtures, fixture};
    use crate::imaging::{decode_mask, decode_upright};

    fn decode(name: &str) -> ColorMask {
        decode_color_mask(&fixture(name), DecodeLimits::default()).unwrap()
    }

    /// Returns the colors without alpha.
    fn rgb(mask: &ColorMask) -> Vec<u8> {
        match &mask.pixels {
            ColorPixels::Palette { colors, indices } => {
                indices.iter().flat_map(|&i| colors[usize::from(i)][..3].to_vec()).collect()
            }
            ColorPixels::Rgb(samples) => samples.clone(),
            ColorPixels::Rgba(samples) => {
                samples.chunks_exact(4).flat_map(|p| p[..3].to_vec()).collect()
            }
        }
    }

    #[test]
    fn the_colors_are_those_that_a_viewer_shows_for_every_kind_of_png() {
        let mut checked = 0;
        for (name, bytes) in all_fixtures() {
            if !bytes.starts_with(b"\x89PNG") {
                continue;
            }
            let Ok(shown) = decode_upright(&bytes, DecodeLimits::default()) else { continue };
            let mask = decode_color_mask(&bytes, DecodeLimits::default()).unwrap();
            assert_eq!((mask.width, mask.height), shown.dimensions(), "{name}");
            assert!(rgb(&mask) == shown.into_raw(), "{name}");
            checked += 1;
        }
        assert!(checked > 20, "only {checked} fixtures");
    }

    #[test]
    fn a_palette_stays_one_and_alpha_is_kept() {
        let ColorPixels::Palette { indices, colors } = decode("mask_palette_4_bit.png").pixels
        else {
            panic!("a palette");
        };
        let ids = decode_mask(&fixture("mask_palette_4_bit.png"), DecodeLimits::default()).unwrap();
        assert_eq!(&indices, ids.as_raw());
        assert!(colors.len() <= 16 && colors.iter().all(|color| color[3] == 255), "{colors:?}");
        assert!(matches!(decode("rgba.png").pixels, ColorPixels::Rgba(_)));
    }

    #[test]
    fn transparent_entries_of_a_palette_are_told() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(ColorType::Indexed);
        encoder.set_palette(vec![1, 2, 3, 4, 5, 6]);
        encoder.set_trns(vec![0]);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0, 1]).unwrap();
        writer.finish().unwrap();
        let mask = decode_color_mask(&bytes, DecodeLimits::default()).unwrap();
        let colors = vec![[1, 2, 3, 0], [4, 5, 6, 255]];
        assert_eq!(mask.pixels, ColorPixels::Palette { colors, indices: vec![0, 1] });
    }

    #[test]
    fn what_is_no_png_or_too_large_is_refused() {
        let jpeg = decode_color_mask(&fixture("rgb_444.jpg"), DecodeLimits::default()).unwrap_err();
        assert!(jpeg.to_string().contains("a JPEG photograph"), "{jpeg}");
        let large =
            decode_color_mask(&fixture("rgb.png"), DecodeLimits { max_pixels: 9 }).unwrap_err();
        assert!(large.to_string().contains("allowed"), "{large}");
    }

    proptest::proptest! {
        #[test]
        fn damaged_files_never_panic(at: proptest::sample::Index, byte: u8, which in 0..3_usize) {
            let name = ["mask_palette_2_bit.png", "rgba.png", "mask_gray_alpha.png"][which];
            let mut bytes = fixture(name);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode_color_mask(&bytes, DecodeLimits::default());
        }
    }
}
