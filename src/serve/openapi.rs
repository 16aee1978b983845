//! The description of the HTTP interface at `/openapi.json`, for the routes that this server has.
//!
//! The document is written by hand and lies beside this file; tests hold it against the router. A path with `x-mode` is
//! there only with one model, or only with many.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;

use super::page::{etag, is_known};

const DOCUMENT: &str = include_str!("openapi.json");
const MODE: &str = "x-mode";

static SINGLE: LazyLock<String> = LazyLock::new(|| document("single-model"));
static MULTI: LazyLock<String> = LazyLock::new(|| document("multi-model"));

/// `GET /openapi.json`.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(multi_model: bool) -> Router<S> {
    let text: &'static LazyLock<String> = if multi_model { &MULTI } else { &SINGLE };
    Router::new().route(
        "/openapi.json",
        get(move |headers: HeaderMap| async move { answer(&headers, text) }),
    )
}

fn answer(request: &HeaderMap, text: &'static str) -> Response {
    let tag = etag(text.as_bytes());
    let status = if is_known(request, &tag) { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (ETAG, tag),
    ];
    (status, headers, if status == StatusCode::OK { text } else { "" }).into_response()
}

/// The document of one mode, with the program's version.
fn document(mode: &str) -> String {
    // It is JSON: the tests read it.
    let mut document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    if let Some(info) = document.get_mut("info").and_then(Value::as_object_mut) {
        info.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    }
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        paths.retain(|_, path| path.get(MODE).is_none_or(|only| only == mode));
        for path in paths.values_mut().filter_map(Value::as_object_mut) {
            path.remove(MODE);
        }
    }
    document.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let document: Value = serde_json::from_str(text).unwrap();
        document["paths"].as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn each_mode_has_its_own_paths() {
        let (single, multi) = (paths(&SINGLE), paths(&MULTI));
        let all = paths(DOCUMENT);
        assert!(all.iter().all(|path| single.contains(path) || multi.contains(path)), "{all:?}");
        assert!(single.contains(&"/invocations".to_owned()), "{single:?}");
        assert!(!single.iter().any(|path| path.starts_with("/models")), "{single:?}");
        assert!(multi.contains(&"/models/{name}/invoke".to_owned()), "{multi:?}");
        assert!(!multi.contains(&"/invocations".to_owned()), "{multi:?}");
        assert!(!SINGLE.contains(MODE) && !MULTI.contains(MODE));
    }

    #[test]
    fn the_version_is_the_programs() {
        let document: Value = serde_json::from_str(&SINGLE).unwrap();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
