//! The metrics of the server at `GET /metrics`: requests, stages of images, queue and models.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::timing::Timing;
use crate::http::{HttpMetrics, SecondsHistogram, render_registry};
use crate::machine;

/// The server's registry of metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// Metrics of requests, which the access log keeps.
    pub(super) http: HttpMetrics,
    stage_seconds: Family<StageLabels, Histogram, SecondsHistogram>,
    batch_sizes: Histogram,
    queue_seconds: Gauge<f64, AtomicU64>,
    models: Gauge,
    models_bytes: Gauge,
    resident_bytes: Gauge,
}

/// The state of the server when its metrics are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerLoad {
    /// Predicted time of the computing that waits or is done now.
    pub(super) compute_time: Duration,
    /// Models that are loaded.
    pub(super) model_count: usize,
    /// Memory held or reserved for models, in bytes.
    pub(super) model_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("maskmaker");
        let http = HttpMetrics::register(&mut registry);
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
            http,
            stage_seconds,
            batch_sizes,
            queue_seconds,
            models,
            models_bytes,
            resident_bytes,
        }
    }
}

impl Metrics {
    /// Counts the stages and the batch of an answer.
    pub(super) fn record_timing(&self, timing: &Timing) {
        for (stage, elapsed) in timing.stages() {
            let labels = StageLabels { stage };
            self.stage_seconds.get_or_create(&labels).observe(elapsed.as_secs_f64());
        }
        self.batch_sizes.observe(timing.batch_size as f64);
    }

    /// Returns the answer to `GET /metrics`.
    pub(super) fn render(&self, load: ServerLoad) -> Response {
        self.queue_seconds.set(load.compute_time.as_secs_f64());
        self.models.set(load.model_count as i64);
        self.models_bytes.set(i64::try_from(load.model_bytes).unwrap_or(i64::MAX));
        self.resident_bytes.set(machine::resident_bytes().unwrap_or(0) as i64);
        render_registry(&self.registry)
    }
}
