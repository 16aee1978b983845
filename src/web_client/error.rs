//! Failures of requests.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use reqwest::{Method, Url};

use super::address::ForbiddenAddress;
use crate::error::{Error, shorten_text};

/// Longest part of an answer that an error repeats, in characters.
const MAX_ANSWER_CHARS: usize = 300;

/// Reason of a failure, by which callers tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebErrorKind {
    /// The server answered with this status, which is no success.
    Status(u16),
    /// No connection came about.
    Unreachable,
    /// The connection broke off.
    Connection,
    /// The server took too long.
    Timeout,
    /// The address may not be asked ([`super::AddressRule`]).
    ForbiddenAddress,
    /// The answer is longer than allowed, in another form than expected, or leads elsewhere.
    Answer,
    /// The reader of the answer could not write it to disk.
    Disk,
    /// The proof of who asks cannot be had.
    Authorization,
}

/// Failure of a request, with a text for people that names method and address. The address is without
/// its query, which may hold a signature.
#[derive(Debug, Clone)]
pub struct WebError {
    pub kind: WebErrorKind,
    /// True if the failure is not that of the server that was asked, but of one that it redirected to.
    pub was_redirected: bool,
    message: String,
    /// Pause that the server asks for before the next attempt.
    pub(super) retry_after: Option<Duration>,
}

impl WebError {
    /// Makes an error of which `reason` follows method and address.
    pub fn new(kind: WebErrorKind, method: &Method, url: &Url, reason: impl fmt::Display) -> Self {
        let message = format!("{method} {}: {reason}", show_url(url));
        Self { kind, was_redirected: false, message, retry_after: None }
    }

    /// Describes a failure of the connection.
    pub(super) fn from_transport(method: &Method, url: &Url, error: &reqwest::Error) -> Self {
        if let Some(forbidden) = find_cause::<ForbiddenAddress>(error) {
            return Self::forbidden(method, url, forbidden);
        }
        if error.is_timeout() {
            return Self::new(WebErrorKind::Timeout, method, url, "the server took too long");
        }
        // The outer errors say no more than that there is a reason.
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let (kind, reason) = if error.is_connect() {
            (WebErrorKind::Unreachable, "no connection")
        } else {
            (WebErrorKind::Connection, "the connection broke off")
        };
        Self::new(kind, method, url, format_args!("{reason} ({cause})"))
    }

    pub(super) fn forbidden(method: &Method, url: &Url, forbidden: &ForbiddenAddress) -> Self {
        let reason = format!("{forbidden}, and only public addresses may be asked");
        Self::new(WebErrorKind::ForbiddenAddress, method, url, reason)
    }

    /// Describes an answer that is no success, with what the server says in it.
    pub(super) fn from_answer(
        method: &Method,
        url: &Url,
        status: u16,
        content_type: &str,
        body: &[u8],
    ) -> Self {
        let name =
            reqwest::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let name = name.unwrap_or("a status without a name");
        let said = match describe_body(content_type, body) {
            Some(said) => format!(", and says: {said}"),
            None => String::new(),
        };
        let reason = format!("the server answers {status} ({name}){said}");
        Self::new(WebErrorKind::Status(status), method, url, reason)
    }

    /// Returns true if the same request may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self.kind {
            WebErrorKind::Status(status) => {
                matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            WebErrorKind::Unreachable | WebErrorKind::Connection | WebErrorKind::Timeout => true,
            WebErrorKind::ForbiddenAddress
            | WebErrorKind::Answer
            | WebErrorKind::Disk
            | WebErrorKind::Authorization => false,
        }
    }

    /// Says whether the failure is that of a server that another one redirected to.
    #[must_use]
    pub(super) fn redirected(self, was_redirected: bool) -> Self {
        Self { was_redirected, ..self }
    }

    /// Changes the reason by which callers tell cases apart.
    #[must_use]
    pub fn with_kind(self, kind: WebErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Appends advice for the user.
    #[must_use]
    pub fn with_advice(mut self, advice: impl fmt::Display) -> Self {
        self.message = format!("{}; {advice}", self.message);
        self
    }
}

impl fmt::Display for WebError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WebError {}

impl From<WebError> for Error {
    fn from(error: WebError) -> Self {
        Self::input(error.message)
    }
}

/// Returns an address without what may be secret: name, password, query and fragment.
pub fn show_url(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // Both fail only for addresses that have neither.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shortened(shown.as_str())
}

fn shortened(text: &str) -> String {
    shorten_text(text, MAX_ANSWER_CHARS).into_owned()
}

/// Returns what a body says to people, or none if that is nothing.
fn describe_body(content_type: &str, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if content_type.contains("html") || text.starts_with("<!") || text.starts_with("<html") {
        return Some("a page for people (HTML)".to_owned());
    }
    // The key of the framework that Label Studio stands on, and that of many others.
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) {
        for key in ["detail", "message", "error"] {
            if let Some(serde_json::Value::String(said)) = object.get(key) {
                return Some(shortened(said));
            }
        }
    }
    Some(shortened(text))
}

/// Returns the first error of a type among an error's causes.
fn find_cause<T: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(found) = source.downcast_ref::<T>() {
            return Some(found);
        }
        cause = source.source();
    }
    None
}
