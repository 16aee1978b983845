//! The access log: a line in the log for each request, its counters, and the headers of every
//! answer.

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::error::ErrorName;
use super::log;
use super::metrics::{HttpMetrics, RequestLabels};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Longest id of a client, in bytes.
const MAX_ID_BYTES: usize = 64;
/// Longest path in a line, in characters.
const MAX_PATH_CHARS: usize = 200;

/// The status that proxies log for a client that left before its answer. It is only in the log and
/// the metrics.
const CLIENT_LEFT_STATUS: u16 = 499;
/// Name in place of an error's for such a client.
const CLIENT_LEFT: &str = "ClientLeft";

/// The settings of a server's access log.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// Counters of the server's requests.
    pub metrics: HttpMetrics,
    /// Function from a path to the route that metrics name; it must return few names.
    pub route_label: fn(&str) -> &'static str,
    /// Header whose value is taken as the id of a request, if it is 1 to 64 visible ASCII
    /// characters.
    pub request_id_header: HeaderName,
    /// Route that is polled for ever. A line is printed only when its status changes.
    pub health_route: &'static str,
    /// True to print lines; requests are counted in any case.
    pub prints_lines: bool,
}

/// The contribution of a handler to the log: it puts this into the extensions of its response.
#[derive(Debug, Clone, Default)]
pub struct AccessInfo {
    /// Bytes of the request's body that have arrived.
    pub bytes_in: usize,
    /// Further fields of the line, in this order; each name occurs once.
    pub fields: Vec<(&'static str, Value)>,
    /// Stages of the work with their times, for the header `Server-Timing`; empty leaves it out.
    pub stages: Vec<(&'static str, Duration)>,
}

/// Wraps a router, so that each request is logged and counted.
pub fn with_access_log(router: Router, settings: AccessLog) -> Router {
    let log = AccessLogState { settings, last_health_status: AtomicU16::default() };
    router.layer(from_fn_with_state(Arc::new(log), log_access))
}

struct AccessLogState {
    settings: AccessLog,
    /// Status of the last answer on the health route.
    last_health_status: AtomicU16,
}

async fn log_access(
    State(log): State<Arc<AccessLogState>>,
    request: Request,
    next: Next,
) -> Response {
    let request_log = RequestLog::begin(log, &request);
    let mut response = next.run(request).await;
    request_log.finish(&mut response);
    response
}

/// A request in progress. If it is dropped before its answer, the client has left.
struct RequestLog {
    log: Arc<AccessLogState>,
    id: HeaderValue,
    method: String,
    path: String,
    route: &'static str,
    started: Instant,
    is_answered: bool,
}

/// The end of a request. Without an answer, the client left.
struct Outcome<'a> {
    status: u16,
    /// Name of the error; empty if there is none.
    error_type: &'a str,
    access_info: Option<&'a AccessInfo>,
    /// Length of the answer in bytes, if it is known.
    bytes_out: Option<u64>,
}

/// A request's line in the log. Sizes are in bytes, times in milliseconds.
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
    #[serde(flatten)]
    fields: Option<Fields<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    error_type: &'a str,
}

