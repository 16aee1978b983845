//! The errors of the server: their names, and those that several of its parts return.

use std::fmt;
use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;

use crate::http::{self, ACCEPTED_ENCODINGS, BodyError, ErrorKind, MAX_CODINGS};
use crate::serve::request::options::quote_truncated;

/// An error answer of this server.
pub type ApiError = http::ApiError<ErrorType>;

/// The names in `error_type` of error bodies, each with its status. Clients rely on them, so a name
/// never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum ErrorType {
    /// 400: the body has no bytes.
    EmptyBody,
    /// 400: the body ended early, its chunks are malformed, or it is not compressed as
    /// `Content-Encoding` tells.
    BrokenBody,
    /// 400: a header or a parameter of the query has a value that is not allowed.
    InvalidOption,
    /// 400: the body is no JSON, or JSON of another form than expected.
    InvalidJson,
    /// 400: the folder holds no model that can be loaded.
    InvalidModel,
    /// 403: the request names images elsewhere, and this server fetches none.
    ReferencesNotAllowed,
    /// 404: the path has no route.
    NotFound,
    /// 404: no model of this name is loaded.
    ModelNotFound,
    /// 405: the path exists, but not for this method.
    MethodNotAllowed,
    /// 406: the server can make no format that `Accept` allows.
    NotAcceptable,
    /// 408: the body took too long to arrive.
    BodyTimeout,
    /// 409: a model of this name is loaded already.
    ModelExists,
    /// 413: the body has more bytes than allowed.
    BodyTooLarge,
    /// 413: the image has more pixels than allowed.
    ImageTooLarge,
    /// 413: computing the answer would take longer than allowed.
    TooMuchWork,
    /// 413: the answer would have more bytes than allowed.
    ReplyTooLarge,
    /// 415: the `Content-Type` is missing or not supported.
    UnsupportedMediaType,
    /// 415 with `Accept-Encoding`: the `Content-Encoding` is not supported.
    UnsupportedContentEncoding,
    /// 422: the body is not an image, or one that is cut off or corrupt.
    UndecodableImage,
    /// 422: the body is not an array of the kind that is expected.
    InvalidArray,
    /// 424: an image that the request names could not be fetched.
    ReferenceFailed,
    /// 500: the model failed on this image; the server goes on.
    InferenceFailed,
    /// 503 with `Retry-After`: a bound on accepted work, waiting or in progress, is reached.
    Overloaded,
    /// 503 with `Retry-After`: the model is still being loaded.
    ModelLoading,
    /// 503: the model could not be loaded or its thread ended; only a restart helps.
    ModelUnavailable,
    /// 507: the model does not fit into the memory that is left for models.
    InsufficientMemory,
}

impl ErrorType {
    /// Returns the status of answers with this error.
    pub fn status(self) -> StatusCode {
        match self {
            Self::EmptyBody
            | Self::BrokenBody
            | Self::InvalidOption
            | Self::InvalidJson
            | Self::InvalidModel => StatusCode::BAD_REQUEST,
            Self::ReferencesNotAllowed => StatusCode::FORBIDDEN,
            Self::NotFound | Self::ModelNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::ModelExists => StatusCode::CONFLICT,
            Self::BodyTooLarge | Self::ImageTooLarge | Self::TooMuchWork | Self::ReplyTooLarge => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::UnsupportedMediaType | Self::UnsupportedContentEncoding => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::UndecodableImage | Self::InvalidArray => StatusCode::UNPROCESSABLE_ENTITY,
            Self::ReferenceFailed => StatusCode::FAILED_DEPENDENCY,
            Self::InferenceFailed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded | Self::ModelLoading | Self::ModelUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::InsufficientMemory => StatusCode::INSUFFICIENT_STORAGE,
        }
    }
}

