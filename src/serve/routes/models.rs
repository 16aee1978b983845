//! Routes that load, list, unload and invoke models: SageMaker's contract for containers of
//! multi-model endpoints.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::invocations::{receive, run_invocation};
use crate::http::{AccessInfo, check_declared_length, discard_unread_body, json_response};
use crate::serve::api_error::{ApiError, ErrorType, body_error};
use crate::serve::registry::model::Model;
use crate::serve::state::AppState;

/// Largest body of `POST /models`, in bytes.
const MAX_BODY_BYTES: usize = 64 << 10;
/// Longest name of a model, in bytes.
const MAX_NAME_BYTES: usize = 1024;
const MAX_URL_BYTES: usize = 4096;
/// Default and largest number of models on a page of the list.
const DEFAULT_PAGE_SIZE: usize = 100;
const MAX_PAGE_SIZE: usize = 1000;

/// Body of `POST /models`; unknown keys are ignored.
#[derive(Debug, Deserialize)]
struct LoadRequest {
    model_name: String,
    /// Absolute path of the model's folder.
    url: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelEntry<'a> {
    model_name: &'a str,
    model_url: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelList<'a> {
    models: Vec<ModelEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_page_token: Option<String>,
}

/// The name in the path, or the reason why it cannot be read.
type ModelNamePath = Result<Path<String>, PathRejection>;

/// Answers `POST /models`.
pub(super) async fn load_model(State(state): State<Arc<AppState>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let mut access_info = AccessInfo::default();
    let outcome = async {
        check_declared_length(&body, MAX_BODY_BYTES).map_err(body_error)?;
        let received =
            receive(&state, &head.headers, &mut body, MAX_BODY_BYTES, &mut access_info.bytes_in)
                .await?;
        let LoadRequest { model_name, url } = parse_load_request(&received.bytes)?;
        access_info.fields.push(("model", model_name.as_str().into()));
        state.registry.load(&model_name, &url).await
    };
    let mut response = match outcome.await {
        Ok(model) => json_response(StatusCode::OK, &model_entry(&model)),
        Err(refusal) => {
            discard_unread_body(&head.headers, body, access_info.bytes_in);
            refusal.into_response()
        }
    };
    response.extensions_mut().insert(access_info);
    response
}

/// Answers `GET /models`.
pub(super) async fn list_models(State(state): State<Arc<AppState>>, uri: Uri) -> Response {
    let PageQuery { after, max_count } = match parse_page_query(uri.query().unwrap_or_default()) {
        Ok(page) => page,
        Err(refusal) => return refusal.into_response(),
    };
    let page = state.registry.list(after.as_deref(), max_count);
    let list = ModelList {
        models: page.models.iter().map(|model| model_entry(model)).collect(),
        next_page_token: page.next_after.map(|name| URL_SAFE_NO_PAD.encode(name)),
    };
    json_response(StatusCode::OK, &list)
}

/// Answers `GET /models/{name}`.
pub(super) async fn get_model(State(state): State<Arc<AppState>>, name: ModelNamePath) -> Response {
    let found = parse_model_name(name).and_then(|name| state.registry.get(&name));
    model_response(found)
}

/// Answers `DELETE /models/{name}`.
pub(super) async fn unload_model(
    State(state): State<Arc<AppState>>,
    name: ModelNamePath,
) -> Response {
    model_response(match parse_model_name(name) {
        Ok(name) => state.registry.unload(&name).await,
        Err(refusal) => Err(refusal),
    })
}

