//! A trial as samplers, early stopping and importances see it.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use super::assignment::Assignment;
use crate::named_enum::named_enum;

named_enum! {
    /// Direction in which the score of a search gets better (`Type` of the service's
    /// `HyperParameterTuningJobObjective`).
    Objective {
        /// Larger scores are better.
        Maximize = "Maximize",
        /// Smaller scores are better.
        Minimize = "Minimize",
    }
}

impl Objective {
    /// Returns a number that is smaller the better the score is; a score that is no number is worst.
    pub fn loss(self, score: f64) -> f64 {
        if score.is_nan() {
            return f64::INFINITY;
        }
        // The sum turns -0.0 into 0.0, which is as good.
        match self {
            Self::Maximize => -score + 0.0,
            Self::Minimize => score + 0.0,
        }
    }
}

/// State of a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The trial trains, or was proposed and will train.
    Running,
    /// The trial trained to its end and has this score.
    Complete(f64),
    /// The trial was stopped early because others were better.
    Pruned,
    /// The trial failed and tells nothing about its values.
    Failed,
}

/// One trial: the values that it tried, and what came of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Number of the trial, from 0 in the order of the proposals.
    pub number: u64,
    /// Values of the hyperparameters.
    pub assignment: Assignment,
    /// State, with the score if there is one.
    pub outcome: Outcome,
    /// Scores while the trial trained, by epoch, from 1.
    pub reports: BTreeMap<u64, f64>,
}

impl Trial {
    /// Creates a trial that runs and has reported nothing.
    pub fn new(number: u64, assignment: Assignment) -> Self {
        Self { number, assignment, outcome: Outcome::Running, reports: BTreeMap::new() }
    }

    /// Returns the trial as complete with a score. A score that is no finite number makes it failed.
    #[must_use]
    pub fn complete(mut self, score: f64) -> Self {
        self.outcome = if score.is_finite() { Outcome::Complete(score) } else { Outcome::Failed };
        self
    }

    /// Returns the score of a complete trial.
    pub fn score(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Complete(score) if score.is_finite() => Some(score),
            _ => None,
        }
    }

    /// Returns where a finished trial stands among others, or `None` if it runs or failed.
    pub(super) fn standing(&self, objective: Objective) -> Option<Standing> {
        match self.outcome {
            Outcome::Complete(_) => {
                let loss = objective.loss(self.score()?);
                Some(Standing { is_pruned: false, last_epoch: Reverse(None), loss })
            }
            Outcome::Pruned => {
                let last = self.reports.last_key_value();
                let loss = last.map_or(f64::INFINITY, |(_, &score)| objective.loss(score));
                let last_epoch = Reverse(last.map(|(&epoch, _)| epoch));
                Some(Standing { is_pruned: true, last_epoch, loss })
            }
            Outcome::Running | Outcome::Failed => None,
        }
    }
}

/// Place of a finished trial, smaller if it is better: complete trials by their scores, then pruned
/// ones, those that came further first and equally far ones by their last scores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    is_pruned: bool,
    last_epoch: Reverse<Option<u64>>,
    loss: f64,
}

impl Standing {
    /// Compares two places.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let by_epoch =
            self.is_pruned.cmp(&other.is_pruned).then(self.last_epoch.cmp(&other.last_epoch));
        by_epoch.then(self.loss.total_cmp(&other.loss))
    }
}

/// Returns the finished trials with their places, the best first, and equally good ones by their
/// numbers.
pub(super) fn rank_trials(trials: &[Trial], objective: Objective) -> Vec<(Standing, &Trial)> {
    let mut ranked = Vec::new();
    for trial in trials {
        if let Some(standing) = trial.standing(objective) {
            ranked.push((standing, trial));
        }
    }
    ranked.sort_by(|(a, a_trial), (b, b_trial)| {
        a.compare(b).then(a_trial.number.cmp(&b_trial.number))
    });
    ranked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruned_trials_rank_after_complete_ones_by_how_far_they_came() {
        let trial = |number, outcome, reports: &[(u64, f64)]| Trial {
            outcome,
            reports: reports.iter().copied().collect(),
            ..Trial::new(number, Assignment::new())
        };
        let trials = [
            trial(0, Outcome::Pruned, &[]),
            trial(1, Outcome::Pruned, &[(1, 0.9)]),
            trial(2, Outcome::Pruned, &[(1, 0.1), (3, 0.2)]),
            trial(3, Outcome::Pruned, &[(1, 0.1), (3, 0.3)]),
            trial(4, Outcome::Complete(0.1), &[]),
            trial(5, Outcome::Complete(0.4), &[]),
            trial(6, Outcome::Complete(0.4), &[]),
            trial(7, Outcome::Failed, &[(9, 1.0)]),
            trial(8, Outcome::Running, &[(9, 1.0)]),
            trial(9, Outcome::Complete(f64::NAN), &[]),
            trial(10, Outcome::Pruned, &[(3, f64::NAN)]),
        ];
        let order = |objective| -> Vec<u64> {
            rank_trials(&trials, objective).iter().map(|(_, trial)| trial.number).collect()
        };
        assert_eq!(order(Objective::Maximize), [5, 6, 4, 3, 2, 10, 1, 0]);
        assert_eq!(order(Objective::Minimize), [4, 5, 6, 2, 3, 10, 1, 0]);
    }

    #[test]
    fn a_score_that_is_no_number_is_a_failure() {
        let trial = Trial::new(0, Assignment::new()).complete(f64::NAN);
        assert_eq!(trial.outcome, Outcome::Failed);
    }
}
