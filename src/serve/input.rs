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

pub use self::reference::{BoxFuture, Fetch};
use super::options::short;
use super::reply::{ErrorType, Refusal};
use crate::imaging::Limits;

/// The kinds of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
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
const TYPES: [(Content, &[&str]); 4] = [
    (
        Content::Image,
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
    (Content::Npy, &["application/x-npy", "application/npy"]),
    (Content::Json, &["application/json"]),
    (
        Content::JsonLines,
        &[
            "application/jsonlines",
            "application/x-ndjson",
            "application/x-jsonlines",
            "application/jsonl",
        ],
    ),
];

impl Content {
    /// The kind that `Content-Type` tells; its parameters do not matter.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let problem = match headers.get(CONTENT_TYPE) {
            None => "the request has no Content-Type".to_owned(),
            Some(value) => {
                let text = String::from_utf8_lossy(value.as_bytes());
                let name = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                let kind = TYPES.iter().find(|(_, names)| names.contains(&name.as_str()));
                if let Some((kind, _)) = kind {
                    return Ok(*kind);
                }
                format!("the Content-Type is {}", short(&name))
            }
        };
        Err(Refusal::new(
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
pub(super) enum Source {
    /// An image file, or an array: its first bytes tell.
    Bytes(Vec<u8>),
    /// An array.
    Array(Vec<u8>),
    /// The same as `Bytes` as a text of JSON, with its quotation marks: base64 or a data URL. It is a part of the
    /// body, and unpacked only when it is decoded.
    Text(Bytes),
    /// `s3://bucket/key`.
    Reference(String),
}

/// One image of several.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// Where it is, or why that is not known.
    pub(super) source: Result<Source, Refusal>,
    /// What the client calls it: a text or a number.
    pub(super) id: Option<serde_json::Value>,
}

/// How records came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordsStyle {
    /// A JSON body that is one record.
    Lone,
    /// `{"instances": [...]}`.
    Instances,
    /// A line each.
    JsonLines,
}

/// What a body holds.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// One image.
    One(Source),
    /// Records in JSON; there is at least one.
    Records(Vec<Record>, RecordsStyle),
}

/// Finds the images in a body. Nothing is decoded yet; beside the body it takes a few bytes per record.
pub(super) fn parse(content: Content, body: Vec<u8>) -> Result<Request, Refusal> {
    match content {
        Content::Image => Ok(Request::One(Source::Bytes(body))),
        Content::Npy => Ok(Request::One(Source::Array(body))),
        Content::Json => {
            json::document(&body.into()).map(|(records, style)| Request::Records(records, style))
        }
        Content::JsonLines => json::lines(&body.into())
            .map(|records| Request::Records(records, RecordsStyle::JsonLines)),
    }
}

/// The upright image; its size is checked before there is room made for its pixels.
///
/// A [`Source::Reference`] is to be fetched before, and refused here.
pub(super) fn decode(source: Source, limits: Limits) -> Result<RgbImage, Refusal> {
    match source {
        Source::Bytes(bytes) => image::decode(bytes, limits),
        Source::Array(bytes) => npy::decode(bytes, limits),
        Source::Text(text) => image::decode(image::unpacked(&text)?, limits),
        Source::Reference(uri) => Err(Refusal::new(
            ErrorType::ReferencesNotAllowed,
            format!("{} was not fetched; send the image itself in base64", short(&uri)),
        )),
    }
}

#[cfg(test)]
mod tests;
