//! Encoding of pictures and masks. The same pixels always give the same bytes.

use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, RgbImage};
use png::{BitDepth, ColorType, Compression, Encoder, Filter};

use crate::colors::class_color;

/// Encodes a mask as an 8-bit palette PNG. The indices are the class ids, and the palette has all
/// 256 entries of [`class_color`], so that every viewer shows the classes in their colors.
///
/// A mask without pixels gives no bytes.
pub fn encode_mask(ids: &GrayImage) -> Vec<u8> {
    encode_mask_with_colors(ids, class_color)
}

/// Encodes a mask as [`encode_mask`] does, with other colors: red, green and blue by class id.
pub fn encode_mask_with_colors(ids: &GrayImage, color: impl Fn(u8) -> [u8; 3]) -> Vec<u8> {
    let palette: Vec<u8> = (0..=u8::MAX).flat_map(color).collect();
    encode_png_samples(ids.width(), ids.height(), ids.as_raw(), |encoder| {
        encoder.set_color(ColorType::Indexed);
        encoder.set_palette(palette);
        // The rows of a mask mostly repeat those above them, so the filter `Up` leaves hardly
        // anything but zeros, which the fast compressor packs well. Trying every filter on every
        // row would take much longer for hardly fewer bytes. The compression comes first, because
        // it sets a filter of its own.
        encoder.set_compression(Compression::Fast);
        encoder.set_filter(Filter::Up);
    })
}

/// Encodes covered pixels, those other than 0, as a PNG that is black on a transparent ground: one bit per
/// pixel, with a palette of two colors. A mask without pixels gives no bytes.
pub fn encode_coverage(mask: &GrayImage) -> Vec<u8> {
    let width = mask.width() as usize;
    let mut rows = Vec::with_capacity(width.div_ceil(8) * mask.height() as usize);
    for row in mask.as_raw().chunks_exact(width.max(1)) {
        for pixels in row.chunks(8) {
            let mut byte = 0;
            for (bit, pixel) in pixels.iter().enumerate() {
                byte |= u8::from(*pixel != 0) << (7 - bit);
            }
            rows.push(byte);
        }
    }
    encode_png_samples(mask.width(), mask.height(), &rows, |encoder| {
        encoder.set_depth(BitDepth::One);
        encoder.set_color(ColorType::Indexed);
        encoder.set_palette(vec![0; 6]);
        encoder.set_trns(vec![0, u8::MAX]);
        encoder.set_compression(Compression::Fast);
        encoder.set_filter(Filter::Up);
    })
}

/// Encodes a picture as an 8-bit RGB PNG. A picture without pixels gives no bytes.
pub fn encode_png(image: &RgbImage) -> Vec<u8> {
    encode_png_samples(image.width(), image.height(), image.as_raw(), |encoder| {
        encoder.set_color(ColorType::Rgb);
        encoder.set_compression(Compression::Fast);
    })
}

/// Encodes a picture as a baseline JPEG. `quality` is 1 to 100 as in libjpeg; values outside count
/// as the nearest inside. A picture without pixels, or with a side over the 65535 pixels that
/// JPEG's header can hold, gives no bytes.
pub fn encode_jpeg(image: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100));
    match encoder.encode_image(image) {
        Ok(()) if !image.is_empty() => bytes,
        _ => Vec::new(),
    }
}

/// Encodes samples as a PNG. Writing to memory fails only for a picture without pixels, which gives
/// no bytes.
fn encode_png_samples(
    width: u32,
    height: u32,
    samples: &[u8],
    configure: impl FnOnce(&mut Encoder<'_, &mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_depth(BitDepth::Eight);
    configure(&mut encoder);
    if write_png(encoder, samples).is_ok() { bytes } else { Vec::new() }
}

fn write_png(encoder: Encoder<'_, &mut Vec<u8>>, samples: &[u8]) -> Result<(), png::EncodingError> {
    let mut writer = encoder.write_header()?;
    writer.write_image_data(samples)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::fixtures::fixture;
    use crate::imaging::{DecodeLimits, decode_upright};

    #[test]
    fn pictures_survive_png_exactly_and_jpeg_nearly() {
        let image = decode_upright(&fixture("rgb.png"), DecodeLimits::default()).unwrap();
        let png = decode_upright(&encode_png(&image), DecodeLimits::default()).unwrap();
        assert_eq!(png, image);
        let jpeg = decode_upright(&encode_jpeg(&image, 95), DecodeLimits::default()).unwrap();
        let pairs = image.as_raw().iter().zip(jpeg.as_raw());
        assert!(pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap() < 12);
    }

    #[test]
    fn every_row_of_a_mask_is_told_by_the_one_above() {
        let ids = GrayImage::from_fn(60, 40, |x, y| image::Luma([u8::from(x * x + y * y > 900)]));
        let png = encode_mask(&ids);
        let mut packed = Vec::new();
        let mut at = 8;
        while let Some(&[a, b, c, d, ref kind @ ..]) = png.get(at..at + 8) {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if kind == b"IDAT" {
                packed.extend_from_slice(&png[at + 8..at + 8 + length]);
            }
            at += 12 + length;
        }
        let mut rows = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&*packed), &mut rows)
            .unwrap();
        // 2 is the number of the filter `Up`.
        assert!(rows.chunks(61).all(|row| row.len() == 61 && row[0] == 2));
        assert_eq!(rows.len(), 61 * 40);
    }

    #[test]
    fn a_picture_without_pixels_gives_no_bytes() {
        assert_eq!(encode_png(&RgbImage::new(0, 3)), b"");
        assert_eq!(encode_jpeg(&RgbImage::new(3, 0), 90), b"");
        assert_eq!(encode_jpeg(&RgbImage::new(65_536, 1), 90), b"");
        assert_eq!(encode_mask(&GrayImage::new(0, 0)), b"");
    }
}
