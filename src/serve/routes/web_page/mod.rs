//! The web page at `/`, on which a person drops an image and sees its mask.
//!
//! The page is one document: style and script are inlined here, and its Content-Security-Policy
//! allows these two by their hash and nothing else. The script calls the routes that every client
//! uses, by relative addresses, so that the page works behind a proxy's prefix as well.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::http::Document;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

static SINGLE_MODEL_PAGE: LazyLock<Document> = LazyLock::new(|| new_page("single-model"));
static MULTI_MODEL_PAGE: LazyLock<Document> = LazyLock::new(|| new_page("multi-model"));

/// Returns the route `GET /`. On a server with many models the page asks for the name of one.
pub(super) fn page_routes<S: Clone + Send + Sync + 'static>(multi_model: bool) -> Router<S> {
    let page = if multi_model { &MULTI_MODEL_PAGE } else { &SINGLE_MODEL_PAGE };
    Router::new().route("/", get(move |headers: HeaderMap| async move { page.respond(&headers) }))
}

fn new_page(mode: &str) -> Document {
    let html =
        HTML.replace("{{mode}}", mode).replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
    // The policy is visible ASCII; for any other text the header is empty, and a test fails.
    let policy =
        HeaderValue::from_str(&content_security_policy()).unwrap_or(HeaderValue::from_static(""));
    let headers = vec![
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    Document::new(html, headers)
}

/// Returns the policy of the page: run its own style and script, show images that it made or was
/// given (`blob:`, and `data:` for its icon), and call this server. No site may frame it.
fn content_security_policy() -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let script = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src \
         'self' blob: data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(page: &Document) -> &str {
        std::str::from_utf8(page.body()).unwrap()
    }

    #[test]
    fn the_page_is_whole_and_refers_to_nothing_elsewhere() {
        for page in [&SINGLE_MODEL_PAGE, &MULTI_MODEL_PAGE] {
            let html = html(page);
            assert!(!html.contains("{{"), "a part was not put in");
            for attribute in [" src=", "href=\"http", "url(", "@import", "import("] {
                assert!(!html.contains(attribute), "{attribute}");
            }
            assert!(page.headers().iter().all(|(_, value)| !value.is_empty()));
        }
        assert!(html(&SINGLE_MODEL_PAGE).contains("data-mode=\"single-model\""));
        assert!(html(&MULTI_MODEL_PAGE).contains("data-mode=\"multi-model\""));
        assert_ne!(SINGLE_MODEL_PAGE.headers(), MULTI_MODEL_PAGE.headers());
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
}
