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
use super::observe::observed;
use super::reply::{ErrorType, Refusal};
use super::server::Shared;
use super::{openapi, page};

/// The routes of SageMaker's hosting contract, and what people and monitoring look at.
pub(super) fn app(server: &Arc<Shared>) -> Router {
    let routes = Router::new()
        .merge(page::routes(server.settings.multi_model))
        .merge(openapi::routes(server.settings.multi_model))
        .route("/ping", get(ping).post(ping))
        .route("/metrics", get(metrics))
        .route("/execution-parameters", get(execution_parameters))
        .route("/invocations", post(invocations));
    let routes = if server.settings.multi_model {
        routes
            .route("/models", get(multi_model::list).post(multi_model::load))
            .route("/models/{name}", get(multi_model::get).delete(multi_model::unload))
            .route("/models/{name}/invoke", post(multi_model::invoke_named))
    } else {
        routes
    };
    let routes = routes
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_here)
        .with_state(Arc::clone(server));
    observed(routes, server)
}

/// The route that a path belongs to, as metrics name it: not more names than there are routes.
pub(super) fn route(path: &str) -> &'static str {
    const FIXED: [&str; 7] = [
        "/",
        "/openapi.json",
        "/ping",
        "/metrics",
        "/execution-parameters",
        "/invocations",
        "/models",
    ];
    if let Some(route) = FIXED.into_iter().find(|route| *route == path) {
        return route;
    }
    match path.strip_prefix("/models/").map(|rest| rest.split_once('/')) {
        Some(None) => "/models/{name}",
        Some(Some((_, "invoke"))) => "/models/{name}/invoke",
        _ => "other",
    }
}

/// Whether the model is there: 200 and no body, or 503 and why not. Waits for nothing.
async fn ping(State(server): State<Arc<Shared>>) -> Response {
    match server.check_health() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn metrics(State(server): State<Arc<Shared>>) -> Response {
    server.metrics_page()
}

async fn nothing_here(State(server): State<Arc<Shared>>, uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(100).collect();
    let advice = if path.starts_with("/models") && !server.settings.multi_model {
        "; this server has one model, and many by name only with SAGEMAKER_MULTI_MODEL=true"
    } else {
        ""
    };
    Refusal::new(
        ErrorType::NotFound,
        format!("there is nothing at {path:?}; use {}{advice}", main_routes(&server)),
    )
}

async fn wrong_method(State(server): State<Arc<Shared>>, method: Method, uri: Uri) -> Refusal {
    let path = uri.path();
    Refusal::new(
        ErrorType::MethodNotAllowed,
        format!("{method} is not for {path}; use {}", main_routes(&server)),
    )
}

fn main_routes(server: &Shared) -> &'static str {
    if server.settings.multi_model {
        "GET or POST /models, GET or DELETE /models/NAME, POST /models/NAME/invoke, GET /ping or GET /metrics"
    } else {
        "POST /invocations, GET /execution-parameters, GET /ping or GET /metrics"
    }
}
