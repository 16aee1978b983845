//! Image files, and their encoding in JSON: base64 and data URLs.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use image::RgbImage;
use percent_encoding::percent_decode_str;

use super::mistakes::{describe_image_mistake, describe_twice_encoded, is_data_url};
use super::npy;
use crate::imaging::{DecodeError, DecodeLimits, decode_upright};
use crate::serve::api_error::{ApiError, ErrorType};
use crate::serve::request::options::quote_truncated;

/// Decodes the image file that is a whole body, or an array that was sent as an image file.
pub(super) fn decode_body_image(
    bytes: Vec<u8>,
    limits: DecodeLimits,
) -> Result<RgbImage, ApiError> {
    decode_image_file(bytes, limits, describe_image_mistake)
}

/// Decodes the image file of a record, or an array in its place.
pub(super) fn decode_record_image(
    bytes: Vec<u8>,
    limits: DecodeLimits,
) -> Result<RgbImage, ApiError> {
    decode_image_file(bytes, limits, describe_twice_encoded)
}

/// Decodes an image file or an array. `describe_mistake` names the usual mistakes in bytes that are
/// neither.
fn decode_image_file(
    bytes: Vec<u8>,
    limits: DecodeLimits,
    describe_mistake: fn(&[u8]) -> Option<&'static str>,
) -> Result<RgbImage, ApiError> {
    if bytes.starts_with(npy::MAGIC) {
        return npy::decode_npy(bytes, limits);
    }
    let error = match decode_upright(&bytes, limits) {
        Ok(image) => return Ok(image),
        Err(error) => error,
    };
    if matches!(error, DecodeError::NotAnImage { .. })
        && let Some(mistake) = describe_mistake(&bytes)
    {
        return Err(undecodable_error(mistake.to_owned()));
    }
    Err(image_decode_error(&error))
}

/// Returns the error for an image that cannot be decoded.
pub(super) fn image_decode_error(error: &DecodeError) -> ApiError {
    let error_type = match error {
        DecodeError::Empty => ErrorType::EmptyBody,
        DecodeError::TooLarge { .. } | DecodeError::SideTooLong { .. } => ErrorType::ImageTooLarge,
        DecodeError::NotAnImage { .. } | DecodeError::Broken(_) => ErrorType::UndecodableImage,
    };
    let message = match error_type {
        ErrorType::UndecodableImage => {
            format!("the image cannot be decoded: {error}; send one whole image file")
        }
        _ => error.to_string(),
    };
    ApiError::new(error_type, message)
}

fn undecodable_error(message: String) -> ApiError {
    ApiError::new(ErrorType::UndecodableImage, message)
}

/// Returns a base64 decoder that is as lenient as those of data URLs: padding may be missing, and
/// the last character may have unused bits.
const fn base64_engine(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

pub(super) const BASE64: GeneralPurpose = base64_engine(&STANDARD);
/// Alphabet with `-` and `_`, as Python's `urlsafe_b64encode` writes it.
pub(super) const URL_SAFE_BASE64: GeneralPurpose = base64_engine(&URL_SAFE);

/// Decodes a JSON string, quotation marks included, that holds base64 or a data URL (RFC 2397) of
/// base64.
pub(super) fn decode_base64_text(json: &[u8]) -> Result<Vec<u8>, ApiError> {
    let JsonString(text) = match serde_json::from_slice(json) {
        Ok(text) => text,
        Err(error) => {
            return Err(undecodable_error(format!("the image is no text of JSON: {error}")));
        }
    };
    let text = text.trim();
    let payload: Cow<'_, [u8]> = if is_data_url(text.as_bytes()) {
        let (data_url_header, data) = text.split_once(',').unwrap_or((text, ""));
        let encoding = data_url_header.rsplit_once(';').map(|(_, last)| last.trim());
        if !encoding.is_some_and(|last| last.eq_ignore_ascii_case("base64")) {
            return Err(undecodable_error(format!(
                "the image is a data URL that starts with {}; expected data:image/...;base64,...",
                quote_truncated(data_url_header)
            )));
        }
        percent_decode_str(data).into()
    } else {
        text.as_bytes().into()
    };
    let payload = if payload.iter().any(u8::is_ascii_whitespace) {
        payload.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
    } else {
        payload
    };
    let is_url_safe = payload.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if is_url_safe { &URL_SAFE_BASE64 } else { &BASE64 };
    let bytes = engine.decode(&payload).map_err(|error| {
        undecodable_error(format!(
            "the image starts with {} and is no base64: {error}; send an image file in base64, a \
             data URL or \
             s3://bucket/key",
            quote_truncated(text)
        ))
    })?;
    if bytes.is_empty() {
        return Err(undecodable_error(
            "the image is an empty text; send an image file in base64".to_owned(),
        ));
    }
    Ok(bytes)
}

/// A string that borrows from the input if it has no escapes; a plain `Cow` never borrows.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct JsonString<'a>(#[serde(borrow)] Cow<'a, str>);
