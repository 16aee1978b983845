//! Scores in the shapes of SageMaker Model Monitor's model quality for multiclass classification,
//! which the model registry shows: "Model quality metrics and Amazon `CloudWatch` monitoring" in the
//! SageMaker Developer Guide, and the `statistics.json` and `constraints.json` that a baseline job
//! writes. Pixels are what is classified.

use serde_json::{Map, Value, json};

use super::document::Evaluation;
use super::estimates::{ScoreEstimates, WeightedScores};
use crate::metrics::{ConfusionMatrix, Estimate};

/// Scores for which a lower value than now is a violation.
const CONSTRAINED: [&str; 6] = [
    "accuracy",
    "weighted_recall",
    "weighted_precision",
    "weighted_f0_5",
    "weighted_f1",
    "weighted_f2",
];

/// Returns the section `multiclass_classification_metrics`. The confusion matrix has the true class
/// first.
pub(super) fn metrics_section(
    matrix: &ConfusionMatrix,
    estimates: &ScoreEstimates,
) -> Map<String, Value> {
    let mut rows = Map::new();
    for (truth, row) in matrix.rows().enumerate() {
        let mut counts = Map::new();
        for (predicted, &pixels) in row.iter().enumerate() {
            counts.insert(predicted.to_string(), pixels.into());
        }
        rows.insert(truth.to_string(), counts.into());
    }
    let mut section = Map::new();
    section.insert("confusion_matrix".to_owned(), rows.into());
    section.insert("accuracy".to_owned(), monitor_score(estimates.pixel_accuracy));
    add_weighted(&mut section, &estimates.weighted, "");
    // The share of the most frequent class is its recall weighted.
    let suffix = "_best_constant_classifier";
    let accuracy = monitor_score(estimates.best_constant.recall);
    section.insert(format!("accuracy{suffix}"), accuracy);
    add_weighted(&mut section, &estimates.best_constant, suffix);
    section
}

fn add_weighted(section: &mut Map<String, Value>, scores: &WeightedScores<Estimate>, suffix: &str) {
    let WeightedScores { recall, precision, f0_5, f1, f2 } = *scores;
    for (name, score) in
        [("recall", recall), ("precision", precision), ("f0_5", f0_5), ("f1", f1), ("f2", f2)]
    {
        section.insert(format!("weighted_{name}{suffix}"), monitor_score(score));
    }
}

/// Writes a score as Model Monitor does, which says "NaN" where there is no number.
fn monitor_score(score: Estimate) -> Value {
    let number = |value: Option<f64>| value.map_or(json!("NaN"), |value| json!(value));
    json!({
        "value": number(score.value),
        "standard_deviation": number(score.standard_deviation),
    })
}

/// Returns the content of `statistics.json`.
pub(super) fn statistics(evaluation: &Evaluation) -> Value {
    json!({
        "version": 0.0,
        "dataset": {"item_count": evaluation.segmentation_metrics.pixels},
        "multiclass_classification_metrics": evaluation.multiclass_classification_metrics,
    })
}

/// Returns the content of `constraints.json`: as a baseline job of Model Monitor suggests it, later
/// scores must not be below those of now. `segmentation_constraints` in the same shape is ours.
pub(super) fn constraints(evaluation: &Evaluation) -> Value {
    let mut multiclass = Map::new();
    for name in CONSTRAINED {
        let value = &evaluation.multiclass_classification_metrics[name]["value"];
        multiclass.insert(name.to_owned(), constraint(value));
    }
    let miou = json!(evaluation.segmentation_metrics.miou.value);
    json!({
        "version": 0.0,
        "multiclass_classification_constraints": multiclass,
        "segmentation_constraints": {"miou": constraint(&miou)},
    })
}

fn constraint(threshold: &Value) -> Value {
    json!({"threshold": threshold, "comparison_operator": "LessThanThreshold"})
}
