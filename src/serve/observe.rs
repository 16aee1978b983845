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

use super::app::route_label;
use super::log;
use super::metrics::ErrorLabel;
use super::reply::ErrorType;
use super::server::AppState;
use super::timing::{AccessInfo, milliseconds};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const INFERENCE_ID: &str = "x-amzn-sagemaker-inference-id";
/// What a client gives along, which SageMaker passes back if it stands in the answer.
const CUSTOM_ATTRIBUTES: HeaderName = HeaderName::from_static("x-amzn-sagemaker-custom-attributes");
/// SageMaker's limits on the two.
const MAX_ID_BYTES: usize = 64;
const MAX_ATTRIBUTES_BYTES: usize = 1024;

/// What proxies log for a client that left before its answer. Only the log and the metrics ever see it.
const CLIENT_LEFT: u16 = 499;

#[derive(Clone)]
struct AccessLog {
    state: Arc<AppState>,
    /// The last answer to `/ping`. SageMaker asks every few seconds for ever; only a change is news.
    last_ping_status: Arc<AtomicU16>,
}

/// The same router, seen.
pub(super) fn with_access_log(router: Router, state: &Arc<AppState>) -> Router {
    let access_log = AccessLog { state: Arc::clone(state), last_ping_status: Arc::default() };
    router.layer(from_fn_with_state(access_log, log_access))
}

async fn log_access(State(access_log): State<AccessLog>, request: Request, next: Next) -> Response {
    let attributes = request.headers().get(CUSTOM_ATTRIBUTES).filter(|value| {
        value.len() <= MAX_ATTRIBUTES_BYTES
            && value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte))
    });
    let attributes = attributes.cloned();
    let request_log = RequestLog::begin(access_log, &request);
    let mut response = next.run(request).await;
    if let Some(attributes) = attributes {
        response.headers_mut().insert(CUSTOM_ATTRIBUTES, attributes);
    }
    request_log.finish(&mut response);
    response
}

/// A request in progress. Dropped on the way, it tells that nobody got an answer.
struct RequestLog {
    access_log: AccessLog,
    id: HeaderValue,
    method: String,
    path: String,
    route: &'static str,
    started: Instant,
    is_answered: bool,
}

/// A request's line in the log. Sizes are in bytes and pixels, times in milliseconds.
#[derive(Serialize)]
struct AccessLogEntry<'a> {
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
    computed: Option<InferenceLogFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
}

#[derive(Serialize)]
struct InferenceLogFields {
    images: usize,
    width: u32,
    height: u32,
    batch: usize,
    decode_ms: f64,
    queue_ms: f64,
    model_ms: f64,
    encode_ms: f64,
}

impl RequestLog {
    fn begin(access_log: AccessLog, request: &Request) -> Self {
        access_log.state.metrics.in_flight.inc();
        Self {
            access_log,
            id: request_id(request.headers()),
            method: request.method().to_string(),
            path: request.uri().path().chars().take(200).collect(),
            route: route_label(request.uri().path()),
            started: Instant::now(),
            is_answered: false,
        }
    }

    fn finish(mut self, response: &mut Response) {
        self.is_answered = true;
        let access_info: AccessInfo = response.extensions_mut().remove().unwrap_or_default();
        let error: Option<ErrorType> = response.extensions_mut().remove();
        let total = self.started.elapsed();
        let headers = response.headers_mut();
        if let Some(header) =
            access_info.timing.and_then(|timing| timing.server_timing_header(total))
        {
            headers.insert(SERVER_TIMING, header);
        }
        headers.insert(REQUEST_ID, self.id.clone());
        let bytes_out = response.body().size_hint().exact();
        self.record(
            response.status().as_u16(),
            error.map_or(ErrorLabel::None, ErrorLabel::Error),
            Some((&access_info, bytes_out)),
        );
    }

    /// Counts and prints.
    fn record(
        &self,
        status: u16,
        error: ErrorLabel,
        response_info: Option<(&AccessInfo, Option<u64>)>,
    ) {
        let total = self.started.elapsed();
        let state = &self.access_log.state;
        let access_info = response_info.map(|(access_info, _)| access_info);
        let timing = access_info.and_then(|seen| seen.timing);
        state.metrics.in_flight.dec();
        state.metrics.record_request(
            self.route,
            status,
            error,
            total.as_secs_f64(),
            timing.as_ref(),
        );
        let is_repeated_ping = self.route == "/ping"
            && self.access_log.last_ping_status.swap(status, Ordering::Relaxed) == status;
        if is_repeated_ping || !state.settings.log_requests {
            return;
        }
        let [decode_ms, queue_ms, model_ms, encode_ms] =
            timing.unwrap_or_default().stages().map(|(_, elapsed)| milliseconds(elapsed));
        let computed = timing.map(|timing| InferenceLogFields {
            images: timing.image_count,
            width: timing.size.0,
            height: timing.size.1,
            batch: timing.batch_size,
            decode_ms,
            queue_ms,
            model_ms,
            encode_ms,
        });
        log::write_json_line(&AccessLogEntry {
            time: log::utc_timestamp(),
            id: self.id.to_str().unwrap_or_default(),
            method: &self.method,
            path: &self.path,
            status,
            ms: milliseconds(total),
            bytes_in: access_info.map(|seen| seen.bytes_in),
            bytes_out: response_info.and_then(|(_, bytes)| bytes),
            model: access_info.and_then(|seen| seen.model.as_deref()),
            computed,
            error_type: (error != ErrorLabel::None).then(|| error.to_string()),
        });
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        if !self.is_answered {
            self.record(CLIENT_LEFT, ErrorLabel::ClientLeft, None);
        }
    }
}

/// The id that SageMaker gave the request, else one of ours that no other request has.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    static HASH_KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static REQUEST_COUNT: AtomicU64 = AtomicU64::new(0);
    let sagemaker_id = headers.get(INFERENCE_ID).filter(|id| {
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    sagemaker_id.cloned().unwrap_or_else(|| {
        let count = REQUEST_COUNT.fetch_add(1, Ordering::Relaxed);
        // The first half differs from process to process, the second from request to request.
        let text = format!("{:016x}{count:016x}", HASH_KEYS.hash_one("request"));
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("-"))
    })
}