/// The fields that a handler adds, as a map in their order.
struct Fields<'a>(&'a [(&'static str, Value)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl RequestLog {
    fn begin(log: Arc<AccessLogState>, request: &Request) -> Self {
        let settings = &log.settings;
        settings.metrics.begin_request();
        Self {
            id: request_id(request.headers(), &settings.request_id_header),
            method: request.method().to_string(),
            path: request.uri().path().chars().take(MAX_PATH_CHARS).collect(),
            route: (settings.route_label)(request.uri().path()),
            started: Instant::now(),
            is_answered: false,
            log,
        }
    }

    fn finish(mut self, response: &mut Response) {
        self.is_answered = true;
        let access_info: AccessInfo = response.extensions_mut().remove().unwrap_or_default();
        let error: Option<ErrorName> = response.extensions_mut().remove();
        let total = self.started.elapsed();
        let headers = response.headers_mut();
        if let Some(header) = server_timing_header(&access_info.stages, total) {
            headers.insert(SERVER_TIMING, header);
        }
        headers.insert(REQUEST_ID, self.id.clone());
        self.record(&Outcome {
            status: response.status().as_u16(),
            error_type: error.as_ref().map_or("", |error| &error.0),
            access_info: Some(&access_info),
            bytes_out: response.body().size_hint().exact(),
        });
    }

    /// Counts the request and prints its line.
    fn record(&self, outcome: &Outcome<'_>) {
        let total = self.started.elapsed();
        let settings = &self.log.settings;
        let Outcome { status, error_type, access_info, bytes_out } = *outcome;
        let labels = RequestLabels {
            path: self.route,
            status: status.into(),
            error_type: error_type.to_owned(),
        };
        settings.metrics.end_request(&labels, total.as_secs_f64());
        let is_repeated = self.route == settings.health_route
            && self.log.last_health_status.swap(status, Ordering::Relaxed) == status;
        if is_repeated || !settings.prints_lines {
            return;
        }
        log::write_json_line(&AccessLogEntry {
            time: log::utc_timestamp(),
            id: self.id.to_str().unwrap_or_default(),
            method: &self.method,
            path: &self.path,
            status,
            ms: milliseconds(total),
            bytes_in: access_info.map(|info| info.bytes_in),
            bytes_out,
            fields: access_info.map(|info| Fields(&info.fields)),
            error_type,
        });
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        if !self.is_answered {
            self.record(&Outcome {
                status: CLIENT_LEFT_STATUS,
                error_type: CLIENT_LEFT,
                access_info: None,
                bytes_out: None,
            });
        }
    }
}

/// Returns the id that the client or its proxy gave the request, else a new one.
fn request_id(headers: &HeaderMap, header: &HeaderName) -> HeaderValue {
    static HASH_KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static REQUEST_COUNT: AtomicU64 = AtomicU64::new(0);
    if let Some(id) = headers.get(header) {
        let is_short = (1..=MAX_ID_BYTES).contains(&id.len());
        if is_short && id.as_bytes().iter().all(u8::is_ascii_graphic) {
            return id.clone();
        }
    }
    let count = REQUEST_COUNT.fetch_add(1, Ordering::Relaxed);
    // The first half differs from process to process, the second from request to request.
    let text = format!("{:016x}{count:016x}", HASH_KEYS.hash_one("request"));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("-"))
}

/// Returns the header `Server-Timing` (W3C): milliseconds by stage, which browsers show in their
/// network view. Returns none without stages.
fn server_timing_header(stages: &[(&str, Duration)], total: Duration) -> Option<HeaderValue> {
    if stages.is_empty() {
        return None;
    }
    let mut text = String::with_capacity(112);
    for (name, elapsed) in stages {
        // Writing to a string does not fail.
        let _ = write!(text, "{name};dur={:.3}, ", milliseconds(*elapsed));
    }
    let _ = write!(text, "total;dur={:.3}", milliseconds(total));
    HeaderValue::try_from(text).ok()
}

/// Returns a time in milliseconds, with three decimals.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_come_before_the_total_in_milliseconds() {
        let stages = [("decode", Duration::from_millis(2)), ("encode", Duration::ZERO)];
        let header = server_timing_header(&stages, Duration::from_micros(15_250)).unwrap();
        assert_eq!(header, "decode;dur=2.000, encode;dur=0.000, total;dur=15.250");
        assert_eq!(server_timing_header(&[], Duration::ZERO), None);
    }

    #[test]
    fn a_line_has_the_fields_of_the_handler_between_its_own() {
        let fields = [("model", Value::from("a")), ("decode_ms", Value::from(1.0))];
        let entry = AccessLogEntry {
            time: "now".to_owned(),
            id: "1",
            method: "GET",
            path: "/",
            status: 200,
            ms: 2.5,
            bytes_in: Some(3),
            bytes_out: None,
            fields: Some(Fields(&fields)),
            error_type: "",
        };
        assert_eq!(
            serde_json::to_string(&entry).unwrap(),
            r#"{"time":"now","id":"1","method":"GET","path":"/","status":200,"ms":2.5,"bytes_in":3,"model":"a","decode_ms":1.0}"#
        );
    }
}
