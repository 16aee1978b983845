//! Image files, and their encoding in JSON: base64 and data URLs.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use image::RgbImage;
use percent_encoding::percent_decode_str;

use super::npy;
use crate::imaging::{DecodeError, DecodeLimits, decode_upright, name_image_format};
use crate::serve::api_error::{ApiError, ErrorType};
use crate::serve::request::options::quote_truncated;

/// Longest beginning of a multipart form that holds its first header, in bytes.
const MAX_FORM_HEAD_BYTES: usize = 512;
/// Characters of base64 that hold more bytes than any format needs to be known by.
const BASE64_START_CHARS: usize = 128;

/// Decodes the image file that is a whole body, or an array that was sent as an image file.
pub(super) fn decode_body_image(
    bytes: Vec<u8>,
    limits: DecodeLimits,
) -> Result<RgbImage, ApiError> {
    decode_image_file(bytes, limits, describe_text_body)
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

/// Names base64 that was encoded again, and the fix. Returns none for anything else.
fn describe_twice_encoded(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii();
    let is_base64 = is_data_url(text) || decodes_to_image(text);
    is_base64.then_some("the image was encoded in base64 twice; encode the bytes of its file once")
}

/// Names a body that was sent as an image and is one of the usual texts instead, and the fix.
/// Returns none for anything else.
fn describe_text_body(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii();
    if text.starts_with(b"{") {
        return Some("the body is JSON, not the bytes of an image; send it as application/json");
    }
    let start = &text[..text.len().min(MAX_FORM_HEAD_BYTES)];
    if text.starts_with(b"--") && contains_ignoring_case(start, b"content-disposition:") {
        return Some(
            "the body is a multipart form, not the bytes of an image; send the bytes of the file \
             alone (curl --data-binary @FILE, not -F)",
        );
    }
    let quoted = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    let text = quoted.unwrap_or(text);
    if is_data_url(text) || decodes_to_image(text) {
        return Some(
            "the body is base64, not the bytes of an image; send the bytes themselves, or \
             {\"image\": BASE64} as application/json",
        );
    }
    None
}

fn contains_ignoring_case(bytes: &[u8], lowercase: &[u8]) -> bool {
    bytes.windows(lowercase.len()).any(|window| window.eq_ignore_ascii_case(lowercase))
}

fn is_data_url(text: &[u8]) -> bool {
    text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"data:"))
}

/// Returns true if the text is base64 that begins as an image file of a known format does.
fn decodes_to_image(text: &[u8]) -> bool {
    let mut start = Vec::new();
    for &byte in text.iter().take(2 * BASE64_START_CHARS) {
        if !byte.is_ascii_whitespace() && start.len() < BASE64_START_CHARS {
            start.push(byte);
        }
    }
    // The decoder reads whole groups of four characters.
    start.truncate(start.len() / 4 * 4);
    match URL_SAFE_BASE64.decode(&start).or_else(|_| BASE64.decode(&start)) {
        Ok(decoded) => decoded.starts_with(npy::MAGIC) || name_image_format(&decoded).is_some(),
        Err(_) => false,
    }
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

const BASE64: GeneralPurpose = base64_engine(&STANDARD);
/// Alphabet with `-` and `_`, as Python's `urlsafe_b64encode` writes it.
const URL_SAFE_BASE64: GeneralPurpose = base64_engine(&URL_SAFE);

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
    let payload: Cow<'_, [u8]> = match text.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("data:") => {
            let (data_url_header, data) = text.split_once(',').unwrap_or((text, ""));
            let encoding = data_url_header.rsplit_once(';').map(|(_, last)| last.trim());
            if !encoding.is_some_and(|last| last.eq_ignore_ascii_case("base64")) {
                return Err(undecodable_error(format!(
                    "the image is a data URL that starts with {}; expected \
                     data:image/...;base64,...",
                    quote_truncated(data_url_header)
                )));
            }
            percent_decode_str(data).into()
        }
        _ => text.as_bytes().into(),
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