/// Answers `POST /models/{name}/invoke`.
pub(super) async fn invoke_model(
    State(state): State<Arc<AppState>>,
    name: ModelNamePath,
    request: Request,
) -> Response {
    match parse_model_name(name) {
        Ok(name) => run_invocation(&state, Some(&name), request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn model_response(outcome: Result<Arc<Model>, ApiError>) -> Response {
    match outcome {
        Ok(model) => json_response(StatusCode::OK, &model_entry(&model)),
        Err(refusal) => refusal.into_response(),
    }
}

fn model_entry(model: &Model) -> ModelEntry<'_> {
    ModelEntry { model_name: &model.name, model_url: &model.url }
}

fn parse_model_name(name: ModelNamePath) -> Result<String, ApiError> {
    match name {
        Ok(Path(name)) => Ok(name),
        // The path is rejected only if its percent-encoded bytes are not UTF-8.
        Err(rejection) => Err(ApiError::new(
            ErrorType::ModelNotFound,
            format!("no model has this name: {rejection}"),
        )),
    }
}

fn parse_load_request(body: &[u8]) -> Result<LoadRequest, ApiError> {
    let request: LoadRequest = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => {
            return Err(load_request_error(&format!("the body cannot be read: {error}")));
        }
    };
    let LoadRequest { model_name, url } = &request;
    if model_name.is_empty() || model_name.len() > MAX_NAME_BYTES {
        let length = model_name.len();
        return Err(load_request_error(&format!(
            "model_name has {length} bytes, and 1 to {MAX_NAME_BYTES} are allowed"
        )));
    }
    if !url.starts_with('/') || url.len() > MAX_URL_BYTES || url.contains('\0') {
        return Err(load_request_error(&format!(
            "url is no absolute path of at most {MAX_URL_BYTES} bytes to the folder of a model"
        )));
    }
    Ok(request)
}

fn load_request_error(reason: &str) -> ApiError {
    ApiError::new(
        ErrorType::InvalidJson,
        format!(r#"{reason}; send {{"model_name": "NAME", "url": "/opt/ml/models/NAME/model"}}"#),
    )
}

/// The models on a page of the list.
#[derive(Debug, PartialEq, Eq)]
struct PageQuery {
    /// Name after which the page begins; none for the first page.
    after: Option<String>,
    /// Most models on the page.
    max_count: usize,
}

/// Reads the query of `GET /models`; unknown keys are ignored.
fn parse_page_query(query: &str) -> Result<PageQuery, ApiError> {
    let mut page = PageQuery { after: None, max_count: DEFAULT_PAGE_SIZE };
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        match key {
            "next_page_token" if !value.is_empty() => {
                let Some(name) = decode_page_token(&value) else {
                    return Err(ApiError::new(
                        ErrorType::InvalidOption,
                        "next_page_token is none that a list gave; leave it out to begin anew",
                    ));
                };
                page.after = Some(name);
            }
            "limit" => match value.parse() {
                Ok(limit @ 1..=MAX_PAGE_SIZE) => page.max_count = limit,
                _ => {
                    return Err(ApiError::new(
                        ErrorType::InvalidOption,
                        format!("limit is no number from 1 to {MAX_PAGE_SIZE}"),
                    ));
                }
            },
            _ => {}
        }
    }
    Ok(page)
}

fn decode_page_token(token: &str) -> Option<String> {
    let name = URL_SAFE_NO_PAD.decode(token).ok()?;
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_where_and_as_long_as_asked() {
        let first = PageQuery { after: None, max_count: DEFAULT_PAGE_SIZE };
        assert_eq!(parse_page_query("").unwrap(), first);
        let token = URL_SAFE_NO_PAD.encode("ä/b");
        let asked = parse_page_query(&format!("x=y&limit=7&next_page_token={token}")).unwrap();
        assert_eq!(asked, PageQuery { after: Some("ä/b".into()), max_count: 7 });
        assert_eq!(parse_page_query("next_page_token=").unwrap(), first);
        for bad in
            ["limit=0", "limit=1001", "limit=many", "next_page_token=%00", "next_page_token=_w"]
        {
            assert_eq!(
                parse_page_query(bad).unwrap_err().error_type(),
                ErrorType::InvalidOption,
                "{bad}"
            );
        }
    }

    #[test]
    fn a_load_needs_a_name_and_an_absolute_path() {
        let request =
            parse_load_request(br#"{"model_name": "a", "url": "/m", "more": 1}"#).unwrap();
        assert_eq!((request.model_name.as_str(), request.url.as_str()), ("a", "/m"));
        for bad in [
            "",
            "[]",
            r#"{"model_name": "a"}"#,
            r#"{"model_name": "", "url": "/m"}"#,
            r#"{"model_name": "a", "url": "m"}"#,
            r#"{"model_name": "a", "url": "/m\u0000"}"#,
        ] {
            assert_eq!(
                parse_load_request(bad.as_bytes()).unwrap_err().error_type(),
                ErrorType::InvalidJson,
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_panics(body: Vec<u8>, query: String) {
            let _ = (parse_load_request(&body), parse_page_query(&query));
        }
    }
}
