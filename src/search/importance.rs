//! Importance of each hyperparameter: the part of the spread of the trials' scores that it explains.
//!
//! The finished trials are ranked, and each hyperparameter sorts them into groups: by its words, or
//! by bins of its numbers that hold about equally many trials. The importance is the share of the
//! ranks' variance that lies between the groups. The raw share, the correlation ratio eta squared,
//! grows with the number of groups even by chance; the share here is Kelley's epsilon squared ("An
//! Unbiased Correlation Ratio Measure", PNAS 21, 1935), which is 0 on average without an effect. On
//! ranks it is a function of the statistic of Kruskal and Wallis (JASA 47, 1952):
//! `(H - k + 1) / (n - k)` for `k` groups of `n` trials.
//!
//! Ranks make the scale of the scores irrelevant, so that one run that diverged does not decide, and
//! they give pruned trials a place: after the complete ones, by how far they came.
//!
//! Limits, which a reader of the figures must know:
//! - Each hyperparameter is looked at alone. An effect that exists only together with another one,
//!   and cancels out otherwise, is not seen; shares need not sum to 1.
//! - The share is that among the trials as they were made. A sampler that learns tries good values
//!   more often and changes several at a time, so that a share may belong to another hyperparameter
//!   that moved along, and a narrow range makes every share small. Random trials tell most.
//! - A hyperparameter with a condition is measured among the trials that have it.
//! - With 60 trials a share below about 0.15 may be chance; [`Importance::chance_deviation`] says
//!   how much chance alone spreads it.

use serde::Serialize;

use super::space::{Domain, Parameter, SearchSpace};
use super::trial::{Objective, Trial, rank_trials};

/// Least number of finished trials for which shares are estimated.
const MIN_TRIALS: usize = 10;

/// Number of trials per bin of numbers at which there are more bins, up to [`MAX_BINS`].
const TRIALS_PER_BIN: usize = 5;

/// Largest number of bins of numbers.
const MAX_BINS: usize = 8;

/// Importance of one hyperparameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Importance {
    /// Name of the hyperparameter.
    pub name: String,
    /// Share of the variance of the trials' ranks that it explains, from 0 to 1; none if fewer than
    /// 10 finished trials have it, if all have the same value, or if all are equally good.
    pub share: Option<f64>,
    /// Standard deviation of the share if the hyperparameter had no effect.
    pub chance_deviation: Option<f64>,
    /// Number of finished trials that have the hyperparameter.
    pub trials: usize,
}

/// Estimates the importance of each hyperparameter from the complete and the pruned trials, the most
/// important first.
pub fn estimate_importances(
    space: &SearchSpace,
    trials: &[Trial],
    objective: Objective,
) -> Vec<Importance> {
    let mut importances = Vec::new();
    for parameter in space.parameters() {
        importances.push(estimate_importance(parameter, trials, objective));
    }
    importances.sort_by(|a, b| {
        let by_share = b.share.unwrap_or(-1.0).total_cmp(&a.share.unwrap_or(-1.0));
        by_share.then_with(|| a.name.cmp(&b.name))
    });
    importances
}

/// Estimates the importance of one hyperparameter.
fn estimate_importance(
    parameter: &Parameter,
    trials: &[Trial],
    objective: Objective,
) -> Importance {
    let mut standings = Vec::new();
    let mut positions = Vec::new();
    for (standing, trial) in rank_trials(trials, objective) {
        let text = trial.assignment.get(&parameter.name);
        if let Some(position) = text.and_then(|text| parameter.domain.position_of(text)) {
            standings.push(standing);
            positions.push(position);
        }
    }
    let ranks = assign_ranks(standings.len(), |a, b| standings[a].compare(&standings[b]));
    let groups = match &parameter.domain {
        Domain::Categorical(_) => positions.iter().map(|&position| position as usize).collect(),
        Domain::Number(_) => bin_positions(&positions),
    };
    let explained = explain_ranks(&ranks, &groups);
    Importance {
        name: parameter.name.clone(),
        share: explained.map(|(share, _)| share),
        chance_deviation: explained.map(|(_, deviation)| deviation),
        trials: ranks.len(),
    }
}

