//! Description of a tuning job that has ended, in the service's words.

use serde_json::{Map, Value, json};

use super::TuningRequest;
use crate::pipeline::local::results::StepResult;
use crate::search::{Outcome, Study, Trial};

/// Training job of a trial that has ended.
pub(super) struct TrialResult<'a> {
    pub trial: &'a Trial,
    /// Name of the training job.
    pub job_name: String,
    /// Result of the job; none if it failed or was stopped early.
    pub result: Option<StepResult>,
}

/// Describes a tuning job, without its request. Training jobs stand in the order of their scores, the
/// best first, and after them those that have none.
pub(super) fn describe_tuning(
    request: &TuningRequest,
    study: &Study,
    results: &[TrialResult<'_>],
) -> Value {
    let mut sorted: Vec<&TrialResult<'_>> = results.iter().collect();
    let loss = |result: &TrialResult<'_>| {
        let score = result.trial.score();
        score.map_or(f64::INFINITY, |score| request.objective.loss(score))
    };
    sorted.sort_by(|first, second| {
        loss(first).total_cmp(&loss(second)).then(first.trial.number.cmp(&second.trial.number))
    });
    let mut summaries = Vec::with_capacity(sorted.len());
    for result in &sorted {
        summaries.push(describe_training_job(request, study, result));
    }
    let count = |state: &str| {
        let has_state = |summary: &&Value| summary["TrainingJobStatus"] == state;
        summaries.iter().filter(has_state).count()
    };
    let scored = sorted.iter().filter(|result| result.trial.score().is_some()).count();
    let mut description = Map::new();
    description.insert(
        "TrainingJobStatusCounters".into(),
        json!({
            "Completed": count("Completed"),
            "InProgress": 0,
            "RetryableError": 0,
            "NonRetryableError": count("Failed"),
            "Stopped": count("Stopped"),
        }),
    );
    description.insert(
        "ObjectiveStatusCounters".into(),
        json!({"Succeeded": scored, "Pending": 0, "Failed": sorted.len() - scored}),
    );
    if scored > 0 {
        description.insert("BestTrainingJob".into(), summaries[0].clone());
    }
    description.insert("TrainingJobSummaries".into(), Value::Array(summaries));
    Value::Object(description)
}

fn describe_training_job(
    request: &TuningRequest,
    study: &Study,
    result: &TrialResult<'_>,
) -> Value {
    let name = &result.job_name;
    let mut summary = json!({
        "TrainingJobName": name,
        "TrainingJobArn": format!("arn:aws:sagemaker:local:000000000000:training-job/{name}"),
        "TrainingJobStatus": match result.trial.outcome {
            Outcome::Complete(_) => "Completed",
            Outcome::Failed => "Failed",
            Outcome::Running | Outcome::Pruned => "Stopped",
        },
        "TunedHyperParameters": result.trial.assignment,
    });
    if let Some(own) = &result.result {
        summary["TrainingStartTime"] = json!(own.start_time);
        summary["TrainingEndTime"] = json!(own.end_time);
    }
    if let Some(score) = result.trial.score() {
        summary["ObjectiveStatus"] = json!("Succeeded");
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = json!({
            "Type": request.objective.name(), "MetricName": request.metric, "Value": score
        });
    } else {
        summary["ObjectiveStatus"] = json!("Failed");
    }
    if let (Outcome::Failed, Some(reason)) =
        (result.trial.outcome, study.reason(result.trial.number))
    {
        summary["FailureReason"] = json!(reason);
    }
    summary
}
