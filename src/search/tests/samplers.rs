//! Tests of the samplers.

use serde_json::json;

use crate::search::space::SearchSpace;
use crate::search::{
    Assignment, Objective, Outcome, RandomSampler, TpeSampler, TpeSettings, Trial,
    read_parameter_ranges,
};

fn space() -> SearchSpace {
    read_parameter_ranges(&json!({
        "IntegerParameterRanges": [{"Name": "n", "MinValue": 1, "MaxValue": 4}],
        "ContinuousParameterRanges": [
            {"Name": "lr", "MinValue": "0.0001", "MaxValue": "1"},
            {"Name": "fixed", "MinValue": "0.25", "MaxValue": "0.25"},
        ],
        "CategoricalParameterRanges": [{"Name": "kind", "Values": ["a", "b"]}],
    }))
    .unwrap()
}

fn number(assignment: &Assignment, name: &str) -> f64 {
    assignment.get(name).unwrap().parse().unwrap()
}

/// Scores that are best at lr 0.01, n 3 and kind b.
fn score(assignment: &Assignment) -> f64 {
    let kind = if assignment.get("kind") == Some("b") { 0.0 } else { 1.0 };
    (number(assignment, "lr").log10() + 2.0).powi(2) + (number(assignment, "n") - 3.0).abs() + kind
}

fn finished_trials(count: u64) -> Vec<Trial> {
    let mut trials = Vec::new();
    for trial_number in 0..count {
        let assignment = RandomSampler::new(11).draw_assignment(&space(), trial_number);
        let loss = score(&assignment);
        trials.push(Trial::new(trial_number, assignment).complete(loss));
    }
    trials
}

fn sampler(seed: u64) -> TpeSampler {
    TpeSampler::new(seed, Objective::Minimize, TpeSettings::default())
}

#[test]
fn random_draws_depend_on_seed_and_number_alone() {
    let draw = |seed, number| RandomSampler::new(seed).draw_assignment(&space(), number);
    assert_eq!(draw(1, 5), draw(1, 5));
    assert_ne!(draw(1, 5), draw(2, 5));
    assert_ne!(draw(1, 5), draw(1, 6));
    // The draws are part of the meaning of a seed.
    let drawn = draw(1, 5);
    assert_eq!(drawn.get("fixed"), Some("0.25"));
    assert_eq!(drawn.get("n"), Some("3"));
    assert_eq!(drawn.get("kind"), Some("a"));
    // The exponential function of the machine may differ in its last digit.
    assert!((number(&drawn, "lr") / 0.000_146_055_777_045_865_26 - 1.0).abs() < 1e-12, "{drawn:?}");
}

#[test]
fn random_draws_are_uniform_on_the_scale() {
    let mut counts = [0; 4];
    let mut below = 0;
    for trial_number in 0..4000 {
        let drawn = RandomSampler::new(2).draw_assignment(&space(), trial_number);
        counts[number(&drawn, "n") as usize - 1] += 1;
        if number(&drawn, "lr") < 0.01 {
            below += 1;
        }
    }
    // Four standard deviations.
    for count in counts {
        assert!((890..1110).contains(&count), "{counts:?}");
    }
    assert!((1873..2127).contains(&below), "{below}");
}

#[test]
fn the_first_trials_are_random_ones_and_later_ones_learn() {
    let trials = finished_trials(30);
    let random = RandomSampler::new(4).draw_assignment(&space(), 9);
    assert_eq!(sampler(4).draw_assignment(&space(), &trials[..9], 9), random);
    assert_ne!(sampler(4).draw_assignment(&space(), &trials[..10], 9), random);

    let (mut learned, mut blind) = (0.0, 0.0);
    for trial_number in 30..130 {
        learned += score(&sampler(4).draw_assignment(&space(), &trials, trial_number));
        blind += score(&RandomSampler::new(4).draw_assignment(&space(), trial_number));
    }
    assert!(learned < 0.6 * blind, "{learned} {blind}");
}

#[test]
fn draws_depend_neither_on_the_order_of_the_trials_nor_on_failed_ones() {
    let mut trials = finished_trials(20);
    let expected = sampler(4).draw_assignment(&space(), &trials, 21);
    assert_eq!(sampler(4).draw_assignment(&space(), &trials, 21), expected);
    trials.reverse();
    let mut failed = trials[3].clone();
    failed.number = 20;
    failed.outcome = Outcome::Failed;
    trials.push(failed);
    trials.push(Trial::new(21, Assignment::new()));
    assert_eq!(sampler(4).draw_assignment(&space(), &trials, 21), expected);
}

#[test]
fn directions_mirror_each_other() {
    let trials = finished_trials(20);
    let mut mirrored = trials.clone();
    for trial in &mut mirrored {
        let Outcome::Complete(value) = trial.outcome else { continue };
        trial.outcome = Outcome::Complete(-value);
    }
    let maximizing = TpeSampler::new(4, Objective::Maximize, TpeSettings::default());
    assert_eq!(
        maximizing.draw_assignment(&space(), &mirrored, 20),
        sampler(4).draw_assignment(&space(), &trials, 20)
    );
}

#[test]
fn trials_that_run_keep_others_away_from_their_values() {
    let trials = finished_trials(20);
    let spread = |trials: &[Trial]| {
        let mut near_best = 0;
        for trial_number in 40..140 {
            let drawn = sampler(9).draw_assignment(&space(), trials, trial_number);
            if (number(&drawn, "lr").log10() + 2.0).abs() < 0.3 {
                near_best += 1;
            }
        }
        near_best
    };
    let mut with_running = trials.clone();
    for trial_number in 20..30 {
        let values = [("lr", "0.01"), ("n", "3"), ("kind", "b"), ("fixed", "0.25")];
        with_running.push(Trial::new(trial_number, Assignment::from_iter(values)));
    }
    let (without, with) = (spread(&trials), spread(&with_running));
    assert!(with < without, "{with} of 100 near running trials, {without} without them");
}

#[test]
fn values_of_other_searches_are_left_out() {
    let mut trials = finished_trials(20);
    let expected = sampler(4).draw_assignment(&space(), &trials, 30);
    // A worse trial whose values this space does not have.
    let values = [("lr", "7"), ("n", "2.5"), ("kind", "z"), ("other", "1")];
    trials[19] = Trial::new(19, Assignment::from_iter(values)).complete(1e9);
    let drawn = sampler(4).draw_assignment(&space(), &trials, 30);
    assert_eq!(drawn.len(), expected.len());
}
