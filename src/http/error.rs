//! Errors of an HTTP interface: a status, and a JSON body that programs and people can read.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The longest `Retry-After`, in seconds.
const MAX_RETRY_AFTER_SECONDS: u128 = 3600;

/// The kinds of errors of one server. [`Display`](fmt::Display) writes the stable name that stands
/// in `error_type` of the body, in the access log and in the metrics.
pub trait ErrorKind: Copy + fmt::Display + Send + Sync + 'static {
    /// Returns the status of answers with this error.
    fn status(self) -> StatusCode;

    /// Returns the default value of `Retry-After`, in seconds; none leaves the header out.
    fn retry_after_seconds(self) -> Option<u64> {
        None
    }

    /// Returns the value of `Accept-Encoding`, which tells the client how a body may be compressed
    /// (RFC 9110, 12.5.3); none leaves the header out.
    fn accepted_encodings(self) -> Option<&'static str> {
        None
    }
}

/// An error answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError<K> {
    error_type: K,
    message: String,
    retry_after_seconds: Option<u64>,
}

/// The name of an error in the extensions of its response, for the access log.
#[derive(Debug, Clone)]
pub(super) struct ErrorName(pub(super) String);

impl<K: ErrorKind> ApiError<K> {
    /// Makes an error. `message` says what is wrong, what is allowed, and the fix.
    pub fn new(error_type: K, message: impl Into<String>) -> Self {
        let retry_after_seconds = error_type.retry_after_seconds();
        Self { error_type, message: message.into(), retry_after_seconds }
    }

    /// Returns the same error with `wait` as `Retry-After`, in whole seconds from 1 to 3600.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).clamp(1, MAX_RETRY_AFTER_SECONDS);
        self.retry_after_seconds = Some(seconds as u64);
        self
    }

    /// Returns the kind of the error.
    pub fn error_type(&self) -> K {
        self.error_type
    }

    /// Returns the text for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the JSON of the body.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": self.message, "error_type": self.error_type.to_string() })
    }
}

impl<K: ErrorKind> IntoResponse for ApiError<K> {
    fn into_response(self) -> Response {
        let status = self.error_type.status();
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (status, content_type, self.to_json().to_string()).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(encodings) = self.error_type.accepted_encodings() {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encodings));
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            // RFC 9110, 15.5.9: the server does not wait for the rest of the request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(ErrorName(self.error_type.to_string()));
        response
    }
}
