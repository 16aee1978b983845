//! Pictures and masks to bytes. The same pixels always give the same bytes.

use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, RgbImage};
use png::{BitDepth, ColorType, Compression, Encoder, Filter};

use crate::colours::class_colour;

/// A mask as an 8-bit palette PNG: the indices are the class ids, and the palette has all 256
/// entries of [`class_colour`], so that every viewer shows the classes in their colours.
///
/// A mask without pixels gives no bytes.
pub fn encode_mask(ids: &GrayImage) -> Vec<u8> {
    encode_mask_in(ids, class_colour)
}

/// The same with other colours: red, green and blue by class id.
pub fn encode_mask_in(ids: &GrayImage, colour: impl Fn(u8) -> [u8; 3]) -> Vec<u8> {
    let palette: Vec<u8> = (0..=u8::MAX).flat_map(colour).collect();
    write_png(ids.width(), ids.height(), ids.as_raw(), |encoder| {
        encoder.set_color(ColorType::Indexed);
        encoder.set_palette(palette);
        // Rows repeat those above them, so that hardly anything but zeros is left, which the fast compressor packs well
        // enough: much sooner done, for a few kilobytes more.
        encoder.set_filter(Filter::Up);
        encoder.set_compression(Compression::Fast);
    })
}

/// A picture as an 8-bit RGB PNG. A picture without pixels gives no bytes.
pub fn encode_png(image: &RgbImage) -> Vec<u8> {
    write_png(image.width(), image.height(), image.as_raw(), |encoder| {
        encoder.set_color(ColorType::Rgb);
        encoder.set_compression(Compression::Fast);
    })
}

/// A picture as a baseline JPEG; `quality` is 1 to 100 as in libjpeg, and values outside count as
/// the nearest inside. A picture without pixels, or one wider or higher than the 65535 that JPEG
/// can say, gives no bytes.
pub fn encode_jpeg(image: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100));
    match encoder.encode_image(image) {
        Ok(()) if !image.is_empty() => bytes,
        _ => Vec::new(),
    }
}

/// Writing to memory fails only for a picture without pixels.
fn write_png(
    width: u32,
    height: u32,
    samples: &[u8],
    configure: impl FnOnce(&mut Encoder<'_, &mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_depth(BitDepth::Eight);
    configure(&mut encoder);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(samples)?;
        writer.finish()
    });
    if written.is_ok() { bytes } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::fixtures::fixture;
    use crate::imaging::{Limits, decode_upright};

    #[test]
    fn pictures_survive_png_exactly_and_jpeg_nearly() {
        let image = decode_upright(&fixture("rgb.png"), Limits::default()).unwrap();
        let png = decode_upright(&encode_png(&image), Limits::default()).unwrap();
        assert_eq!(png, image);
        let jpeg = decode_upright(&encode_jpeg(&image, 95), Limits::default()).unwrap();
        let pairs = image.as_raw().iter().zip(jpeg.as_raw());
        assert!(pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap() < 12);
    }

    #[test]
    fn a_picture_without_pixels_gives_no_bytes() {
        assert_eq!(encode_png(&RgbImage::new(0, 3)), b"");
        assert_eq!(encode_jpeg(&RgbImage::new(3, 0), 90), b"");
        assert_eq!(encode_jpeg(&RgbImage::new(65_536, 1), 90), b"");
        assert_eq!(encode_mask(&GrayImage::new(0, 0)), b"");
    }
}
