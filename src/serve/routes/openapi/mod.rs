//! The `OpenAPI` description of this server's routes, at `/openapi.json`.
//!
//! The document `openapi.json` is written by hand; tests compare it with the router. A path with
//! the key `x-mode` exists only on servers with a single model, or only on servers with many.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::routing::get;
use serde_json::Value;

use crate::http::Document;

const DOCUMENT: &str = include_str!("openapi.json");
/// Key of a path that only servers of one mode have.
const MODE_KEY: &str = "x-mode";

static SINGLE_MODEL_DOCUMENT: LazyLock<Document> = LazyLock::new(|| new_document("single-model"));
static MULTI_MODEL_DOCUMENT: LazyLock<Document> = LazyLock::new(|| new_document("multi-model"));

/// Returns the route `GET /openapi.json`.
pub(super) fn openapi_routes<S: Clone + Send + Sync + 'static>(multi_model: bool) -> Router<S> {
    let document = if multi_model { &MULTI_MODEL_DOCUMENT } else { &SINGLE_MODEL_DOCUMENT };
    Router::new().route(
        "/openapi.json",
        get(move |headers: HeaderMap| async move { document.respond(&headers) }),
    )
}

fn new_document(mode: &str) -> Document {
    let content_type = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Document::new(document_text(mode), vec![content_type])
}

/// Builds the document of one mode, with the version of the program.
fn document_text(mode: &str) -> String {
    // The tests check that the document is JSON.
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
        let (single_text, multi_text) =
            (document_text("single-model"), document_text("multi-model"));
        let (single, multi) = (paths(&single_text), paths(&multi_text));
        let all = paths(DOCUMENT);
        assert!(all.iter().all(|path| single.contains(path) || multi.contains(path)), "{all:?}");
        assert!(single.contains(&"/invocations".to_owned()), "{single:?}");
        assert!(!single.iter().any(|path| path.starts_with("/models")), "{single:?}");
        assert!(multi.contains(&"/models/{name}/invoke".to_owned()), "{multi:?}");
        assert!(!multi.contains(&"/invocations".to_owned()), "{multi:?}");
        assert!(!single_text.contains(MODE_KEY) && !multi_text.contains(MODE_KEY));
    }

    #[test]
    fn the_version_is_the_programs() {
        let document: Value = serde_json::from_slice(SINGLE_MODEL_DOCUMENT.body()).unwrap();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
