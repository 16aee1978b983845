//! The errors of the ML backend, as Label Studio's log and people see them.

use std::fmt;

use axum::http::StatusCode;

use crate::http::{self, BodyError, ErrorKind};

/// An error answer of this server.
pub(super) type ApiError = http::ApiError<ErrorType>;

/// The names in `error_type` of error bodies, each with its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorType {
    /// 400: the body is empty, broken off, or no JSON of the expected form.
    InvalidBody,
    /// 400: the labeling configuration has no control tag for the model's classes.
    UnusableConfig,
    /// 401: name or password are missing or wrong.
    Unauthorized,
    /// 404: the path has no route.
    NotFound,
    /// 405: the path exists, but not for this method.
    MethodNotAllowed,
    /// 413: the body has more bytes than allowed.
    BodyTooLarge,
    /// 503: the round takes longer than Label Studio waits; its predictions are stored by the API.
    TakesTooLong,
    /// 503 with `Retry-After`: too many bytes wait.
    Overloaded,
    /// 503: the model cannot be asked.
    ModelUnavailable,
}

/// Writes the name that stands in `error_type`.
impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl ErrorKind for ErrorType {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidBody | Self::UnusableConfig => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TakesTooLong | Self::Overloaded | Self::ModelUnavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn retry_after_seconds(self) -> Option<u64> {
        (self == Self::Overloaded).then_some(1)
    }
}

/// Words the refusal of a body.
pub(super) fn body_error(error: &BodyError) -> ApiError {
    match error {
        BodyError::TooLarge { max_bytes, .. } | BodyError::UnpackedTooLarge { max_bytes } => {
            ApiError::new(
                ErrorType::BodyTooLarge,
                format!(
                    "the body has more than {max_bytes} bytes; Label Studio sends tasks with all their \
                     annotations and predictions, so make its batches smaller or delete old predictions"
                ),
            )
        }
        BodyError::OverBudget => ApiError::new(
            ErrorType::Overloaded,
            "as many bytes of requests wait as may wait; send this again after the seconds in Retry-After",
        ),
        BodyError::Empty => ApiError::new(
            ErrorType::InvalidBody,
            "the body is empty; Label Studio sends JSON with tasks and label_config",
        ),
        BodyError::Broken(_) | BodyError::Undecodable { .. } | BodyError::TimedOut(_) => {
            ApiError::new(ErrorType::InvalidBody, "the body did not arrive whole; send it again")
        }
    }
}
