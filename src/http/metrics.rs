//! Counters of requests for Prometheus, in the text format of `OpenMetrics`.

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Media type of the text format of `OpenMetrics` 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of times, in seconds: from a server that only passes bytes on to a
/// large image on one core.
const SECONDS_BUCKETS: [f64; 16] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0,
];

/// The metrics that the access log keeps of every request. Clones count together.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram, SecondsHistogram>,
    in_flight: Gauge,
}

/// The labels of the counter of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    /// Route, of which there are few, and not the path, of which clients may make any number.
    pub(super) path: &'static str,
    pub(super) status: u32,
    /// Name of the error; empty for an answer without one.
    pub(super) error_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    path: &'static str,
}

/// Makes histograms of times in seconds.
#[derive(Debug, Clone)]
pub struct SecondsHistogram;

impl MetricConstructor<Histogram> for SecondsHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS_BUCKETS)
    }
}

impl HttpMetrics {
    /// Adds the metrics of requests to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("requests", "Requests by path, status and error", requests.clone());
        let request_seconds = Family::new_with_constructor(SecondsHistogram);
        registry.register_with_unit(
            "request",
            "Time from a request's head to its answer",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let in_flight = Gauge::default();
        registry.register("in_flight", "Requests that have no answer yet", in_flight.clone());
        Self { requests, request_seconds, in_flight }
    }

    /// Counts a request whose head has arrived.
    pub(super) fn begin_request(&self) {
        self.in_flight.inc();
    }

    /// Counts the end of a request, `seconds` after its head.
    pub(super) fn end_request(&self, labels: &RequestLabels, seconds: f64) {
        self.in_flight.dec();
        self.requests.get_or_create(labels).inc();
        let route = RouteLabels { path: labels.path };
        self.request_seconds.get_or_create(&route).observe(seconds);
    }
}

/// Returns the answer to `GET /metrics`: all metrics of a registry.
pub fn render_registry(registry: &Registry) -> Response {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, registry);
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}
