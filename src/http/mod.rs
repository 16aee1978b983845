//! HTTP for every server of the program: connections, bodies, errors, the access log and metrics.
//!
//! The room knows no routes and no formats. A server stands on it in five steps; `tests.rs` beside
//! this file holds a whole one.
//!
//! 1. Errors: the server defines an enum of stable names and implements [`ErrorKind`] for it.
//!    `type ApiError = http::ApiError<MyErrorType>` is then the error of its handlers, and becomes
//!    a status with the body `{"error": TEXT, "error_type": NAME}`.
//! 2. Bodies: handlers read them with [`check_declared_length`] and [`receive_body`], under
//!    [`BodyLimits`] and a [`BodyBudget`] that all requests share, and unpack them with
//!    [`parse_content_encoding`] and [`decode_body`]. The server words each [`BodyError`] for its
//!    clients, and calls [`discard_unread_body`] where it refuses a request.
//! 3. Metrics: [`HttpMetrics::register`] adds the counters of requests to the server's registry,
//!    and [`render_registry`] answers `GET /metrics`.
//! 4. Access log: [`with_access_log`] wraps the router. An [`AccessInfo`] in the extensions of a
//!    response adds fields to its line in the log, and stages to the header `Server-Timing`.
//! 5. Process: [`bind_listener`], [`serve_until`] with [`Timeouts`], and [`stop_signal`], on the
//!    runtime of [`build_runtime`].
//!
//! [`Document`] serves a page or a description that does not change while the server runs.

mod access_log;
mod body;
mod content_encoding;
mod document;
mod error;
mod listener;
mod log;
mod metrics;
mod process;

pub use self::access_log::{AccessInfo, AccessLog, milliseconds, with_access_log};
pub use self::body::{
    BodyBudget, BodyError, BodyLimits, BodyPermit, BudgetExceeded, ReceivedBody,
    check_declared_length, discard_unread_body, receive_body,
};
pub use self::content_encoding::{
    ACCEPTED_ENCODINGS, ContentCoding, MAX_CODINGS, decode_body, parse_content_encoding,
};
pub use self::document::{Document, json_response};
pub use self::error::{ApiError, ErrorKind};
pub use self::listener::{Timeouts, bind_listener, serve_until};
pub use self::log::{Level, log_message};
pub use self::metrics::{HttpMetrics, SecondsHistogram, render_registry};
pub use self::process::{build_runtime, stop_signal};

#[cfg(test)]
mod tests;
