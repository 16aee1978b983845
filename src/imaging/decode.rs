//! Decoding of pictures of every supported format to upright RGB.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::RgbImage;

use super::error::DecodeError;
use super::lazy_image::LazyImage;
use crate::settings::DEFAULT_MAX_PIXELS;

/// Longest side of a picture, in pixels, whatever [`DecodeLimits`] allows. A JPEG's header holds no
/// larger number. A very long PNG costs its decoder far more time than its pixels are worth,
/// because every row begins anew.
pub const MAX_SIDE_PX: u32 = 65_535;

/// Limits on the cost of decoding a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest product of width and height, in pixels. The header is checked against it before
    /// decoding.
    pub max_pixels: u64,
}

impl Default for DecodeLimits {
    /// Returns a limit of 64 megapixels (`docs/architecture.md#limits-on-images`).
    fn default() -> Self {
        Self { max_pixels: DEFAULT_MAX_PIXELS }
    }
}

impl DecodeLimits {
    /// Refuses a picture of `width` x `height` pixels if it is too large.
    ///
    /// # Errors [`DecodeError::TooLarge`], and [`DecodeError::SideTooLong`] for a side over
    /// [`MAX_SIDE_PX`].
    pub fn check_size(self, width: u32, height: u32) -> Result<(), DecodeError> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(DecodeError::TooLarge { width, height, max_pixels: self.max_pixels });
        }
        if width.max(height) > MAX_SIDE_PX {
            return Err(DecodeError::SideTooLong { width, height });
        }
        Ok(())
    }
}

/// Decodes a JPEG, PNG, WebP, TIFF or BMP, recognized by its first bytes, to 8-bit RGB as a viewer
/// would show it.
///
/// The EXIF orientation is applied. Grayscale is repeated in the three channels, 16-bit samples
/// keep their high byte, palettes are looked up, and alpha is dropped, not blended (as by PIL's
/// `convert("RGB")`). Color profiles are not applied. Only the first image of a TIFF is decoded. An
/// animated WebP is refused, and so are TIFFs with floating-point samples and those compressed as
/// JPEG or by fax machines.
///
/// # Errors Bytes of another format, an image larger than `limits` or longer than [`MAX_SIDE_PX`],
/// and one that is cut off or damaged. No picture is returned with missing parts painted gray.
pub fn decode_upright(bytes: &[u8], limits: DecodeLimits) -> Result<RgbImage, DecodeError> {
    LazyImage::open(bytes, limits)?.decode()
}

