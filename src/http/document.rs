//! Bodies that many servers have: JSON, and documents that do not change.

use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Bytes of the SHA-256 digest that an entity tag holds.
const TAG_BYTES: usize = 12;

/// Returns an answer in JSON. `value` must have keys that are strings; any other has an empty body.
pub fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    let content_type = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, content_type, serde_json::to_string(value).unwrap_or_default()).into_response()
}

/// A document that does not change while the server runs, with its headers.
///
/// Browsers keep the document but ask for it again (`Cache-Control: no-cache`), since another
/// version may serve here later. A client that holds it already gets 304 without a body.
#[derive(Debug)]
pub struct Document {
    body: Bytes,
    tag: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Document {
    /// Makes a document with these headers, to which `Cache-Control` and `ETag` are added.
    pub fn new(body: String, mut headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        let tag = entity_tag(body.as_bytes());
        headers.push((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
        headers.push((ETAG, tag.clone()));
        Self { body: body.into(), tag, headers }
    }

    /// Returns the bytes of the document.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the headers of every answer.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Answers a request with these headers.
    pub fn respond(&self, request_headers: &HeaderMap) -> Response {
        let mut response = if is_not_modified(request_headers, &self.tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            self.body.clone().into_response()
        };
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}

/// Returns a strong entity tag of the bytes.
fn entity_tag(bytes: &[u8]) -> HeaderValue {
    let digest = Sha256::digest(bytes);
    let text = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..TAG_BYTES]));
    // Base64 in quotation marks is always a valid value.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Returns true if the client holds the document that `tag` names (RFC 9110, 13.1.2, weak
/// comparison).
fn is_not_modified(request_headers: &HeaderMap, tag: &HeaderValue) -> bool {
    for header in request_headers.get_all(IF_NONE_MATCH) {
        let Ok(text) = header.to_str() else { continue };
        for candidate in text.split(',') {
            let candidate = candidate.trim();
            let strong = candidate.strip_prefix("W/").unwrap_or(candidate);
            if candidate == "*" || strong.as_bytes() == tag.as_bytes() {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_other_bytes_have_other_tags() {
        let document = |text: &str| Document::new(text.to_owned(), Vec::new());
        assert_eq!(document("a").tag, document("a").tag);
        assert_ne!(document("a").tag, document("b").tag);
        assert_eq!(document("a").tag.len(), 18);
    }

    #[test]
    fn a_tag_is_known_alone_in_a_list_weak_or_as_a_star() {
        let tag = HeaderValue::from_static("\"abc\"");
        let if_none_match = |text: &'static str| {
            HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(text))])
        };
        for text in ["\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", "*"] {
            assert!(is_not_modified(&if_none_match(text), &tag), "{text}");
        }
        for text in ["", "abc", "\"ab\"", "\"x\", \"y\""] {
            assert!(!is_not_modified(&if_none_match(text), &tag), "{text}");
        }
        assert!(!is_not_modified(&HeaderMap::new(), &tag));
    }
}
