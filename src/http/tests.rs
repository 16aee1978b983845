//! A whole server of a few lines on this room, and what its clients, its log and its metrics see.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use prometheus_client::registry::Registry;
use tower::ServiceExt;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EchoErrorType {
    InvalidBody,
    Busy,
}

impl fmt::Display for EchoErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl ErrorKind for EchoErrorType {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidBody => StatusCode::BAD_REQUEST,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn retry_after_seconds(self) -> Option<u64> {
        (self == Self::Busy).then_some(1)
    }
}

struct EchoServer {
    registry: Registry,
    bodies: BodyBudget,
}

/// Answers with the bytes of the request.
async fn echo(State(server): State<Arc<EchoServer>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let mut access_info = AccessInfo::default();
    let limits = BodyLimits { max_bytes: 6, timeout: Duration::from_secs(20) };
    let permit = server.bodies.permit();
    let mut response =
        match receive_body(&mut body, limits, permit, &mut access_info.bytes_in).await {
            Ok(received) => {
                access_info.stages.push(("read", Duration::from_millis(1)));
                received.bytes.into_response()
            }
            Err(error) => {
                discard_unread_body(&head.headers, body, access_info.bytes_in);
                let error_type = match error {
                    BodyError::OverBudget => EchoErrorType::Busy,
                    _ => EchoErrorType::InvalidBody,
                };
                ApiError::new(error_type, format!("{error:?}")).into_response()
            }
        };
    response.extensions_mut().insert(access_info);
    response
}

fn route_label(path: &str) -> &'static str {
    if path == "/echo" { "/echo" } else { "other" }
}

fn echo_router() -> Router {
    let mut registry = Registry::with_prefix("echo");
    let metrics = HttpMetrics::register(&mut registry);
    let server = Arc::new(EchoServer { registry, bodies: BodyBudget::new(4) });
    let routes = Router::new()
        .route("/echo", post(echo))
        .route(
            "/metrics",
            get(|State(server): State<Arc<EchoServer>>| async move {
                render_registry(&server.registry)
            }),
        )
        .with_state(server);
    with_access_log(
        routes,
        AccessLog {
            metrics,
            route_label,
            request_id_header: HeaderName::from_static("x-client-id"),
            health_route: "/ping",
            prints_lines: false,
        },
    )
}

async fn ask(app: &Router, request: Request) -> (Response<()>, String) {
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), String::from_utf8(bytes.to_vec()).unwrap())
}

fn post_echo(body: &'static str) -> Request {
    Request::post("/echo").header("x-client-id", "a-1").body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn a_server_of_a_few_lines_has_limits_errors_ids_and_metrics() {
    let app = echo_router();
    let (answer, text) = ask(&app, post_echo("four")).await;
    assert_eq!((answer.status(), text.as_str()), (StatusCode::OK, "four"));
    assert_eq!(answer.headers()["x-request-id"], "a-1");
    let timing = answer.headers()["server-timing"].to_str().unwrap();
    assert!(timing.starts_with("read;dur=1.000, total;dur="), "{timing}");

    let (answer, text) = ask(&app, post_echo("five!")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(text, r#"{"error":"OverBudget","error_type":"Busy"}"#);

    for bad in ["", "seven b"] {
        let (answer, text) = ask(&app, post_echo(bad)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert!(text.contains("InvalidBody"), "{text}");
    }

    let (_, text) = ask(&app, Request::get("/metrics").body(Body::empty()).unwrap()).await;
    for line in [
        r#"echo_requests_total{path="/echo",status="200",error_type=""} 1"#,
        r#"echo_requests_total{path="/echo",status="400",error_type="InvalidBody"} 2"#,
        r#"echo_requests_total{path="/echo",status="503",error_type="Busy"} 1"#,
        "echo_in_flight 1",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}
