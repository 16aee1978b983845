//! The metrics of the backend at `GET /metrics`: requests, tasks, and the stages of predictions.

use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::http::{HttpMetrics, render_registry};

/// The backend's registry of metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// Metrics of requests, which the access log keeps.
    pub(super) http: HttpMetrics,
    tasks: Family<TaskLabels, Counter>,
    running: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    answer: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("maskmaker");
        let http = HttpMetrics::register(&mut registry);
        let tasks = Family::default();
        let help = "Tasks that were asked for: in time, or in a round that took too long";
        registry.register("backend_tasks", help, tasks.clone());
        let running = Gauge::default();
        registry.register(
            "backend_running_tasks",
            "Tasks that wait or are computed",
            running.clone(),
        );
        Self { registry, http, tasks, running }
    }
}

impl Metrics {
    /// Counts the tasks of a round.
    pub(super) fn count_tasks(&self, tasks: usize, is_in_time: bool) {
        let labels = TaskLabels { answer: if is_in_time { "in_time" } else { "too_late" } };
        self.tasks.get_or_create(&labels).inc_by(tasks as u64);
    }

    /// Returns the answer to `GET /metrics`.
    pub(super) fn render(&self, running: usize) -> Response {
        self.running.set(running as i64);
        render_registry(&self.registry)
    }
}
