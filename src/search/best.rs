//! The best trial of a search as a JSON document:
//!
//! ```json
//! {"trial": 17, "objective": {"name": "validation:mIOU", "value": 0.71},
//!  "hyperparameters": {"learning_rate": "0.012", "optimizer": "sgd"}}
//! ```

use serde::{Deserialize, Serialize};

use super::assignment::Assignment;
use super::trial::{Objective, Trial, rank_trials};

/// Values of the best trial, and its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BestHyperparameters {
    /// Number of the trial.
    pub trial: u64,
    /// Score of the trial.
    pub objective: ObjectiveValue,
    /// Values of the hyperparameters that were searched, as SageMaker passes them.
    pub hyperparameters: Assignment,
}

/// Score with the name of its metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveValue {
    /// Name of the metric.
    pub name: String,
    /// Score.
    pub value: f64,
}

impl BestHyperparameters {
    /// Finds the best complete trial, of equally good ones the first, or returns `None` if none is
    /// complete.
    pub fn find(trials: &[Trial], objective: Objective, metric_name: &str) -> Option<Self> {
        let ranked = rank_trials(trials, objective);
        let (_, best) = ranked.first()?;
        Some(Self {
            trial: best.number,
            objective: ObjectiveValue { name: metric_name.to_owned(), value: best.score()? },
            hyperparameters: best.assignment.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Outcome;

    #[test]
    fn the_best_complete_trial_is_written_and_read_back() {
        let assignment = Assignment::from_iter([("learning_rate", "0.012"), ("epochs", "5")]);
        let mut pruned = Trial::new(0, Assignment::new());
        pruned.outcome = Outcome::Pruned;
        pruned.reports.insert(1, 0.99);
        assert_eq!(
            BestHyperparameters::find(std::slice::from_ref(&pruned), Objective::Maximize, "m"),
            None
        );
        let trials = [
            pruned,
            Trial::new(1, Assignment::new()).complete(0.5),
            Trial::new(2, assignment).complete(0.7),
        ];
        let best = BestHyperparameters::find(&trials, Objective::Maximize, "m").unwrap();
        let text = serde_json::to_string(&best).unwrap();
        assert_eq!(
            text,
            r#"{"trial":2,"objective":{"name":"m","value":0.7},"hyperparameters":{"epochs":"5","learning_rate":"0.012"}}"#
        );
        assert_eq!(serde_json::from_str::<BestHyperparameters>(&text).unwrap(), best);
        let worst = BestHyperparameters::find(&trials, Objective::Minimize, "m").unwrap();
        assert_eq!(worst.trial, 1);
    }
}
