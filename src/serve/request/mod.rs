//! Request bodies: from bytes of each content type to images.
//!
//! | `Content-Type` | body |
//! |---|---|
//! | `image/jpeg`, `image/png`, `image/webp`, `image/tiff`, `image/bmp` | one image file |
//! | `application/x-image`, `application/octet-stream` | the same; its bytes decide the format |
//! | `application/x-npy` | one array as `numpy.save` writes it ([`npy`]) |
//! | `application/json` | one record, or `{"instances": [record, ...]}` ([`json`]) |
//! | `application/jsonlines`, `application/x-ndjson` | one record per line |
//!
//! A record is `{"image": TEXT}` or `{"source-ref": "s3://bucket/key"}`, and may have an `"id"`,
//! which its answer repeats. TEXT is an image file in base64, a data URL, or `s3://bucket/key`.

mod image_file;
mod json;
mod mistakes;
mod npy;
pub(in crate::serve) mod options;
mod reference;

use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use image::RgbImage;

pub use self::reference::{BoxFuture, ObjectFetcher};
use crate::imaging::DecodeLimits;
use crate::serve::api_error::{ApiError, ErrorType};
use crate::serve::request::options::quote_truncated;

/// The kinds of bodies, by `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum BodyKind {
    /// One image file.
    Image,
    /// One array.
    Npy,
    /// One record, or a list of them.
    Json,
    /// One record per line.
    JsonLines,
}

/// Media types by kind. The types at the end of each list are not registered but in use.
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
    /// Reads the kind from `Content-Type`; parameters of the type are ignored.
    pub(in crate::serve) fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
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
                "{problem}; send the bytes of one image as image/jpeg, image/png, image/webp, \
                 image/tiff, image/bmp, \
                 application/x-image or application/octet-stream, an array as application/x-npy, \
                 or records as \
                 application/json or application/jsonlines"
            ),
        ))
    }
}

/// The place of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve) enum ImageSource {
    /// An image file or a `NumPy` array; the first bytes tell which.
    Bytes(Vec<u8>),
    /// A `NumPy` array.
    Npy(Vec<u8>),
    /// Bytes as a JSON string in its quotation marks: base64 or a data URL. The string is a slice
    /// of the body, and is decoded together with the image.
    JsonText(Bytes),
    /// `s3://bucket/key`.
    S3Uri(String),
}

/// One image of a body with records.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::serve) struct InputRecord {
    /// The image, or the reason why the record cannot be used.
    pub(in crate::serve) source: Result<ImageSource, ApiError>,
    /// The client's name for the record, a string or a number, as it stands in the body: JSON. It
    /// is not parsed, since numbers may have any number of digits.
    pub(in crate::serve) id: Option<String>,
}

/// The form of a body with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum RecordsStyle {
    /// A JSON body that is one record.
    Single,
    /// `{"instances": [...]}`.
    Instances,
    /// One record per line.
    JsonLines,
}

/// The content of a body.
#[derive(Debug, PartialEq)]
pub(in crate::serve) enum RequestBody {
    /// One image.
    Image(ImageSource),
    /// At least one record in JSON.
    Records(Vec<InputRecord>, RecordsStyle),
}

/// Finds the images in a body without decoding them. Takes a few bytes per record beside the body.
pub(in crate::serve) fn parse_body(
    body_kind: BodyKind,
    body: Vec<u8>,
) -> Result<RequestBody, ApiError> {
    match body_kind {
        BodyKind::Image => Ok(RequestBody::Image(ImageSource::Bytes(body))),
        BodyKind::Npy => Ok(RequestBody::Image(ImageSource::Npy(body))),
        BodyKind::Json => json::parse_document(&body.into())
            .map(|(records, style)| RequestBody::Records(records, style)),
        BodyKind::JsonLines => json::parse_lines(&body.into())
            .map(|records| RequestBody::Records(records, RecordsStyle::JsonLines)),
    }
}

/// Decodes the upright image; its size is checked before memory for its pixels is taken.
///
/// An [`ImageSource::S3Uri`] must be fetched before, and is refused here.
pub(in crate::serve) fn decode_source(
    source: ImageSource,
    limits: DecodeLimits,
) -> Result<RgbImage, ApiError> {
    match source {
        ImageSource::Bytes(bytes) => image_file::decode_body_image(bytes, limits),
        ImageSource::Npy(bytes) => npy::decode_npy(bytes, limits),
        ImageSource::JsonText(text) => {
            image_file::decode_record_image(image_file::decode_base64_text(&text)?, limits)
        }
        ImageSource::S3Uri(uri) => Err(ApiError::new(
            ErrorType::ReferencesNotAllowed,
            format!("{} was not fetched; send the image itself in base64", quote_truncated(&uri)),
        )),
    }
}

#[cfg(test)]
mod tests;
