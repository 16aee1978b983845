//! Storing a prediction in Label Studio, once.

use std::time::Duration;

use serde_json::value::RawValue;

use crate::label_studio::{LabelStudio, NewPrediction};
use crate::web_client::{WebError, WebErrorKind};

/// Attempts to store a prediction.
const MAX_ATTEMPTS: u32 = 5;

/// Pause before the second attempt; each further pause is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A prediction in the form in which it is stored.
#[derive(Debug, Clone)]
pub(super) struct StoredPrediction {
    /// JSON list of regions.
    pub(super) result: Box<RawValue>,
    pub(super) score: Option<f64>,
    pub(super) model_version: String,
}

/// Stores a prediction for a task, and tries again after passing faults. A request whose answer was lost is
/// not repeated if it was carried out.
pub(super) async fn store_once(
    label_studio: &LabelStudio,
    task_id: i64,
    prediction: &StoredPrediction,
) -> Result<(), WebError> {
    let StoredPrediction { result, score, model_version } = prediction;
    let new = NewPrediction { task: task_id, result, score: *score, model_version };
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let Err(error) = label_studio.create_prediction(new).await else { return Ok(()) };
        if !error.is_passing() {
            return Err(error);
        }
        if attempt >= MAX_ATTEMPTS {
            return Err(error.with_advice(format_args!("{attempt} attempts failed")));
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
        if label_studio.has_prediction(task_id, model_version).await? {
            return Ok(());
        }
    }
    unreachable!("the loop ends by returning")
}

/// Returns true for failures that meet one task: it was deleted meanwhile, or its prediction is refused.
pub(super) fn concerns_task_alone(error: &WebError) -> bool {
    matches!(error.kind, WebErrorKind::Status(400 | 404 | 413 | 422))
}