/// Returns the bin of each position. Bins hold about equally many; equal positions share one.
fn bin_positions(positions: &[f64]) -> Vec<usize> {
    let bin_count = (positions.len() / TRIALS_PER_BIN).clamp(1, MAX_BINS);
    let ranks = assign_ranks(positions.len(), |a, b| positions[a].total_cmp(&positions[b]));
    let mut bins = Vec::new();
    for rank in ranks {
        // Ranks are from 1; a half less is the middle of a trial's share of the whole.
        let share = (rank - 0.5) / positions.len() as f64;
        bins.push((share * bin_count as f64) as usize);
    }
    bins
}

/// Returns the rank of each of `count` things, from 1; equal ones have the mean of their ranks.
fn assign_ranks(count: usize, compare: impl Fn(usize, usize) -> std::cmp::Ordering) -> Vec<f64> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| compare(a, b));
    let mut ranks = vec![0.0; count];
    let mut start = 0;
    while start < count {
        let mut end = start + 1;
        while end < count && compare(order[start], order[end]).is_eq() {
            end += 1;
        }
        for &index in &order[start..end] {
            ranks[index] = (start + 1 + end) as f64 / 2.0;
        }
        start = end;
    }
    ranks
}

/// Returns epsilon squared of ranks in groups, at least 0, and its standard deviation by chance; none
/// if there are too few trials, or no groups or ranks to tell apart.
fn explain_ranks(ranks: &[f64], groups: &[usize]) -> Option<(f64, f64)> {
    let trial_count = ranks.len();
    if trial_count < MIN_TRIALS {
        return None;
    }
    let n = trial_count as f64;
    let mean = ranks.iter().sum::<f64>() / n;
    let largest_group = groups.iter().copied().max()?;
    let mut sums = vec![0.0; largest_group + 1];
    let mut sizes = vec![0.0; largest_group + 1];
    let mut total = 0.0;
    for (&rank, &group) in ranks.iter().zip(groups) {
        sums[group] += rank - mean;
        sizes[group] += 1.0;
        total += (rank - mean) * (rank - mean);
    }
    let mut between = 0.0;
    let mut k = 0.0;
    for (sum, size) in sums.iter().zip(sizes) {
        if size > 0.0 {
            between += sum * sum / size;
            k += 1.0;
        }
    }
    if k < 2.0 || k >= n || total <= 0.0 {
        return None;
    }
    let unexplained = (1.0 - between / total) * (n - 1.0) / (n - k);
    // Without an effect eta squared of normal numbers has the distribution
    // Beta((k - 1) / 2, (n - k) / 2), which is close for ranks.
    let deviation = (2.0 * (k - 1.0) / ((n - k) * (n + 1.0))).sqrt();
    Some(((1.0 - unexplained).max(0.0), deviation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Assignment, Outcome, RandomSampler, read_parameter_ranges};
    use serde_json::json;

    #[test]
    fn a_share_is_that_of_a_hand_computed_table() {
        // Groups {1..5} and {6..10}: mean ranks 3 and 8, between 62.5 of 82.5;
        // H = 9 * 62.5 / 82.5 = 6.818, epsilon squared (H - 1) / 8.
        let ranks: Vec<f64> = (1..=10).map(f64::from).collect();
        let groups = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1];
        let (share, deviation) = explain_ranks(&ranks, &groups).unwrap();
        assert!((share - 0.727_272_7).abs() < 1e-6, "{share}");
        assert!((deviation - 0.150_756).abs() < 1e-6, "{deviation}");
        let alternating = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1];
        assert!(explain_ranks(&ranks, &alternating).unwrap().0.abs() < 1e-9);
        assert_eq!(explain_ranks(&ranks, &[3; 10]), None);
        assert_eq!(explain_ranks(&[5.5; 10], &groups), None);
        assert_eq!(explain_ranks(&ranks[..9], &groups[..9]), None);
    }

    #[test]
    fn equal_things_share_the_mean_of_their_ranks_and_their_bin() {
        let values: [f64; 4] = [2.0, 1.0, 2.0, 3.0];
        let ranks = assign_ranks(4, |a, b| values[a].total_cmp(&values[b]));
        assert_eq!(ranks, [2.5, 1.0, 2.5, 4.0]);
        let bins = bin_positions(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(bins, [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
        assert!(bin_positions(&[]).is_empty());
    }

    #[test]
    fn what_decides_a_score_is_most_important_and_what_does_not_is_within_chance() {
        let space = read_parameter_ranges(&json!({
            "ContinuousParameterRanges": [
                {"Name": "strong", "MinValue": 0.0001, "MaxValue": 1},
                {"Name": "idle", "MinValue": 0, "MaxValue": 1},
                {"Name": "hidden", "MinValue": 0, "MaxValue": 1,
                 "Condition": {"Name": "kind", "Values": ["a"]}},
            ],
            "CategoricalParameterRanges": [{"Name": "kind", "Values": ["a", "b", "c"]}],
        }))
        .unwrap();
        let mut trials = Vec::new();
        for number in 0..200 {
            let assignment = RandomSampler::new(3).draw_assignment(&space, number);
            let value: f64 = assignment.get("strong").unwrap().parse().unwrap();
            let kind = if assignment.get("kind") == Some("a") { 1.0 } else { 0.0 };
            let score = -(value.log10() + 2.0).powi(2) + kind;
            trials.push(Trial::new(number, assignment).complete(score));
        }
        let importances = estimate_importances(&space, &trials, Objective::Maximize);
        let names: Vec<&str> = importances.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names[..2], ["strong", "kind"], "{importances:?}");
        let share = |name: &str| {
            let found = importances.iter().find(|found| found.name == name).unwrap();
            (found.share.unwrap(), found.chance_deviation.unwrap(), found.trials)
        };
        assert!(share("strong").0 > 0.5, "{importances:?}");
        assert!((0.1..0.5).contains(&share("kind").0), "{importances:?}");
        for name in ["idle", "hidden"] {
            let (share, deviation, _) = share(name);
            assert!(share < 3.0 * deviation, "{importances:?}");
        }
        assert!((40..100).contains(&share("hidden").2));
        let reversed = estimate_importances(&space, &trials, Objective::Minimize);
        assert!((reversed[0].share.unwrap() - importances[0].share.unwrap()).abs() < 1e-9);
    }

    #[test]
    fn shares_of_an_idle_hyperparameter_are_near_zero_on_average() {
        let mut mean = 0.0;
        let space = read_parameter_ranges(&json!({
            "ContinuousParameterRanges": [
                {"Name": "idle", "MinValue": 0, "MaxValue": 1},
                {"Name": "score", "MinValue": 0, "MaxValue": 1},
            ],
        }))
        .unwrap();
        for seed in 0..200 {
            let mut ranks = Vec::new();
            let mut positions = Vec::new();
            for number in 0..30 {
                let drawn = RandomSampler::new(seed).draw_assignment(&space, number);
                ranks.push(drawn.get("score").unwrap().parse::<f64>().unwrap());
                positions.push(drawn.get("idle").unwrap().parse::<f64>().unwrap());
            }
            let ranks = assign_ranks(30, |a, b| ranks[a].total_cmp(&ranks[b]));
            mean += explain_ranks(&ranks, &bin_positions(&positions)).unwrap().0 / 200.0;
        }
        // A positive part of a normal number of mean 0 and deviation 0.116 has the mean 0.046.
        assert!(mean < 0.07, "{mean}");
    }

    #[test]
    fn pruned_trials_count_after_complete_ones_and_few_trials_tell_nothing() {
        let space = read_parameter_ranges(&json!({
            "CategoricalParameterRanges": [{"Name": "kind", "Values": ["a", "b"]}],
        }))
        .unwrap();
        let mut trials = Vec::new();
        for number in 0..12 {
            let kind = if number < 6 { "a" } else { "b" };
            let mut trial = Trial::new(number, Assignment::from_iter([("kind", kind)]));
            if number < 6 {
                trial = trial.complete(0.0);
            } else {
                trial.outcome = Outcome::Pruned;
            }
            trials.push(trial);
        }
        let importance =
            |trials: &[Trial]| estimate_importances(&space, trials, Objective::Maximize)[0].clone();
        assert_eq!(importance(&trials).share, Some(1.0));
        assert_eq!(importance(&trials[..9]).share, None);
        assert_eq!(importance(&trials[..9]).trials, 9);
    }
}
