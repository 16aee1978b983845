//! The router: which path and method leads where.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::execution_parameters::execution_parameters;
use super::invocations::invocations;
use super::multi_model;
use super::observe::with_access_log;
use super::reply::{ApiError, ErrorType};
use super::server::AppState;
use super::{openapi, page};

/// The routes of SageMaker's hosting contract, and what people and monitoring look at.
pub(super) fn build_router(state: &Arc<AppState>) -> Router {
    let routes = Router::new()
        .merge(page::page_routes(state.settings.multi_model))
        .merge(openapi::openapi_routes(state.settings.multi_model))
        .route("/ping", get(ping).post(ping))
        .route("/metrics", get(metrics))
        .route("/execution-parameters", get(execution_parameters))
        .route("/invocations", post(invocations));
    let routes = if state.settings.multi_model {
        routes
            .route("/models", get(multi_model::list_models).post(multi_model::load_model))
            .route("/models/{name}", get(multi_model::get_model).delete(multi_model::unload_model))
            .route("/models/{name}/invoke", post(multi_model::invoke_model))
    } else {
        routes
    };
    let routes = routes
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(Arc::clone(state));
    with_access_log(routes, state)
}

/// The route that a path belongs to, as metrics name it: not more names than there are routes.
pub(super) fn route_label(path: &str) -> &'static str {
    const FIXED_ROUTES: [&str; 7] = [
        "/",
        "/openapi.json",
        "/ping",
        "/metrics",
        "/execution-parameters",
        "/invocations",
        "/models",
    ];
    if let Some(route) = FIXED_ROUTES.into_iter().find(|route| *route == path) {
        return route;
    }
    match path.strip_prefix("/models/").map(|rest| rest.split_once('/')) {
        Some(None) => "/models/{name}",
        Some(Some((_, "invoke"))) => "/models/{name}/invoke",
        _ => "other",
    }
}

/// Whether the model is there: 200 and no body, or 503 and why not. Waits for nothing.
async fn ping(State(state): State<Arc<AppState>>) -> Response {
    match state.check_health() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn metrics(State(state): State<Arc<AppState>>) -> Response {
    state.render_metrics()
}

async fn not_found(State(state): State<Arc<AppState>>, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(100).collect();
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

fn main_routes(state: &AppState) -> &'static str {
    if state.settings.multi_model {
        "GET or POST /models, GET or DELETE /models/NAME, POST /models/NAME/invoke, GET /ping or GET /metrics"
    } else {
        "POST /invocations, GET /execution-parameters, GET /ping or GET /metrics"
    }
}
