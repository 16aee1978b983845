//! Pictures of every supported kind to upright RGB.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{DynamicImage, RgbImage};

use super::error::DecodeError;
use super::sniff::{Format, format_of};
use super::{jpeg_file, png_file};

/// What a picture may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest width x height, in pixels, checked against the header before decoding.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// 64 megapixels (design: 15).
    fn default() -> Self {
        Self { max_pixels: 64_000_000 }
    }
}

impl Limits {
    /// Refuses a picture of `width` x `height` pixels if that is too large.
    pub(super) fn check(self, width: u32, height: u32) -> Result<(), DecodeError> {
        if u64::from(width) * u64::from(height) > self.max_pixels {
            return Err(DecodeError::TooLarge { width, height, max_pixels: self.max_pixels });
        }
        Ok(())
    }
}

/// Decodes a JPEG or a PNG, known by its first bytes, to 8-bit RGB as a viewer would show it.
///
/// The EXIF orientation is applied. Grayscale is repeated in the three channels, 16-bit samples
/// keep their high byte, palettes are looked up, and alpha is dropped, not blended (as PIL's
/// `convert("RGB")`). Colour profiles are not applied.
///
/// # Errors
/// Bytes that are no JPEG or PNG, an image larger than `limits`, and one that is cut off or
/// damaged; a picture is never returned with missing parts painted grey.
pub fn decode_upright(bytes: &[u8], limits: Limits) -> Result<RgbImage, DecodeError> {
    let format = format_of(bytes)?;
    guarded(|| {
        let (image, orientation) = match format {
            Format::Jpeg => jpeg_file::decode(bytes, limits)?,
            Format::Png => png_file::decode(bytes, limits)?,
        };
        let mut image = DynamicImage::ImageRgb8(image);
        image.apply_orientation(orientation);
        Ok(image.into_rgb8())
    })
}

/// Runs a decoder on bytes from outside; a panic inside it becomes [`DecodeError::Broken`].
/// None is known, but the decoders are not ours and one request must not end a server.
pub(super) fn guarded<T>(
    decode: impl FnOnce() -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| {
        Err(DecodeError::Broken("an image that the decoder cannot cope with".to_owned()))
    })
}
