//! Refusals: what went wrong, as a status and a JSON body that programs and people can read.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The stable names in `error_type` of every error body, each with its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum ErrorType {
    /// 400: the body has no bytes.
    EmptyBody,
    /// 400: the body ended early or its chunks are malformed.
    BrokenBody,
    /// 400: a header or a parameter of the query holds a value that cannot be used.
    InvalidOption,
    /// 400: the body is JSON, but not in the form that is expected.
    InvalidJson,
    /// 400: the folder holds no model that can be loaded.
    InvalidModel,
    /// 403: the request names images elsewhere, and this server fetches none.
    ReferencesNotAllowed,
    /// 404: there is nothing at this path.
    NotFound,
    /// 404: no model of this name is loaded.
    ModelNotFound,
    /// 405: the path exists, but not for this method.
    MethodNotAllowed,
    /// 406: nothing that `Accept` allows can be made.
    NotAcceptable,
    /// 408: the body took too long to arrive.
    BodyTimeout,
    /// 409: a model of this name is there already.
    ModelExists,
    /// 413: the body has more bytes than allowed.
    BodyTooLarge,
    /// 413: the image has more pixels than allowed.
    ImageTooLarge,
    /// 413: computing the answer would take longer than allowed.
    TooMuchWork,
    /// 413: the answer would have more bytes than allowed.
    ReplyTooLarge,
    /// 415: the `Content-Type` is missing or none that can be read.
    UnsupportedMediaType,
    /// 422: the body is not an image, or one that is cut off or corrupt.
    UndecodableImage,
    /// 422: the body is not an array of the kind that is expected.
    InvalidArray,
    /// 424: an image that the request names could not be fetched.
    ReferenceFailed,
    /// 500: the model failed on this image; the server goes on.
    InferenceFailed,
    /// 503 with `Retry-After`: as much work waits as may wait.
    Overloaded,
    /// 503 with `Retry-After`: the model is still being loaded.
    ModelLoading,
    /// 503: the model could not be loaded or its thread ended; only a restart helps.
    ModelUnavailable,
    /// 507: the model does not fit into the memory that is left for models.
    InsufficientMemory,
}

impl ErrorType {
    /// The status that goes with the name.
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
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
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

/// The name, as it stands in `error_type`.
impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a request got no mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    error_type: ErrorType,
    message: String,
    retry_after_seconds: Option<u64>,
}

impl ApiError {
    /// `error` says what is wrong, what is allowed, and the fix.
    pub(super) fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        let retry_after_seconds = match error_type {
            ErrorType::Overloaded => Some(1),
            ErrorType::ModelLoading => Some(5),
            _ => None,
        };
        Self { error_type, message: message.into(), retry_after_seconds }
    }

    /// The same refusal, to be tried again after so long: whole seconds, at least one.
    pub(super) fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after_seconds = Some(wait.as_millis().div_ceil(1000).clamp(1, 3600) as u64);
        self
    }

    pub(super) fn error_type(&self) -> ErrorType {
        self.error_type
    }

    /// What the body says.
    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self.message, "error_type": self.error_type })
    }
}

/// The error's name also stands in the extensions, for the log and the metrics.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let body = self.to_json().to_string();
        let mut response = (self.error_type.status(), content_type, body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.error_type == ErrorType::BodyTimeout {
            // RFC 9110, 15.5.9: the rest of the body is not waited for.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self.error_type);
        response
    }
}

/// An answer in JSON.
pub(super) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    // What is answered here always has keys that are strings.
    (status, content_type, serde_json::to_string(value).unwrap_or_default()).into_response()
}
