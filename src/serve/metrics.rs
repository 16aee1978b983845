//! `GET /metrics`: counters for Prometheus, in the text format of `OpenMetrics`.

use std::fmt;
use std::sync::atomic::AtomicU64;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::memory;
use super::reply::ErrorType;
use super::server::AppState;
use super::timing::Timing;

/// What `OpenMetrics` 1.0 calls its text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds in seconds: from a server that only passes bytes on to a large image on one core.
const SECONDS_BUCKETS: [f64; 16] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0,
];

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<PathLabels, Histogram, SecondsHistogram>,
    stage_seconds: Family<StageLabels, Histogram, SecondsHistogram>,
    batch_sizes: Histogram,
    pub(super) in_flight: Gauge,
    queue_seconds: Gauge<f64, AtomicU64>,
    models: Gauge,
    models_bytes: Gauge,
    resident_bytes: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    path: &'static str,
    status: u32,
    error_type: ErrorLabel,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

/// The name of an error, or nothing for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ErrorLabel {
    None,
    Error(ErrorType),
    /// Nobody got an answer, because the client left.
    ClientLeft,
}

impl fmt::Display for ErrorLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Error(error_type) => error_type.fmt(f),
            Self::ClientLeft => f.write_str("ClientLeft"),
        }
    }
}

impl EncodeLabelValue for ErrorLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        fmt::Write::write_fmt(encoder, format_args!("{self}"))
    }
}

#[derive(Debug, Clone)]
struct SecondsHistogram;

impl MetricConstructor<Histogram> for SecondsHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS_BUCKETS)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("maskmaker");
        let requests = Family::default();
        registry.register("requests", "Requests by path, status and error", requests.clone());
        let request_seconds = Family::new_with_constructor(SecondsHistogram);
        registry.register_with_unit(
            "request",
            "Time from a request's head to its answer",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let stage_seconds = Family::new_with_constructor(SecondsHistogram);
        registry.register_with_unit(
            "stage",
            "Time of images in decode, queue, model and encode",
            Unit::Seconds,
            stage_seconds.clone(),
        );
        let batch_sizes = Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]);
        registry.register(
            "batch_size",
            "Images computed together, as images saw it",
            batch_sizes.clone(),
        );
        let in_flight = Gauge::default();
        registry.register("in_flight", "Requests that have no answer yet", in_flight.clone());
        let queue_seconds = Gauge::default();
        let help = "Computing that waits or is done now, as predicted";
        registry.register_with_unit("queue", help, Unit::Seconds, queue_seconds.clone());
        let models = Gauge::default();
        registry.register("models", "Models that are loaded", models.clone());
        let models_bytes = Gauge::default();
        let help = "Memory held or reserved for models";
        registry.register_with_unit("models", help, Unit::Bytes, models_bytes.clone());
        let resident_bytes = Gauge::default();
        let help = "Memory that the process holds";
        registry.register_with_unit("resident_memory", help, Unit::Bytes, resident_bytes.clone());
        Self {
            registry,
            requests,
            request_seconds,
            stage_seconds,
            batch_sizes,
            in_flight,
            queue_seconds,
            models,
            models_bytes,
            resident_bytes,
        }
    }
}

impl Metrics {
    /// Counts an answer.
    pub(super) fn record_request(
        &self,
        path: &'static str,
        status: u16,
        error: ErrorLabel,
        seconds: f64,
        timing: Option<&Timing>,
    ) {
        self.requests
            .get_or_create(&RequestLabels { path, status: status.into(), error_type: error })
            .inc();
        self.request_seconds.get_or_create(&PathLabels { path }).observe(seconds);
        if let Some(timing) = timing {
            for (stage, elapsed) in timing.stages() {
                self.stage_seconds
                    .get_or_create(&StageLabels { stage })
                    .observe(elapsed.as_secs_f64());
            }
            self.batch_sizes.observe(timing.batch_size as f64);
        }
    }
}

impl AppState {
    /// The answer of `GET /metrics`.
    pub(super) fn render_metrics(&self) -> Response {
        let metrics = &self.metrics;
        metrics.queue_seconds.set(self.limiter.compute_time().as_secs_f64());
        let (model_count, model_bytes) = self.models.totals();
        metrics.models.set(model_count as i64);
        metrics.models_bytes.set(i64::try_from(model_bytes).unwrap_or(i64::MAX));
        metrics.resident_bytes.set(memory::resident_bytes().unwrap_or(0) as i64);
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &metrics.registry);
        ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
    }
}