/// Runs a decoder on bytes from outside. A panic inside it becomes [`DecodeError::Broken`]: no
/// panic is known, but the decoders are not ours, and one request must not end a server.
pub(super) fn catch_decoder_panics<T>(
    decode: impl FnOnce() -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(result) => result,
        Err(_) => Err(DecodeError::Broken("an image that the decoder cannot cope with".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::imaging::fixtures::{all_fixtures, fixture};

    fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
        decode_upright(bytes, DecodeLimits { max_pixels: 1 << 20 })
    }

    fn largest_difference(a: &RgbImage, b: &RgbImage) -> u8 {
        assert_eq!(a.dimensions(), b.dimensions());
        let pairs = a.as_raw().iter().zip(b.as_raw());
        pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
    }

    #[test]
    fn every_kind_of_picture_looks_as_in_pil() {
        let mut checked = 0;
        for (name, bytes) in all_fixtures() {
            let Some(picture) = name.strip_suffix(".expected.png") else { continue };
            let expected = image::load_from_memory(&bytes).unwrap().into_rgb8();
            let got = decode(&fixture(picture)).unwrap_or_else(|e| panic!("{picture}: {e}"));
            let difference = largest_difference(&got, &expected);
            // PNG, TIFF and BMP are exact. Decoders of JPEG and lossy WebP may round differently, and
            // do so where they also interpolate colors.
            let bytes = fixture(picture);
            let allowed = match picture {
                _ if bytes.starts_with(b"\xff\xd8") || picture.starts_with("lossy") => 4,
                _ => 0,
            };
            assert!(difference <= allowed, "{picture} differs by {difference}");
            checked += 1;
        }
        assert!(checked > 85, "only {checked} fixtures");
    }

    #[test]
    fn a_file_that_lacks_its_end_is_broken_wherever_it_is_cut() {
        for (name, bytes) in all_fixtures() {
            for length in 8..bytes.len() {
                let result = decode(&bytes[..length]);
                assert!(
                    matches!(result, Err(DecodeError::Broken(_))),
                    "{name} cut to {length} of {} bytes is accepted",
                    bytes.len()
                );
            }
        }
    }

    #[test]
    fn bytes_after_the_picture_do_not_matter() {
        for name in ["rgb_420.jpg", "progressive_444.jpg", "rgb.png"] {
            let bytes = fixture(name);
            for extra in [&b"\xff\xd8 more \xff\xd9"[..], &[0; 100], &[0xff]] {
                assert_eq!(decode(&[&bytes[..], extra].concat()), decode(&bytes), "{name}");
            }
        }
    }

    #[test]
    fn an_end_marker_inside_a_comment_is_not_the_pictures() {
        let plain = fixture("rgb_444.jpg");
        let comment = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9";
        let bytes = [&plain[..2], comment, &plain[2..]].concat();
        assert_eq!(decode(&bytes), decode(&plain));
        assert!(decode(&bytes[..bytes.len() - 2]).is_err());
    }

    #[test]
    fn sizes_are_refused_before_pixels_are_decoded() {
        let mut jpeg = fixture("rgb_444.jpg");
        let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
        for (bytes, side) in [(jpeg, 65_500), (png_that_claims(100_000, 100_000), 100_000)] {
            let error = decode_upright(&bytes, DecodeLimits::default()).unwrap_err();
            let max_pixels = 64_000_000;
            assert_eq!(error, DecodeError::TooLarge { width: side, height: side, max_pixels });
        }
    }

    #[test]
    fn a_side_that_no_jpeg_could_have_is_refused_however_few_the_pixels() {
        for (width, height) in [(65_536, 1), (1, 65_536), (60_000_000, 1)] {
            let png = png_that_claims(width, height);
            let error = decode_upright(&png, DecodeLimits::default()).unwrap_err();
            assert_eq!(error, DecodeError::SideTooLong { width, height });
            assert!(error.to_string().contains("more than 65535"), "{error}");
            assert!(crate::imaging::decode_mask(&png, DecodeLimits::default()).is_err());
        }
        let longest = crate::imaging::encode_png(&RgbImage::new(65_535, 2));
        assert_eq!(decode(&longest).unwrap().dimensions(), (65_535, 2));
    }

    /// Returns a PNG with another size in its header.
    fn png_that_claims(width: u32, height: u32) -> Vec<u8> {
        let mut png = fixture("rgb.png");
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        let sum = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&sum.to_be_bytes());
        png
    }

    /// Returns the checksum of a PNG chunk, computed bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |s, _| {
                (s >> 1) ^ (0xedb8_8320 & (s & 1).wrapping_neg())
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn any_bytes_give_a_picture_or_an_error(
            head in prop::sample::select(vec![
                &b""[..], b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBPVP8 ",
                b"RIFF\x40\0\0\0WEBPVP8L", b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0", b"II*\0\x08\0\0\0",
                b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0\x10\0\0\0", b"BM",
                b"BM\x40\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x03\0\0\0\x02\0\0\0",
            ]),
            tail in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [head, &tail].concat();
            let _ = decode(&bytes);
            let _ = crate::imaging::decode_mask(&bytes, DecodeLimits { max_pixels: 1 << 20 });
        }

        #[test]
        fn damaged_files_give_a_picture_or_an_error(
            which in any::<prop::sample::Index>(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            lost in 0_usize..4,
        ) {
            let files: Vec<_> = all_fixtures().collect();
            let mut bytes = files[which.index(files.len())].1.clone();
            for (at, value) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            bytes.drain(damage[0].0.index(bytes.len() - lost)..).take(lost).for_each(drop);
            let _ = decode(&bytes);
            let _ = crate::imaging::decode_mask(&bytes, DecodeLimits { max_pixels: 1 << 20 });
        }
    }
}
