//! Label Studio's bitmasks: the PNG of a `bitmasklabels` region as a data URL.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use image::GrayImage;
use percent_encoding::percent_decode_str;

use super::runs::{Runs, pixels_of};
use crate::imaging::{ColorPixels, DecodeError, Limits, MaskError, decode_color_mask};

/// As browsers decode data URLs: padding may be missing, the last character may have bits to spare.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a region's `imageDataURL` is, for messages.
const FORM: &str = "a PNG as \"data:image/png;base64,...\"";

/// The pixels that a data URL (RFC 2397) of a PNG covers, of an image of `width` x `height` pixels.
///
/// The editor draws black on a transparent canvas and asks nothing but whether alpha is above 0, and so does this. An
/// image without alpha does not say what is covered: the editor would show it as a region over the whole image, while
/// most who make one mean a part, dark or light. It is refused and not guessed.
///
/// # Errors
/// What is no data URL of a PNG of just that size, or is one without transparency.
pub fn decode(data_url: &str, width: u32, height: u32) -> Result<Runs, String> {
    let pixels = pixels_of(width, height)?;
    let png = payload(data_url)?;
    let size = |found: (u32, u32)| {
        format!(
            "has a bitmask of {} x {} pixels on an image of {width} x {height}; they must be equal",
            found.0, found.1
        )
    };
    // Nothing larger than the image is unpacked.
    let limits = Limits { max_pixels: pixels.into() };
    let mask = decode_color_mask(&png, limits).map_err(|error| match error {
        MaskError::Decode(
            DecodeError::TooLarge { width, height, .. } | DecodeError::TooLong { width, height },
        ) => size((width, height)),
        MaskError::NotClassIds(what) => format!("has a bitmask that is {what}; expected {FORM}"),
        MaskError::Decode(error) => format!("has a bitmask that cannot be used: {error}"),
    })?;
    if (mask.width, mask.height) != (width, height) {
        return Err(size((mask.width, mask.height)));
    }
    let alphas = match mask.pixels {
        ColorPixels::Rgba(samples) => Some(samples.chunks_exact(4).map(|pixel| pixel[3]).collect()),
        ColorPixels::Palette { colors, indices } if colors.iter().any(|c| c[3] < u8::MAX) => {
            // An index without a colour is shown as opaque black.
            let alpha = |&i: &u8| colors.get(usize::from(i)).map_or(u8::MAX, |color| color[3]);
            Some(indices.iter().map(alpha).collect())
        }
        ColorPixels::Palette { .. } | ColorPixels::Rgb(_) => None,
    };
    let alphas = alphas.and_then(|alphas| GrayImage::from_raw(width, height, alphas));
    let alphas = alphas.ok_or_else(|| {
        "has a bitmask without alpha, which does not say what is covered; write covered pixels opaque and all others \
         transparent (alpha 0), as Label Studio does"
            .to_owned()
    })?;
    Ok(Runs::of(&alphas, |alpha| alpha > 0))
}

/// The bytes in a data URL.
fn payload(data_url: &str) -> Result<Vec<u8>, String> {
    let url = data_url.trim();
    let (head, data) = url.split_once(',').unwrap_or((url, ""));
    let scheme = head.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:"));
    let is_base64 =
        head.rsplit_once(';').is_some_and(|(_, last)| last.trim().eq_ignore_ascii_case("base64"));
    if scheme.is_none() || !is_base64 {
        let start: String = url.chars().take(32).collect();
        return Err(format!("has a bitmask that starts with {start:?}; expected {FORM}"));
    }
    let mut text: Cow<'_, [u8]> = percent_decode_str(data).into();
    if text.iter().any(u8::is_ascii_whitespace) {
        text.to_mut().retain(|byte| !byte.is_ascii_whitespace());
    }
    BASE64.decode(&text).map_err(|cause| format!("has a bitmask that is no base64: {cause}"))
}

#[cfg(test)]
mod tests;
