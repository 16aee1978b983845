//! The losses of JPEG compression.

use image::RgbImage;
use turbojpeg::{Compressor, Decompressor, Image, PixelFormat, Subsamp};

/// Compresses `image` as a JPEG of `quality` 1 to 100 (values outside count as the nearest inside)
/// with colors at half the resolution, as cameras and web sites do, and decodes it again. A picture
/// that JPEG cannot hold stays unchanged.
pub fn recompress_jpeg(image: &mut RgbImage, quality: u8) {
    if let Ok(pixels) = encode_and_decode(image, quality)
        && pixels.len() == image.as_raw().len()
    {
        image.copy_from_slice(&pixels);
    }
}

/// Returns the pixels of `image` after compression.
fn encode_and_decode(image: &RgbImage, quality: u8) -> turbojpeg::Result<Vec<u8>> {
    let mut compressor = Compressor::new()?;
    compressor.set_quality(i32::from(quality.clamp(1, 100)))?;
    compressor.set_subsamp(Subsamp::Sub2x2)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (pitch, format) = (width * 3, PixelFormat::RGB);
    let source = Image { pixels: image.as_raw().as_slice(), width, pitch, height, format };
    let bytes = compressor.compress_to_owned(source)?;
    let mut pixels = image.as_raw().clone();
    let target = Image { pixels: pixels.as_mut_slice(), width, pitch, height, format };
    Decompressor::new()?.decompress(&bytes, target)?;
    Ok(pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::fixtures::fixture;
    use crate::imaging::{DecodeLimits, decode_upright};

    #[test]
    fn the_worse_the_quality_the_more_is_lost_and_little_at_the_best() {
        let image = decode_upright(&fixture("resize_larger.png"), DecodeLimits::default()).unwrap();
        let lost = |quality| {
            let mut copy = image.clone();
            recompress_jpeg(&mut copy, quality);
            assert_eq!(copy.dimensions(), image.dimensions());
            let pairs = copy.as_raw().iter().zip(image.as_raw());
            pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / image.as_raw().len() as f64
        };
        let losses = [100, 60, 20, 1].map(lost);
        assert!(losses[0] > 0.0 && losses.is_sorted(), "{losses:?}");
        let outside = [255, 100, 1, 0].map(lost);
        assert!(outside.is_sorted() && !(outside[0] < outside[1] || outside[2] < outside[3]));
    }

    #[test]
    fn any_size_is_recompressed_or_left() {
        for (width, height) in [(0, 0), (0, 4), (1, 1), (1, 70), (17, 3), (65_536, 1)] {
            let mut image = RgbImage::from_pixel(width, height, image::Rgb([90; 3]));
            recompress_jpeg(&mut image, 50);
            assert_eq!(image.dimensions(), (width, height));
            assert!(image.as_raw().iter().all(|value| value.abs_diff(90) < 3));
        }
    }
}
