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

use super::page::{etag, is_not_modified};

const DOCUMENT: &str = include_str!("openapi.json");
const MODE_KEY: &str = "x-mode";

static SINGLE_MODEL_DOCUMENT: LazyLock<String> = LazyLock::new(|| build_document("single-model"));
static MULTI_MODEL_DOCUMENT: LazyLock<String> = LazyLock::new(|| build_document("multi-model"));

/// `GET /openapi.json`.
pub(super) fn openapi_routes<S: Clone + Send + Sync + 'static>(multi_model: bool) -> Router<S> {
    let document: &'static LazyLock<String> =
        if multi_model { &MULTI_MODEL_DOCUMENT } else { &SINGLE_MODEL_DOCUMENT };
    Router::new().route(
        "/openapi.json",
        get(move |headers: HeaderMap| async move { document_response(&headers, document) }),
    )
}

fn document_response(request_headers: &HeaderMap, document: &'static str) -> Response {
    let tag = etag(document.as_bytes());
    let status = if is_not_modified(request_headers, &tag) {
        StatusCode::NOT_MODIFIED
    } else {
        StatusCode::OK
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (ETAG, tag),
    ];
    (status, headers, if status == StatusCode::OK { document } else { "" }).into_response()
}

/// The document of one mode, with the program's version.
fn build_document(mode: &str) -> String {
    // It is JSON: the tests read it.
    let mut document: Value = serde_json::from_str(DOCUMENT).unwrap_or_default();
    if let Some(info) = document.get_mut("info").and_then(Value::as_object_mut) {
        info.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    }
    if let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) {
        paths.retain(|_, path| path.get(MODE_KEY).is_none_or(|path_mode| path_mode == mode));
        for path in paths.values_mut().filter_map(Value::as_object_mut) {
            path.remove(MODE_KEY);
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
        let (single, multi) = (paths(&SINGLE_MODEL_DOCUMENT), paths(&MULTI_MODEL_DOCUMENT));
        let all = paths(DOCUMENT);
        assert!(all.iter().all(|path| single.contains(path) || multi.contains(path)), "{all:?}");
        assert!(single.contains(&"/invocations".to_owned()), "{single:?}");
        assert!(!single.iter().any(|path| path.starts_with("/models")), "{single:?}");
        assert!(multi.contains(&"/models/{name}/invoke".to_owned()), "{multi:?}");
        assert!(!multi.contains(&"/invocations".to_owned()), "{multi:?}");
        assert!(
            !SINGLE_MODEL_DOCUMENT.contains(MODE_KEY) && !MULTI_MODEL_DOCUMENT.contains(MODE_KEY)
        );
    }

    #[test]
    fn the_version_is_the_programs() {
        let document: Value = serde_json::from_str(&SINGLE_MODEL_DOCUMENT).unwrap();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
