//! What comes in: bodies of every kind to images.
//!
//! | `Content-Type` | body |
//! |---|---|
//! | `image/jpeg`, `image/png`, `image/webp`, `image/tiff`, `image/bmp`, `application/x-image`, `application/octet-stream` | the bytes of one image file; they decide, not the type |
//! | `application/x-npy` | one array as `numpy.save` writes it ([`npy`]) |
//! | `application/json` | one record, or `{"instances": [record, ...]}` ([`json`]) |
//! | `application/jsonlines`, `application/x-ndjson` | one record per line |
//!
//! A record is `{"image": TEXT}` or `{"source-ref": "s3://bucket/key"}`, and may have an `"id"` that stands in its
//! answer. TEXT is an image file in base64, a data URL, or `s3://bucket/key`.

mod image;
mod json;
mod npy;
mod reference;

use ::image::RgbImage;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

pub use self::reference::{BoxFuture, ObjectFetcher};
use super::options::quote_truncated;
use super::reply::{ApiError, ErrorType};
use crate::imaging::DecodeLimits;

/// The kinds of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyKind {
    /// One image file.
    Image,
    /// One array.
    Npy,
    /// One record, or a list of them.
    Json,
    /// A record per line.
    JsonLines,
}

/// Media types by kind. Those after the first line are not registered, but people write them.
const MEDIA_TYPES: [(BodyKind, &[&str]); 4] = [
    (
        BodyKind::Image,
        &[
            "image/jpeg",
            "image/png",
            "image/webp",
            "image/tiff",
            "image/bmp",
            "application/x-image",
            "application/octet-stream",
            "image/jpg",
            "image/pjpeg",
            "image/x-png",
            "image/x-ms-bmp",
            "image/x-bmp",
        ],
    ),
    (BodyKind::Npy, &["application/x-npy", "application/npy"]),
    (BodyKind::Json, &["application/json"]),
    (
        BodyKind::JsonLines,
        &[
            "application/jsonlines",
            "application/x-ndjson",
            "application/x-jsonlines",
            "application/jsonl",
        ],
    ),
];

impl BodyKind {
    /// The kind that `Content-Type` tells; its parameters do not matter.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let problem = match headers.get(CONTENT_TYPE) {
            None => "the request has no Content-Type".to_owned(),
            Some(value) => {
                let text = String::from_utf8_lossy(value.as_bytes());
                let media_type =
                    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                let kind = MEDIA_TYPES
                    .iter()
                    .find(|(_, media_types)| media_types.contains(&media_type.as_str()));
                if let Some((kind, _)) = kind {
                    return Ok(*kind);
                }
                format!("the Content-Type is {}", quote_truncated(&media_type))
            }
        };
        Err(ApiError::new(
            ErrorType::UnsupportedMediaType,
            format!(
                "{problem}; send the bytes of one image as image/jpeg, image/png, image/webp, image/tiff, image/bmp, \
                 application/x-image or application/octet-stream, an array as application/x-npy, or records as \
                 application/json or application/jsonlines"
            ),
        ))
    }
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ImageSource {
    /// An image file, or an array: its first bytes tell.
    Bytes(Vec<u8>),
    /// An array.
    Npy(Vec<u8>),
    /// The same as `Bytes` as a text of JSON, with its quotation marks: base64 or a data URL. It is a part of the
    /// body, and unpacked only when it is decoded.
    JsonText(Bytes),
    /// `s3://bucket/key`.
    S3Uri(String),
}

/// One image of several.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InputRecord {
    /// Where it is, or why that is not known.
    pub(super) source: Result<ImageSource, ApiError>,
    /// What the client calls it: a text or a number.
    pub(super) id: Option<serde_json::Value>,
}

/// How records came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordsStyle {
    /// A JSON body that is one record.
    Single,
    /// `{"instances": [...]}`.
    Instances,
    /// A line each.
    JsonLines,
}

/// What a body holds.
#[derive(Debug, PartialEq)]
pub(super) enum RequestBody {
    /// One image.
    Image(ImageSource),
    /// Records in JSON; there is at least one.
    Records(Vec<InputRecord>, RecordsStyle),
}

/// Finds the images in a body. Nothing is decoded yet; beside the body it takes a few bytes per record.
pub(super) fn parse_body(body_kind: BodyKind, body: Vec<u8>) -> Result<RequestBody, ApiError> {
    match body_kind {
        BodyKind::Image => Ok(RequestBody::Image(ImageSource::Bytes(body))),
        BodyKind::Npy => Ok(RequestBody::Image(ImageSource::Npy(body))),
        BodyKind::Json => json::parse_document(&body.into())
            .map(|(records, style)| RequestBody::Records(records, style)),
        BodyKind::JsonLines => json::parse_lines(&body.into())
            .map(|records| RequestBody::Records(records, RecordsStyle::JsonLines)),
    }
}

/// The upright image; its size is checked before there is room made for its pixels.
///
/// A [`Source::Reference`] is to be fetched before, and refused here.
pub(super) fn decode_source(
    source: ImageSource,
    limits: DecodeLimits,
) -> Result<RgbImage, ApiError> {
    match source {
        ImageSource::Bytes(bytes) => image::decode_image_file(bytes, limits),
        ImageSource::Npy(bytes) => npy::decode_npy(bytes, limits),
        ImageSource::JsonText(text) => {
            image::decode_image_file(image::decode_base64_text(&text)?, limits)
        }
        ImageSource::S3Uri(uri) => Err(ApiError::new(
            ErrorType::ReferencesNotAllowed,
            format!("{} was not fetched; send the image itself in base64", quote_truncated(&uri)),
        )),
    }
}

#[cfg(test)]
mod tests;
