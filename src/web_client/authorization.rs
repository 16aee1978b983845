//! The proof to one server of who asks.

use std::fmt;

use reqwest::Url;
use reqwest::header::HeaderValue;

/// Value of the header `Authorization` with the server that it is for. Its text is never shown.
#[derive(Clone)]
pub struct Authorization {
    /// Address of the server, of which scheme, host and port count.
    server: Url,
    value: HeaderValue,
}

impl Authorization {
    /// Makes an authorization. Returns `None` if `value` holds characters that no header has.
    pub fn new(server: &Url, value: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        Some(Self { server: server.clone(), value })
    }

    /// Returns true if both are the same proof.
    pub fn is_same(&self, other: &Self) -> bool {
        self.value == other.value
    }

    /// Returns the header's value if a request goes to the server that it is for.
    pub(super) fn value_for(&self, url: &Url) -> Option<&HeaderValue> {
        (url.origin() == self.server.origin()).then_some(&self.value)
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorization for {}", self.server.origin().ascii_serialization())
    }
}
