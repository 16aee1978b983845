//! Label Studio's bitmasks: the PNG of a `bitmasklabels` region as a data URL.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use image::GrayImage;
use percent_encoding::percent_decode_str;

use super::runs::{Runs, checked_pixel_count};
use crate::imaging::{ColorPixels, DecodeError, DecodeLimits, MaskError, decode_color_mask};

/// As browsers decode data URLs: padding may be missing, the last character may have bits to spare.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a region's `imageDataURL` is, for messages.
const EXPECTED_FORMAT: &str = "a PNG as \"data:image/png;base64,...\"";

/// The pixels that a data URL (RFC 2397) of a PNG covers, of an image of `width` x `height` pixels.
///
/// The editor draws black on a transparent canvas and asks nothing but whether alpha is above 0, and so does this. An
/// image without alpha does not say what is covered: the editor would show it as a region over the whole image, while
/// most who make one mean a part, dark or light. It is refused and not guessed.
///
/// # Errors
/// What is no data URL of a PNG of just that size, or is one without transparency.
pub fn decode_bitmask(data_url: &str, width: u32, height: u32) -> Result<Runs, String> {
    let pixel_count = checked_pixel_count(width, height)?;
    let png = decode_data_url(data_url)?;
    let size_error = |found_size: (u32, u32)| {
        format!(
            "has a bitmask of {} x {} pixels on an image of {width} x {height}; they must be equal",
            found_size.0, found_size.1
        )
    };
    // Nothing larger than the image is unpacked.
    let limits = DecodeLimits { max_pixels: pixel_count.into() };
    let mask = decode_color_mask(&png, limits).map_err(|error| match error {
        MaskError::Decode(
            DecodeError::TooLarge { width, height, .. }
            | DecodeError::SideTooLong { width, height },
        ) => size_error((width, height)),
        MaskError::NotClassIds(reason) => {
            format!("has a bitmask that is {reason}; expected {EXPECTED_FORMAT}")
        }
        MaskError::Decode(error) => format!("has a bitmask that cannot be used: {error}"),
    })?;
    if (mask.width, mask.height) != (width, height) {
        return Err(size_error((mask.width, mask.height)));
    }
    let alphas = match mask.pixels {
        ColorPixels::Rgba(samples) => Some(samples.chunks_exact(4).map(|pixel| pixel[3]).collect()),
        ColorPixels::Palette { colors, indices }
            if colors.iter().any(|color| color[3] < u8::MAX) =>
        {
            // An index without a color is shown as opaque black.
            let alpha_of_index =
                |&index: &u8| colors.get(usize::from(index)).map_or(u8::MAX, |color| color[3]);
            Some(indices.iter().map(alpha_of_index).collect())
        }
        ColorPixels::Palette { .. } | ColorPixels::Rgb(_) => None,
    };
    let alphas = alphas.and_then(|alphas| GrayImage::from_raw(width, height, alphas));
    let alphas = alphas.ok_or_else(|| {
        "has a bitmask without alpha, which does not say what is covered; write covered pixels opaque and all others \
         transparent (alpha 0), as Label Studio does"
            .to_owned()
    })?;
    Ok(Runs::from_mask_where(&alphas, |alpha| alpha > 0))
}

/// The bytes in a data URL.
fn decode_data_url(data_url: &str) -> Result<Vec<u8>, String> {
    let url = data_url.trim();
    let (header, data) = url.split_once(',').unwrap_or((url, ""));
    let scheme = header.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:"));
    let is_base64 = header
        .rsplit_once(';')
        .is_some_and(|(_, last_parameter)| last_parameter.trim().eq_ignore_ascii_case("base64"));
    if scheme.is_none() || !is_base64 {
        let start: String = url.chars().take(32).collect();
        return Err(format!(
            "has a bitmask that starts with {start:?}; expected {EXPECTED_FORMAT}"
        ));
    }
    let mut base64_text: Cow<'_, [u8]> = percent_decode_str(data).into();
    if base64_text.iter().any(u8::is_ascii_whitespace) {
        base64_text.to_mut().retain(|byte| !byte.is_ascii_whitespace());
    }
    BASE64.decode(&base64_text).map_err(|cause| format!("has a bitmask that is no base64: {cause}"))
}

#[cfg(test)]
mod tests;
