//! Asynchronous successive halving: a trial trains on only while it is among the best that came as
//! far.
//!
//! Successive halving (Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and
//! Hyperparameter Optimization", AISTATS 2016) gives all trials few epochs, keeps the best share
//! `1 / eta`, gives these `eta` times as many, and so on. The asynchronous form (Li et al., "A System
//! for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934, 2018, algorithm 2) does not wait
//! until all trials have come to a rung: a trial is compared with those that have.
//!
//! Algorithm 2 pauses a trial that is not among the best, and may take it up later. Here it is
//! stopped for good, as the service's early stopping does: a job that has ended cannot go on. The
//! price is that a trial that was stopped because of the trials before it stays stopped even if the
//! later ones are worse; the first trial of a rung always goes on.

use std::collections::BTreeMap;

use super::trial::{Objective, Trial};
use crate::error::{Problems, Result};

/// Rule of early stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AsyncHalving {
    objective: Objective,
    eta: u64,
    min_epochs: u64,
    max_epochs: u64,
}

/// Decision about a trial after its last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The trial goes on.
    Continue,
    /// The trial stops.
    Stop {
        /// Epochs of the rung at which it was compared.
        rung_epochs: u64,
        /// Its place among the trials that came to this rung, from 1.
        place: usize,
        /// Number of trials that came to this rung, itself included.
        trials: usize,
        /// Number of places that go on.
        kept: usize,
    },
}

impl AsyncHalving {
    /// Creates a rule after checking it. The rungs are at `min_epochs`, `eta` times as many, and so
    /// on, below `max_epochs`, after which a trial ends by itself.
    pub fn new(objective: Objective, eta: u64, min_epochs: u64, max_epochs: u64) -> Result<Self> {
        let mut problems = Problems::new();
        if eta < 2 {
            problems.push(format!(
                "the reduction factor (eta) is {eta}; allowed: 2 or more, usually 3"
            ));
        }
        if min_epochs == 0 {
            problems.push("the fewest epochs of a trial are 0; allowed: 1 or more");
        }
        if max_epochs < min_epochs {
            problems.push(format!(
                "the most epochs of a trial are {max_epochs}, less than the fewest, {min_epochs}; \
                 exchange them, or correct one"
            ));
        }
        problems.into_result()?;
        Ok(Self { objective, eta, min_epochs, max_epochs })
    }

    /// Returns the epochs of the rungs.
    pub fn rungs(&self) -> Vec<u64> {
        let mut rungs = Vec::new();
        let mut epochs = self.min_epochs;
        while epochs < self.max_epochs {
            rungs.push(epochs);
            epochs = epochs.saturating_mul(self.eta);
        }
        rungs
    }

    /// Decides about a trial by its last report. It goes on unless that report is its first at a rung
    /// and it is not among the best `1 / eta` of the trials that have reported there, rounded down,
    /// but at least one. Equal scores go on together. A score that is no number stops the trial.
    /// `trials` are all of the search, this one included or not.
    pub fn decide(&self, trial: &Trial, trials: &[Trial]) -> Decision {
        let Some((&last_epoch, _)) = trial.reports.last_key_value() else {
            return Decision::Continue;
        };
        for rung_epochs in self.rungs() {
            if let Some((epoch, score)) = self.find_report(&trial.reports, rung_epochs)
                && epoch == last_epoch
            {
                return self.compare(trial.number, score, rung_epochs, trials);
            }
        }
        Decision::Continue
    }

    /// Returns the first report at a rung: at its epochs or later, but before the next rung, in case
    /// that a trial does not report after each epoch.
    fn find_report(&self, reports: &BTreeMap<u64, f64>, rung_epochs: u64) -> Option<(u64, f64)> {
        let next_rung = rung_epochs.saturating_mul(self.eta).min(self.max_epochs);
        let (&epoch, &score) = reports.range(rung_epochs..next_rung).next()?;
        Some((epoch, score))
    }

