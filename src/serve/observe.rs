//! What is seen of every request from outside: its line in the log, its counters, and the headers that any answer has.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use serde::Serialize;

use super::app::route;
use super::log;
use super::metrics::Name;
use super::reply::ErrorType;
use super::server::Shared;
use super::timing::{Seen, milliseconds};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const INFERENCE_ID: &str = "x-amzn-sagemaker-inference-id";
/// What a client gives along, which SageMaker passes back if it stands in the answer.
const CUSTOM_ATTRIBUTES: HeaderName = HeaderName::from_static("x-amzn-sagemaker-custom-attributes");
/// SageMaker's limits on the two.
const MAX_ID: usize = 64;
const MAX_ATTRIBUTES: usize = 1024;

/// What proxies log for a client that left before its answer. Only the log and the metrics ever see it.
const CLIENT_LEFT: u16 = 499;

#[derive(Clone)]
struct Observer {
    server: Arc<Shared>,
    /// The last answer to `/ping`. SageMaker asks every few seconds for ever; only a change is news.
    last_ping: Arc<AtomicU16>,
}

/// The same router, seen.
pub(super) fn observed(app: Router, server: &Arc<Shared>) -> Router {
    let observer = Observer { server: Arc::clone(server), last_ping: Arc::default() };
    app.layer(from_fn_with_state(observer, observe))
}

async fn observe(State(observer): State<Observer>, request: Request, next: Next) -> Response {
    let attributes = request.headers().get(CUSTOM_ATTRIBUTES).filter(|value| {
        value.len() <= MAX_ATTRIBUTES
            && value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte))
    });
    let attributes = attributes.cloned();
    let line = Line::begin(observer, &request);
    let mut response = next.run(request).await;
    if let Some(attributes) = attributes {
        response.headers_mut().insert(CUSTOM_ATTRIBUTES, attributes);
    }
    line.answered(&mut response);
    response
}

/// A request in progress. Dropped on the way, it tells that nobody got an answer.
struct Line {
    observer: Observer,
    id: HeaderValue,
    method: String,
    path: String,
    route: &'static str,
    begun: Instant,
    answered: bool,
}

/// A request's line in the log. Sizes are in bytes and pixels, times in milliseconds.
#[derive(Serialize)]
struct Entry<'a> {
    time: String,
    id: &'a str,
    method: &'a str,
    path: &'a str,
    status: u16,
    ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_in: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    computed: Option<ComputedEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
}

#[derive(Serialize)]
struct ComputedEntry {
    images: usize,
    width: u32,
    height: u32,
    batch: usize,
    decode_ms: f64,
    queue_ms: f64,
    model_ms: f64,
    encode_ms: f64,
}

impl Line {
    fn begin(observer: Observer, request: &Request) -> Self {
        observer.server.metrics.in_flight.inc();
        Self {
            observer,
            id: id(request.headers()),
            method: request.method().to_string(),
            path: request.uri().path().chars().take(200).collect(),
            route: route(request.uri().path()),
            begun: Instant::now(),
            answered: false,
        }
    }

    fn answered(mut self, response: &mut Response) {
        self.answered = true;
        let seen: Seen = response.extensions_mut().remove().unwrap_or_default();
        let error: Option<ErrorType> = response.extensions_mut().remove();
        let total = self.begun.elapsed();
        let headers = response.headers_mut();
        if let Some(header) = seen.timing.and_then(|timing| timing.header(total)) {
            headers.insert(SERVER_TIMING, header);
        }
        headers.insert(REQUEST_ID, self.id.clone());
        let bytes_out = response.body().size_hint().exact();
        self.tell(
            response.status().as_u16(),
            error.map_or(Name::None, Name::Of),
            Some((&seen, bytes_out)),
        );
    }

    /// Counts and prints.
    fn tell(&self, status: u16, error: Name, answer: Option<(&Seen, Option<u64>)>) {
        let total = self.begun.elapsed();
        let server = &self.observer.server;
        let seen = answer.map(|(seen, _)| seen);
        let timing = seen.and_then(|seen| seen.timing);
        server.metrics.in_flight.dec();
        server.metrics.answered(self.route, status, error, total.as_secs_f64(), timing.as_ref());
        let known = self.route == "/ping"
            && self.observer.last_ping.swap(status, Ordering::Relaxed) == status;
        if known || !server.settings.log_requests {
            return;
        }
        let [decode_ms, queue_ms, model_ms, encode_ms] =
            timing.unwrap_or_default().stages().map(|(_, took)| milliseconds(took));
        let computed = timing.map(|timing| ComputedEntry {
            images: timing.images,
            width: timing.size.0,
            height: timing.size.1,
            batch: timing.batch,
            decode_ms,
            queue_ms,
            model_ms,
            encode_ms,
        });
        log::write(&Entry {
            time: log::now(),
            id: self.id.to_str().unwrap_or_default(),
            method: &self.method,
            path: &self.path,
            status,
            ms: milliseconds(total),
            bytes_in: seen.map(|seen| seen.bytes_in),
            bytes_out: answer.and_then(|(_, bytes)| bytes),
            model: seen.and_then(|seen| seen.model.as_deref()),
            computed,
            error_type: (error != Name::None).then(|| error.to_string()),
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.answered {
            self.tell(CLIENT_LEFT, Name::ClientLeft, None);
        }
    }
}

/// The id that SageMaker gave the request, else one of ours that no other request has.
fn id(headers: &HeaderMap) -> HeaderValue {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let given = headers.get(INFERENCE_ID).filter(|id| {
        (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The first half differs from process to process, the second from request to request.
        let text = format!("{:016x}{count:016x}", KEYS.hash_one("request"));
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("-"))
    })
}
