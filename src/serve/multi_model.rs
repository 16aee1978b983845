//! Models that come and go: SageMaker's contract for containers of multi-model endpoints.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::body;
use super::invocations::{discard, invoke};
use super::model::Model;
use super::reply::{ErrorType, Refusal, json};
use super::server::Shared;
use super::timing::Seen;

/// The largest body of `POST /models`, in bytes.
const MAX_BODY: usize = 64 << 10;
/// The longest name of a model and path of its folder, in bytes.
const MAX_NAME: usize = 1024;
const MAX_URL: usize = 4096;
/// Models on a page of the list: by default and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// The body of `POST /models`; keys that are not known are ignored.
#[derive(Debug, Deserialize)]
struct LoadRequest {
    model_name: String,
    /// The folder of the model.
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

/// The name in the path, or why it is none.
type Name = Result<Path<String>, PathRejection>;

/// `POST /models`.
pub(super) async fn load(State(server): State<Arc<Shared>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let mut seen = Seen::default();
    let outcome = async {
        body::check_declared(&body, MAX_BODY)?;
        let (patience, count) = (server.settings.body_timeout, &mut seen.bytes_in);
        let received = body::receive(&mut body, &server.queue, MAX_BODY, patience, count).await?;
        let LoadRequest { model_name, url } = parse(&received.bytes)?;
        seen.model = Some(model_name.clone());
        server.models.load(&model_name, &url).await
    };
    let mut response = match outcome.await {
        Ok(model) => json(StatusCode::OK, &entry(&model)),
        Err(refusal) => {
            discard(&head, body, seen.bytes_in);
            refusal.into_response()
        }
    };
    response.extensions_mut().insert(seen);
    response
}

/// `GET /models`.
pub(super) async fn list(State(server): State<Arc<Shared>>, uri: Uri) -> Response {
    let (after, most) = match page(uri.query().unwrap_or_default()) {
        Ok(page) => page,
        Err(refusal) => return refusal.into_response(),
    };
    let (models, next) = server.models.list(after.as_deref(), most);
    let list = ModelList {
        models: models.iter().map(|model| entry(model)).collect(),
        next_page_token: next.map(|name| URL_SAFE_NO_PAD.encode(name)),
    };
    json(StatusCode::OK, &list)
}

/// `GET /models/{name}`.
pub(super) async fn get(State(server): State<Arc<Shared>>, name: Name) -> Response {
    let found = named(name).and_then(|name| server.models.get(&name));
    told(found)
}

/// `DELETE /models/{name}`.
pub(super) async fn unload(State(server): State<Arc<Shared>>, name: Name) -> Response {
    told(match named(name) {
        Ok(name) => server.models.unload(&name).await,
        Err(refusal) => Err(refusal),
    })
}

/// `POST /models/{name}/invoke`.
pub(super) async fn invoke_named(
    State(server): State<Arc<Shared>>,
    name: Name,
    request: Request,
) -> Response {
    match named(name) {
        Ok(name) => invoke(&server, Some(&name), request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn told(outcome: Result<Arc<Model>, Refusal>) -> Response {
    match outcome {
        Ok(model) => json(StatusCode::OK, &entry(&model)),
        Err(refusal) => refusal.into_response(),
    }
}

fn entry(model: &Model) -> ModelEntry<'_> {
    ModelEntry { model_name: &model.name, model_url: &model.url }
}

fn named(name: Name) -> Result<String, Refusal> {
    // Only a path that is not UTF-8 under its percent signs.
    name.map(|Path(name)| name).map_err(|rejection| {
        Refusal::new(ErrorType::ModelNotFound, format!("no model has this name: {rejection}"))
    })
}

fn parse(body: &[u8]) -> Result<LoadRequest, Refusal> {
    let invalid = |why: String| {
        Refusal::new(
            ErrorType::InvalidJson,
            format!(r#"{why}; send {{"model_name": "NAME", "url": "/opt/ml/models/NAME/model"}}"#),
        )
    };
    let request: LoadRequest = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("the body cannot be read: {error}")))?;
    let LoadRequest { model_name, url } = &request;
    if model_name.is_empty() || model_name.len() > MAX_NAME {
        let length = model_name.len();
        return Err(invalid(format!(
            "model_name has {length} bytes, and 1 to {MAX_NAME} are allowed"
        )));
    }
    if !url.starts_with('/') || url.len() > MAX_URL || url.contains('\0') {
        return Err(invalid(format!(
            "url is no absolute path of at most {MAX_URL} bytes to the folder of a model"
        )));
    }
    Ok(request)
}

/// The name that the page follows, and how many models it has at most.
fn page(query: &str) -> Result<(Option<String>, usize), Refusal> {
    let mut page = (None, PAGE);
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        match key {
            "next_page_token" if !value.is_empty() => {
                let name = URL_SAFE_NO_PAD.decode(value.as_bytes()).ok();
                let name = name.and_then(|name| String::from_utf8(name).ok());
                page.0 = Some(name.ok_or_else(|| {
                    invalid("next_page_token is none that a list gave; leave it out to begin anew")
                })?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                page.1 = limit
                    .ok_or_else(|| invalid(&format!("limit is no number from 1 to {MAX_PAGE}")))?;
            }
            _ => {}
        }
    }
    Ok(page)
}

fn invalid(why: &str) -> Refusal {
    Refusal::new(ErrorType::InvalidOption, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_where_and_as_long_as_asked() {
        assert_eq!(page("").unwrap(), (None, PAGE));
        let token = URL_SAFE_NO_PAD.encode("ä/b");
        let asked = page(&format!("x=y&limit=7&next_page_token={token}")).unwrap();
        assert_eq!(asked, (Some("ä/b".into()), 7));
        assert_eq!(page("next_page_token=").unwrap(), (None, PAGE));
        for bad in
            ["limit=0", "limit=1001", "limit=many", "next_page_token=%00", "next_page_token=_w"]
        {
            assert_eq!(page(bad).unwrap_err().error_type(), ErrorType::InvalidOption, "{bad}");
        }
    }

    #[test]
    fn a_load_needs_a_name_and_an_absolute_path() {
        let request = parse(br#"{"model_name": "a", "url": "/m", "more": 1}"#).unwrap();
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
                parse(bad.as_bytes()).unwrap_err().error_type(),
                ErrorType::InvalidJson,
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_panics(body: Vec<u8>, query: String) {
            let _ = (parse(&body), page(&query));
        }
    }
}