/// Writes the name that stands in `error_type`.
impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl ErrorKind for ErrorType {
    fn status(self) -> StatusCode {
        Self::status(self)
    }

    fn retry_after_seconds(self) -> Option<u64> {
        match self {
            Self::Overloaded => Some(1),
            Self::ModelLoading => Some(5),
            _ => None,
        }
    }

    fn accepted_encodings(self) -> Option<&'static str> {
        match self {
            Self::UnsupportedContentEncoding => Some(ACCEPTED_ENCODINGS),
            _ => None,
        }
    }
}

/// Words the refusal of a body for the client.
pub(super) fn body_error(error: BodyError) -> ApiError {
    match error {
        BodyError::Empty => ApiError::new(
            ErrorType::EmptyBody,
            "the body is empty; send one whole image, or what else the Content-Type tells",
        ),
        BodyError::Broken(error) => ApiError::new(
            ErrorType::BrokenBody,
            format!(
                "the body broke off or its chunks are malformed ({error}); send it again whole"
            ),
        ),
        BodyError::TooLarge { declared_bytes, max_bytes } => {
            let found = match declared_bytes {
                Some(bytes) => format!("{bytes} bytes"),
                None => "more bytes than allowed".to_owned(),
            };
            ApiError::new(
                ErrorType::BodyTooLarge,
                format!(
                    "the body has {found}; at most {max_bytes} bytes are allowed (max_body_bytes), \
                     so send a smaller image or fewer at a time"
                ),
            )
        }
        BodyError::Undecodable { coding, error } => ApiError::new(
            ErrorType::BrokenBody,
            format!(
                "the Content-Encoding is {coding}, and the body cannot be unpacked ({error}); send \
                 it whole, or not compressed and without this header"
            ),
        ),
        BodyError::UnpackedTooLarge { max_bytes } => ApiError::new(
            ErrorType::BodyTooLarge,
            format!(
                "the unpacked body has more than the {max_bytes} bytes that are allowed \
                 (max_body_bytes), so send a smaller image or fewer at a time"
            ),
        ),
        BodyError::TimedOut(limit) => ApiError::new(
            ErrorType::BodyTimeout,
            format!(
                "the body did not arrive within {} s; send a smaller image or send it faster",
                limit.as_secs_f64()
            ),
        ),
        BodyError::OverBudget => overloaded_error("bytes"),
    }
}

/// Returns the error for a `Content-Encoding` that is not supported.
pub(super) fn content_encoding_error(encoding: &str) -> ApiError {
    let encoding = quote_truncated(encoding);
    ApiError::new(
        ErrorType::UnsupportedContentEncoding,
        format!(
            "the Content-Encoding is {encoding}; send the body as it is without this header, or \
             compressed with gzip or deflate, at most {MAX_CODINGS} times"
        ),
    )
}

/// Returns the error for work beyond a bound. `what` names the bound in the plural. Work counts
/// while it waits and while it is done: a request holds its place until its answer is encoded.
pub(super) fn overloaded_error(what: &str) -> ApiError {
    ApiError::new(
        ErrorType::Overloaded,
        format!(
            "as many {what} wait as may wait; send this again after the seconds in Retry-After, or \
             serve from more instances"
        ),
    )
}

/// Returns the error for an image that would be computed longer than allowed.
pub(super) fn too_much_work_error(predicted: Duration, max_time: Duration) -> ApiError {
    let (predicted_seconds, max_seconds) = (predicted.as_secs_f64(), max_time.as_secs_f64());
    ApiError::new(
        ErrorType::TooMuchWork,
        format!(
            "computing this would take about {predicted_seconds:.0} s, and at most \
             {max_seconds:.0} s are allowed (max_compute); send fewer pixels, or ask without flip, \
             scales or tile"
        ),
    )
}

/// Returns the error for requests after the compute thread has ended.
pub(super) fn thread_ended_error() -> ApiError {
    ApiError::new(
        ErrorType::ModelUnavailable,
        "the engine's thread has ended; restart the container and see its log for the reason",
    )
}
