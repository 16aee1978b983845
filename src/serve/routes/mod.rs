//! The router: from paths and methods to handlers.

mod execution_parameters;
mod invocations;
mod models;
mod openapi;
mod web_page;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use self::execution_parameters::execution_parameters;
use self::invocations::invocations;
use crate::http::{AccessLog, with_access_log};
use crate::serve::api_error::{ApiError, ErrorType};
use crate::serve::request::options::{CUSTOM_ATTRIBUTES, MAX_ATTRIBUTES_CHARS};
use crate::serve::state::AppState;

/// Header with the id that SageMaker gives a request.
const INFERENCE_ID: HeaderName = HeaderName::from_static("x-amzn-sagemaker-inference-id");
/// Longest path in a message, in characters.
const MAX_PATH_CHARS: usize = 100;

/// Builds the router: the routes of SageMaker's hosting contract, and those for people and
/// monitoring.
pub(in crate::serve) fn build_router(state: &Arc<AppState>) -> Router {
    let multi_model = state.settings.multi_model;
    let mut routes = Router::new()
        .merge(web_page::page_routes(multi_model))
        .merge(openapi::openapi_routes(multi_model))
        .route("/ping", get(ping).post(ping))
        .route("/metrics", get(metrics))
        .route("/execution-parameters", get(execution_parameters))
        .route("/invocations", post(invocations));
    if multi_model {
        routes = routes
            .route("/models", get(models::list_models).post(models::load_model))
            .route("/models/{name}", get(models::get_model).delete(models::unload_model))
            .route("/models/{name}/invoke", post(models::invoke_model));
    }
    let routes = routes
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(Arc::clone(state))
        .layer(from_fn(echo_custom_attributes));
    let access_log = AccessLog {
        metrics: state.metrics.http.clone(),
        route_label,
        request_id_header: INFERENCE_ID,
        // SageMaker asks every few seconds for ever.
        health_route: "/ping",
        prints_lines: state.settings.log_requests,
    };
    with_access_log(routes, access_log)
}

/// Returns the route of a path for the metrics; there are no more names than routes.
fn route_label(path: &str) -> &'static str {
    const FIXED_ROUTES: [&str; 7] = [
        "/",
        "/openapi.json",
        "/ping",
        "/metrics",
        "/execution-parameters",
        "/invocations",
        "/models",
    ];
    for route in FIXED_ROUTES {
        if route == path {
            return route;
        }
    }
    let Some(rest) = path.strip_prefix("/models/") else { return "other" };
    match rest.split_once('/') {
        None => "/models/{name}",
        Some((_, "invoke")) => "/models/{name}/invoke",
        Some(_) => "other",
    }
}

/// Copies the custom attributes of a request to its answer, as SageMaker passes them back.
async fn echo_custom_attributes(request: Request, next: Next) -> Response {
    let mut echoed: Option<HeaderValue> = None;
    if let Some(value) = request.headers().get(CUSTOM_ATTRIBUTES) {
        let is_printable = value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte));
        if is_printable && value.len() <= MAX_ATTRIBUTES_CHARS {
            echoed = Some(value.clone());
        }
    }
    let mut response = next.run(request).await;
    if let Some(value) = echoed {
        response.headers_mut().insert(CUSTOM_ATTRIBUTES, value);
    }
    response
}

/// Answers `GET /ping`: 200 without a body if the model is ready, else 503 with the reason. Waits
/// for nothing.
async fn ping(State(state): State<Arc<AppState>>) -> Response {
    match state.check_health() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Answers `GET /metrics`.
async fn metrics(State(state): State<Arc<AppState>>) -> Response {
    state.metrics.render(state.load())
}

async fn not_found(State(state): State<Arc<AppState>>, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(MAX_PATH_CHARS).collect();
    let advice = if path.starts_with("/models") && !state.settings.multi_model {
        "; this server has one model, and many by name only with SAGEMAKER_MULTI_MODEL=true"
    } else {
        ""
    };
    ApiError::new(
        ErrorType::NotFound,
        format!("there is nothing at {path:?}; use {}{advice}", main_routes(&state)),
    )
}

async fn method_not_allowed(
    State(state): State<Arc<AppState>>,
    method: Method,
    uri: Uri,
) -> ApiError {
    let path = uri.path();
    ApiError::new(
        ErrorType::MethodNotAllowed,
        format!("{method} is not for {path}; use {}", main_routes(&state)),
    )
}

/// Lists the most used routes for messages.
fn main_routes(state: &AppState) -> &'static str {
    if state.settings.multi_model {
        "GET or POST /models, GET or DELETE /models/NAME, POST /models/NAME/invoke, GET /ping or \
         GET /metrics"
    } else {
        "POST /invocations, GET /execution-parameters, GET /ping or GET /metrics"
    }
}
