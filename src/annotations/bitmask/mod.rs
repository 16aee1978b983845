//! Label Studio's bitmasks: the PNG of a `bitmasklabels` region as a data URL.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use image::GrayImage;
use percent_encoding::percent_decode_str;

use super::error::{Error, Result};
use super::runs::{Runs, checked_pixel_count};
use crate::imaging::{
    ColorPixels, DecodeError, DecodeLimits, MaskError, decode_color_mask, encode_coverage,
};

/// Decodes as browsers decode data URLs: padding may be missing, and the last character may have
/// bits to spare.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Format of a region's `imageDataURL`, for messages.
const EXPECTED_FORMAT: &str = "a PNG as \"data:image/png;base64,...\"";

const NO_ALPHA: &str = "has a bitmask without alpha, which does not say what is covered; write \
                        covered pixels opaque and all others transparent (alpha 0), as Label \
                        Studio does";

/// Returns the pixels that a data URL (RFC 2397) of a PNG covers in an image of `width` x `height`
/// pixels.
///
/// A pixel is covered if its alpha is above 0: Label Studio's editor draws black on a transparent
/// canvas and tests nothing else. An image without alpha is refused, because it does not say what
/// is covered: the editor would show it as a region over the whole image, while most authors of
/// such an image mean its dark or its light part. Anything but a PNG of exactly the image's size is
/// an error too.
pub fn decode_bitmask(data_url: &str, width: u32, height: u32) -> Result<Runs> {
    let pixel_count = checked_pixel_count(width, height)?;
    let png = decode_data_url(data_url)?;
    // The limit is the image's own size, so a larger PNG is refused before it is decoded.
    let limits = DecodeLimits { max_pixels: pixel_count.into() };
    let mask = match decode_color_mask(&png, limits) {
        Ok(mask) => mask,
        Err(cause) => return Err(bitmask_error(cause, (width, height))),
    };
    if (mask.width, mask.height) != (width, height) {
        return Err(size_error((mask.width, mask.height), (width, height)));
    }
    let alphas =
        extract_alphas(&mask.pixels).and_then(|alphas| GrayImage::from_raw(width, height, alphas));
    let Some(alphas) = alphas else {
        return Err(Error::Unsupported(NO_ALPHA.to_owned()));
    };
    Ok(Runs::from_mask_where(&alphas, |alpha| alpha > 0))
}

/// Returns the data URL of a PNG that covers these pixels: black on a transparent ground, as Label Studio's
/// editor writes it.
pub fn encode_bitmask(runs: &Runs) -> String {
    format!("data:image/png;base64,{}", BASE64.encode(encode_coverage(&runs.to_mask())))
}

fn bitmask_error(cause: MaskError, image_size: (u32, u32)) -> Error {
    let message = match &cause {
        &MaskError::Decode(
            DecodeError::TooLarge { width, height, .. }
            | DecodeError::SideTooLong { width, height },
        ) => return size_error((width, height), image_size),
        MaskError::NotClassIds(reason) => {
            format!("has a bitmask that is {reason}; expected {EXPECTED_FORMAT}")
        }
        MaskError::Decode(error) => format!("has a bitmask that cannot be used: {error}"),
    };
    Error::Bitmask { message, cause }
}

fn size_error(found_size: (u32, u32), image_size: (u32, u32)) -> Error {
    Error::WrongSize(format!(
        "has a bitmask of {} x {} pixels on an image of {} x {}; they must be equal",
        found_size.0, found_size.1, image_size.0, image_size.1
    ))
}

/// Returns the alpha of each pixel, or none if the picture has no transparency.
fn extract_alphas(pixels: &ColorPixels) -> Option<Vec<u8>> {
    match pixels {
        ColorPixels::Rgba(samples) => Some(samples.chunks_exact(4).map(|pixel| pixel[3]).collect()),
        ColorPixels::Palette { colors, indices } => {
            if colors.iter().all(|color| color[3] == u8::MAX) {
                return None;
            }
            // Decoders show an index without a color as opaque black.
            let mut alpha_by_index = [u8::MAX; 256];
            for (alpha, color) in alpha_by_index.iter_mut().zip(colors) {
                *alpha = color[3];
            }
            Some(indices.iter().map(|&index| alpha_by_index[usize::from(index)]).collect())
        }
        ColorPixels::Rgb(_) => None,
    }
}

/// Decodes the bytes of a data URL.
fn decode_data_url(data_url: &str) -> Result<Vec<u8>> {
    let url = data_url.trim();
    let (header, data) = url.split_once(',').unwrap_or((url, ""));
    let scheme = header.get(..5).unwrap_or_default();
    let (_, last_parameter) = header.rsplit_once(';').unwrap_or_default();
    let is_base64 = last_parameter.trim().eq_ignore_ascii_case("base64");
    if !scheme.eq_ignore_ascii_case("data:") || !is_base64 {
        let start: String = url.chars().take(32).collect();
        return Err(Error::UnexpectedFormat(format!(
            "has a bitmask that starts with {start:?}; expected {EXPECTED_FORMAT}"
        )));
    }
    let mut base64_text: Cow<'_, [u8]> = percent_decode_str(data).into();
    if base64_text.iter().any(u8::is_ascii_whitespace) {
        base64_text.to_mut().retain(|byte| !byte.is_ascii_whitespace());
    }
    BASE64.decode(&base64_text).map_err(|cause| {
        Error::syntax_with_cause(format!("has a bitmask that is no base64: {cause}"), cause)
    })
}

#[cfg(test)]
mod tests;
