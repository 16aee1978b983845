//! The page at `/` for people: drop an image, see its mask.
//!
//! One document without a second request: style and script are put into it here, and its
//! Content-Security-Policy allows these two by their hash and nothing else. It talks to the routes
//! that every client uses, by relative addresses, so that it works behind a proxy's prefix as well.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

static SINGLE_MODEL_PAGE: LazyLock<WebPage> = LazyLock::new(|| WebPage::new("single-model"));
static MULTI_MODEL_PAGE: LazyLock<WebPage> = LazyLock::new(|| WebPage::new("multi-model"));

/// `GET /`. With several models the page asks which one.
pub(super) fn page_routes<S: Clone + Send + Sync + 'static>(multi_model: bool) -> Router<S> {
    let page: &'static LazyLock<WebPage> =
        if multi_model { &MULTI_MODEL_PAGE } else { &SINGLE_MODEL_PAGE };
    Router::new().route("/", get(move |headers: HeaderMap| async move { page.respond(&headers) }))
}

/// A document that does not change while the server runs.
struct WebPage {
    html: String,
    headers: [(HeaderName, HeaderValue); 6],
}

impl WebPage {
    fn new(mode: &str) -> Self {
        let html = HTML
            .replace("{{mode}}", mode)
            .replace("{{style}}", STYLE)
            .replace("{{script}}", SCRIPT);
        let policy = content_security_policy();
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
            (CONTENT_SECURITY_POLICY, header_value(&policy)),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            // Kept, but asked for again: another version may serve here tomorrow.
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (ETAG, etag(html.as_bytes())),
        ];
        Self { html, headers }
    }

    fn respond(&self, request_headers: &HeaderMap) -> Response {
        let [.., (_, tag)] = &self.headers;
        if is_not_modified(request_headers, tag) {
            return (StatusCode::NOT_MODIFIED, self.headers.clone()).into_response();
        }
        (self.headers.clone(), self.html.as_str().to_owned()).into_response()
    }
}

/// What the page may do: run its own style and script, show what it made or was given (`blob:`, and
/// `data:` for its icon), and ask this server. Nobody may frame it.
fn content_security_policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    format!(
        "default-src 'none'; script-src {script}; style-src {style}; img-src 'self' blob: data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// A strong entity tag of the bytes.
pub(super) fn etag(bytes: &[u8]) -> HeaderValue {
    header_value(&format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..12])))
}

/// Whether the client has what `tag` names: RFC 9110, 13.1.2; the comparison is the weak one.
pub(super) fn is_not_modified(request_headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let matches_tag = |text: &str| {
        text.split(',').map(str::trim).any(|candidate| {
            candidate == "*"
                || candidate.strip_prefix("W/").unwrap_or(candidate).as_bytes() == tag.as_bytes()
        })
    };
    request_headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .any(|header| header.to_str().is_ok_and(matches_tag))
}

/// Text of ours is visible ASCII; should it ever not be, the header is empty and a test fails.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_refers_to_nothing_elsewhere() {
        for page in [&SINGLE_MODEL_PAGE, &MULTI_MODEL_PAGE] {
            assert!(!page.html.contains("{{"), "a part was not put in");
            for attribute in [" src=", "href=\"http", "url(", "@import", "import("] {
                assert!(!page.html.contains(attribute), "{attribute}");
            }
            assert!(page.headers.iter().all(|(_, value)| !value.is_empty()));
        }
        assert!(SINGLE_MODEL_PAGE.html.contains("data-mode=\"single-model\""));
        assert!(MULTI_MODEL_PAGE.html.contains("data-mode=\"multi-model\""));
        assert_ne!(etag(SINGLE_MODEL_PAGE.html.as_bytes()), etag(MULTI_MODEL_PAGE.html.as_bytes()));
    }

    #[test]
    fn nothing_in_the_style_or_script_ends_its_element_early() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
    }

    #[test]
    fn a_policy_allows_no_inline_text_but_ours() {
        let policy = content_security_policy();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
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