    /// Compares a trial with the others at a rung.
    fn compare(
        &self,
        trial_number: u64,
        score: f64,
        rung_epochs: u64,
        trials: &[Trial],
    ) -> Decision {
        let loss = self.objective.loss(score);
        let mut place = 1;
        let mut trial_count = 1;
        for other in trials {
            if other.number == trial_number {
                continue;
            }
            if let Some((_, score)) = self.find_report(&other.reports, rung_epochs) {
                trial_count += 1;
                if self.objective.loss(score) < loss {
                    place += 1;
                }
            }
        }
        let kept = (trial_count / self.eta as usize).max(1);
        if place <= kept && !score.is_nan() {
            return Decision::Continue;
        }
        Decision::Stop { rung_epochs, place, trials: trial_count, kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Assignment;

    fn trial(number: u64, reports: &[(u64, f64)]) -> Trial {
        let mut trial = Trial::new(number, Assignment::new());
        trial.reports.extend(reports.iter().copied());
        trial
    }

    fn rule() -> AsyncHalving {
        AsyncHalving::new(Objective::Maximize, 3, 1, 27).unwrap()
    }

    fn stop(rung_epochs: u64, place: usize, trials: usize, kept: usize) -> Decision {
        Decision::Stop { rung_epochs, place, trials, kept }
    }

    #[test]
    fn rungs_grow_by_the_factor_and_end_before_the_last_epoch() {
        assert_eq!(rule().rungs(), [1, 3, 9]);
        assert_eq!(
            AsyncHalving::new(Objective::Minimize, 2, 5, 50).unwrap().rungs(),
            [5, 10, 20, 40]
        );
        assert_eq!(AsyncHalving::new(Objective::Minimize, u64::MAX, 1, 9).unwrap().rungs(), [1]);
        assert!(AsyncHalving::new(Objective::Minimize, 3, 9, 9).unwrap().rungs().is_empty());
        let error = AsyncHalving::new(Objective::Minimize, 1, 0, 0).unwrap_err();
        assert_eq!(error.problems().len(), 2);
        assert!(AsyncHalving::new(Objective::Minimize, 3, 10, 9).is_err());
    }

    #[test]
    fn trials_that_come_one_after_the_other_are_compared_with_those_before() {
        // Scores at the first rung in the order of arrival. A trial is kept if its place is at most a
        // third of the arrivals, at least 1.
        let arrivals = [
            (0.5, Decision::Continue), // 1st of 1, 1 kept
            (0.4, stop(1, 2, 2, 1)),
            (0.6, Decision::Continue), // 1st of 3, 1 kept
            (0.55, stop(1, 2, 4, 1)),
            (0.55, stop(1, 2, 5, 1)),
            (0.55, Decision::Continue), // 2nd of 6 with equals, 2 kept
            (0.6, Decision::Continue),  // 1st of 7 with an equal, 2 kept
            (0.59, stop(1, 3, 8, 2)),
            (0.59, Decision::Continue), // 3rd of 9, 3 kept
            (f64::NAN, stop(1, 10, 10, 3)),
        ];
        let mut trials = Vec::new();
        for (number, (score, expected)) in arrivals.into_iter().enumerate() {
            trials.push(trial(number as u64, &[(1, score)]));
            assert_eq!(rule().decide(&trials[number], &trials), expected, "trial {number}");
        }
    }

    #[test]
    fn each_rung_is_decided_once_and_among_those_that_reached_it() {
        let others = [trial(0, &[(1, 0.9), (2, 0.9), (3, 0.1)]), trial(1, &[(1, 0.8)])];
        let decide = |reports: &[(u64, f64)]| rule().decide(&trial(2, reports), &others);
        assert_eq!(decide(&[]), Decision::Continue);
        assert_eq!(decide(&[(1, 0.2)]), stop(1, 3, 3, 1));
        assert_eq!(decide(&[(1, 0.2), (2, 0.0)]), Decision::Continue, "between rungs");
        assert_eq!(decide(&[(1, 0.2), (2, 0.0), (3, 0.2)]), Decision::Continue, "1st of 2");
        assert_eq!(decide(&[(1, 0.9), (2, 0.9), (3, 0.05)]), stop(3, 2, 2, 1));
        assert_eq!(decide(&[(1, 0.9), (27, 0.0)]), Decision::Continue, "after the last rung");
    }

    #[test]
    fn a_report_after_the_rung_counts_for_it_until_the_next() {
        let others = [trial(0, &[(2, 0.9), (4, 0.9), (6, 0.0)])];
        let decide = |reports: &[(u64, f64)]| rule().decide(&trial(1, reports), &others);
        assert_eq!(decide(&[(2, 0.5)]), stop(1, 2, 2, 1));
        assert_eq!(decide(&[(2, 0.5), (4, 0.5)]), stop(3, 2, 2, 1));
        assert_eq!(decide(&[(2, 0.5), (4, 0.5), (6, 0.5)]), Decision::Continue);
        assert_eq!(decide(&[(10, 0.5)]), Decision::Continue, "the first at 9 epochs");
    }

    #[test]
    fn smaller_scores_are_better_if_they_are_minimized() {
        let rule = AsyncHalving::new(Objective::Minimize, 2, 1, 4).unwrap();
        let others = [trial(0, &[(1, 0.5)])];
        assert_eq!(rule.decide(&trial(1, &[(1, 0.4)]), &others), Decision::Continue);
        assert_eq!(rule.decide(&trial(1, &[(1, 0.6)]), &others), stop(1, 2, 2, 1));
    }
}
