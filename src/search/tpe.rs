//! The tree-structured Parzen estimator: it models which values good trials had and which the others,
//! and proposes values that are likely among the first and unlikely among the second.
//!
//! The method is of Bergstra, Bardenet, Bengio and Kégl, "Algorithms for Hyper-Parameter
//! Optimization", NIPS 2011, section 4. Finished trials are split at a quantile of their scores
//! (equation 2) into a density `l` of the good ones and `g` of the others; candidates are drawn from
//! `l`, and the one with the largest `l(x) / g(x)` wins, which also has the largest expected
//! improvement (equation 3 and section 4.1). Watanabe, arXiv 2304.11127, 2023, section 3, describes
//! the parts that later programs added. The constants are those of Optuna.
//!
//! Trials that run count as bad ones (the "constant liar" of Ginsbourger, Le Riche and Carraro, 2010,
//! with the worst value as the lie), so that trials side by side do not try the same values.

use rand_chacha::ChaCha8Rng;

use super::assignment::Assignment;
use super::parzen::ParzenEstimator;
use super::random::RandomSampler;
use super::space::{Parameter, SearchSpace};
use super::trial::{Objective, Outcome, Trial, rank_trials};
use crate::data::random::{Purpose, generator};

/// Inverse of the share of finished trials that are good ones.
const TRIALS_PER_GOOD_TRIAL: usize = 10;

/// Largest number of good trials.
const MAX_GOOD_TRIALS: usize = 25;

/// Settings of the estimator, of which the defaults are usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TpeSettings {
    /// Number of finished trials before which values are drawn at random.
    pub startup_trials: usize,
    /// Number of candidates from which each value is chosen.
    pub candidates: usize,
    /// True if the hyperparameters without a condition are drawn together, by kernels over all of
    /// them, so that candidates keep values together that were good together (Watanabe's
    /// multivariate kernel), as Optuna 5 does by default. False if each is drawn by itself, as
    /// Bergstra et al. and Optuna 2 to 4 do. Those with a condition are drawn by themselves in any
    /// case.
    pub is_joint: bool,
}

impl Default for TpeSettings {
    fn default() -> Self {
        Self { startup_trials: 10, candidates: 24, is_joint: true }
    }
}

/// Sampler that learns from finished trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TpeSampler {
    seed: u64,
    objective: Objective,
    settings: TpeSettings,
}

/// Trials from which the values of a new one are learned.
struct Split<'a> {
    /// Good trials in the order of their numbers.
    good: Vec<&'a Trial>,
    /// The other finished trials and those that run, in the order of their numbers.
    other: Vec<&'a Trial>,
}

impl TpeSampler {
    /// Creates a sampler; another seed gives other draws.
    pub fn new(seed: u64, objective: Objective, settings: TpeSettings) -> Self {
        Self { seed, objective, settings }
    }

    /// Draws the values of a trial. They depend on the seed, the space, the trial's number and the
    /// other trials, whose order does not matter. Until enough trials are finished, they are those
    /// of [`RandomSampler`].
    pub fn draw_assignment(
        &self,
        space: &SearchSpace,
        trials: &[Trial],
        trial_number: u64,
    ) -> Assignment {
        let Some(split) = self.split_trials(trials, trial_number) else {
            return RandomSampler::new(self.seed).draw_assignment(space, trial_number);
        };
        let mut assignment = Assignment::new();
        let mut is_drawn = vec![false; space.parameters().len()];
        if self.settings.is_joint {
            let mut together = Vec::new();
            for (index, parameter) in space.parameters().iter().enumerate() {
                if parameter.condition.is_none() {
                    is_drawn[index] = true;
                    together.push(parameter);
                }
            }
            let mut rng = generator(self.seed, Purpose::SearchTpe, trial_number, 0);
            self.draw_together(&together, &split, &mut rng, &mut assignment);
        }
        for (index, parameter) in space.parameters().iter().enumerate() {
            if !is_drawn[index] && parameter.is_active(&assignment) {
                let mut rng = generator(self.seed, Purpose::SearchTpe, trial_number, index as u64);
                self.draw_together(&[parameter], &split, &mut rng, &mut assignment);
            }
        }
        assignment
    }

    /// Splits the trials into good ones and others, or returns `None` if too few are finished.
    fn split_trials<'a>(&self, trials: &'a [Trial], trial_number: u64) -> Option<Split<'a>> {
        let ranked = rank_trials(trials, self.objective);
        if ranked.is_empty() || ranked.len() < self.settings.startup_trials {
            return None;
        }
        let good_count = ranked.len().div_ceil(TRIALS_PER_GOOD_TRIAL).min(MAX_GOOD_TRIALS);
        let mut split = Split { good: Vec::new(), other: Vec::new() };
        for (place, (_, trial)) in ranked.into_iter().enumerate() {
            if place < good_count {
                split.good.push(trial);
            } else {
                split.other.push(trial);
            }
        }
        for trial in trials {
            if trial.outcome == Outcome::Running && trial.number != trial_number {
                split.other.push(trial);
            }
        }
        split.good.sort_by_key(|trial| trial.number);
        split.other.sort_by_key(|trial| trial.number);
        Some(split)
    }

    /// Draws values of hyperparameters by one density over all of them.
    fn draw_together(
        &self,
        parameters: &[&Parameter],
        split: &Split<'_>,
        rng: &mut ChaCha8Rng,
        assignment: &mut Assignment,
    ) {
        let mut searched = Vec::new();
        let mut domains = Vec::new();
        for &parameter in parameters {
            if parameter.domain.is_single() {
                assignment.set(&parameter.name, parameter.domain.text_at(0.0));
            } else {
                searched.push(parameter);
                domains.push(&parameter.domain);
            }
        }
        if searched.is_empty() {
            return;
        }
        let good = ParzenEstimator::build(&domains, &collect_points(&searched, &split.good));
        let other = ParzenEstimator::build(&domains, &collect_points(&searched, &split.other));
        let mut chosen = good.draw_point(rng);
        let mut highest_ratio = good.log_density(&chosen) - other.log_density(&chosen);
        for _ in 1..self.settings.candidates {
            let candidate = good.draw_point(rng);
            let ratio = good.log_density(&candidate) - other.log_density(&candidate);
            if ratio > highest_ratio {
                highest_ratio = ratio;
                chosen = candidate;
            }
        }
        for (parameter, position) in searched.into_iter().zip(chosen) {
            assignment.set(&parameter.name, parameter.domain.text_at(position));
        }
    }
}

/// Returns the positions of the trials that have a value of every hyperparameter, in their order.
fn collect_points(parameters: &[&Parameter], trials: &[&Trial]) -> Vec<Vec<f64>> {
    let mut points = Vec::new();
    for trial in trials {
        let mut point = Vec::new();
        for parameter in parameters {
            let text = trial.assignment.get(&parameter.name);
            point.extend(text.and_then(|text| parameter.domain.position_of(text)));
        }
        if point.len() == parameters.len() {
            points.push(point);
        }
    }
    points
}
