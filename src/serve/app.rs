//! The router: which path and method leads where.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::engine::EngineHandle;
use super::invocations::invocations;
use super::queue::Queue;
use super::reply::{ErrorType, Refusal};
use super::settings::Settings;

/// What every request sees.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) engine: EngineHandle,
    pub(super) queue: Queue,
    pub(super) settings: Settings,
}

/// The routes of SageMaker's hosting contract over an engine; needs no socket, only tokio.
pub fn app(engine: EngineHandle, settings: &Settings) -> Router {
    let queue = Queue::new(settings);
    let server = Arc::new(Server { engine, queue, settings: settings.clone() });
    Router::new()
        .route("/ping", get(ping).post(ping))
        .route("/invocations", post(invocations))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_here)
        .with_state(server)
}

/// Whether the model is there: 200 and no body, or 503 and why not. Waits for nothing.
async fn ping(State(server): State<Arc<Server>>) -> Response {
    match server.check_engine() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn nothing_here(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(100).collect();
    Refusal::new(
        ErrorType::NotFound,
        format!("there is nothing at {path:?}; use POST /invocations or GET /ping"),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    let path = uri.path();
    Refusal::new(
        ErrorType::MethodNotAllowed,
        format!("{method} is not for {path}; use POST /invocations or GET /ping"),
    )
}
