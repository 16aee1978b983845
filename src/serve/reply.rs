//! Refusals: what went wrong, as a status and a JSON body that programs and people can read.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The stable names in `error_type` of every error body, each with its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ErrorType {
    /// 400: the body has no bytes.
    EmptyBody,
    /// 400: the body ended early or its chunks are malformed.
    BrokenBody,
    /// 404: there is nothing at this path.
    NotFound,
    /// 405: the path exists, but not for this method.
    MethodNotAllowed,
    /// 406: nothing that `Accept` allows can be made.
    NotAcceptable,
    /// 408: the body took too long to arrive.
    BodyTimeout,
    /// 413: the body has more bytes than allowed.
    BodyTooLarge,
    /// 413: the image has more pixels than allowed.
    ImageTooLarge,
    /// 415: the `Content-Type` is missing or none that can be read.
    UnsupportedMediaType,
    /// 422: the body is not an image, or one that is cut off or corrupt.
    UndecodableImage,
    /// 500: the model failed on this image; the server goes on.
    InferenceFailed,
    /// 503 with `Retry-After`: as much work waits as may wait.
    Overloaded,
    /// 503 with `Retry-After`: the model is still being loaded.
    ModelLoading,
    /// 503: the model could not be loaded or its thread ended; only a restart helps.
    ModelUnavailable,
}

impl ErrorType {
    /// The status that goes with the name.
    pub fn status(self) -> StatusCode {
        match self {
            Self::EmptyBody | Self::BrokenBody => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge | Self::ImageTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UndecodableImage => StatusCode::UNPROCESSABLE_ENTITY,
            Self::InferenceFailed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded | Self::ModelLoading | Self::ModelUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The header that tells a client what to do next, where there is one.
    fn advice(self) -> Option<(header::HeaderName, HeaderValue)> {
        match self {
            Self::Overloaded => Some((header::RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::ModelLoading => Some((header::RETRY_AFTER, HeaderValue::from_static("5"))),
            // RFC 9110, 15.5.9: the rest of the body is not waited for.
            Self::BodyTimeout => Some((header::CONNECTION, HeaderValue::from_static("close"))),
            _ => None,
        }
    }
}

/// Why a request got no mask.
#[derive(Debug)]
pub(super) struct Refusal {
    error_type: ErrorType,
    error: String,
}

impl Refusal {
    /// `error` says what is wrong, what is allowed, and the fix.
    pub(super) fn new(error_type: ErrorType, error: impl Into<String>) -> Self {
        Self { error_type, error: error.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.error, "error_type": self.error_type });
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (self.error_type.status(), json, body.to_string()).into_response();
        if let Some((name, value)) = self.error_type.advice() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
