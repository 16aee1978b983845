//! Pictures of a search: its trials on parallel coordinates, and the importance of each
//! hyperparameter.

use super::importance::Importance;
use super::space::{Domain, Parameter, SearchSpace};
use super::trial::{Objective, Outcome, Trial};
use crate::render::{
    Bar, BarChart, CoordinateAxis, CoordinateLine, ParallelCoordinates, Scene, draw_bar_chart,
    draw_parallel_coordinates,
};

/// Labels of an axis of numbers.
const NUMBER_TICKS: usize = 5;

/// Draws a line for each trial that has ended: its values, and its score on the last axis. Trials that
/// were stopped early or failed are gray.
pub fn draw_trials(
    space: &SearchSpace,
    trials: &[Trial],
    objective: Objective,
    metric: &str,
) -> Scene {
    let mut axes = Vec::new();
    for parameter in space.parameters() {
        axes.push(make_axis(parameter));
    }
    let mut scores = Vec::new();
    for trial in trials {
        scores.extend(trial.score());
    }
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // All scores are the same, or there is none: they lie in the middle.
    let position_of = |score: f64| if high > low { (score - low) / (high - low) } else { 0.5 };
    let mut ticks = Vec::new();
    if scores.is_empty() || low >= high {
        ticks.extend(scores.first().map(|score| (0.5, format!("{score:.4}"))));
    } else {
        for step in 0..NUMBER_TICKS {
            let position = step as f64 / (NUMBER_TICKS - 1) as f64;
            ticks.push((position, format!("{:.4}", low + position * (high - low))));
        }
    }
    axes.push(CoordinateAxis { name: metric.to_owned(), ticks });
    let mut lines = Vec::new();
    for trial in trials {
        if trial.outcome == Outcome::Running {
            continue;
        }
        let mut positions = Vec::new();
        for parameter in space.parameters() {
            let text = trial.assignment.get(&parameter.name);
            positions.push(text.and_then(|text| find_position(&parameter.domain, text)));
        }
        let score = trial.score().map(position_of);
        positions.push(score);
        let share = score.map(|position| match objective {
            Objective::Maximize => position,
            Objective::Minimize => 1.0 - position,
        });
        lines.push(CoordinateLine { positions, share });
    }
    let title = format!("{} trials", lines.len());
    draw_parallel_coordinates(&ParallelCoordinates { title, axes, lines })
}

/// Draws the share of the scores' spread that each hyperparameter explains.
pub fn draw_importances(importances: &[Importance]) -> Scene {
    let mut bars = Vec::new();
    for importance in importances {
        bars.push(Bar { name: importance.name.clone(), value: importance.share, interval: None });
    }
    let title = "Share of the ranks' variance that each hyperparameter explains".to_owned();
    draw_bar_chart(&BarChart { title, bars })
}

fn make_axis(parameter: &Parameter) -> CoordinateAxis {
    let mut ticks = Vec::new();
    match &parameter.domain {
        Domain::Number(range) => {
            let (low, high) = range.positions();
            for step in 0..NUMBER_TICKS {
                let share = step as f64 / (NUMBER_TICKS - 1) as f64;
                let value = range.value_at(low + share * (high - low));
                ticks.push((share, shorten_number(value)));
            }
            ticks.dedup_by(|second, first| second.1 == first.1);
        }
        Domain::Categorical(values) => {
            for value in values {
                ticks.extend(find_position(&parameter.domain, value).map(|y| (y, value.clone())));
            }
        }
    }
    CoordinateAxis { name: parameter.name.clone(), ticks }
}

/// Returns the place of a value on its axis, 0 to 1.
fn find_position(domain: &Domain, text: &str) -> Option<f64> {
    match domain {
        Domain::Number(range) => {
            let (low, high) = range.positions();
            let position = range.position(range.parse_value(text)?);
            Some(if high > low { (position - low) / (high - low) } else { 0.5 })
        }
        Domain::Categorical(values) => {
            let index = values.iter().position(|value| value == text)?;
            let last = values.len().saturating_sub(1);
            Some(if last == 0 { 0.5 } else { index as f64 / last as f64 })
        }
    }
}

/// Returns a number with three digits that count.
fn shorten_number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e5).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = if size == 0.0 { 0 } else { (2 - size.log10().floor() as i32).clamp(0, 5) };
    let text = format!("{value:.*}", digits as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Assignment, estimate_importances, read_parameter_ranges};
    use serde_json::json;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.1, "0.1"),
            (1e-5, "1.00e-5"),
            (12.5, "12.5"),
            (2000.0, "2000"),
            (3.0, "3"),
        ] {
            assert_eq!(shorten_number(value), text);
        }
    }

    #[test]
    fn trials_of_every_end_are_drawn() {
        let space = read_parameter_ranges(&json!({
            "ContinuousParameterRanges": [{"Name": "learning_rate", "MinValue": "1e-5", "MaxValue": "1"}],
            "CategoricalParameterRanges": [{"Name": "optimizer", "Values": ["adam", "sgd"]},
                                           {"Name": "algorithm", "Values": ["fcn"]}]}))
        .unwrap();
        let values = |optimizer: &str| {
            Assignment::from_iter([("learning_rate", "0.01"), ("optimizer", optimizer)])
        };
        let mut trials = vec![Trial::new(0, values("adam")), Trial::new(1, values("sgd"))];
        trials[1].outcome = Outcome::Pruned;
        for count in 0..12 {
            trials.push(Trial::new(count + 2, values("sgd")).complete(count as f64 / 20.0));
            draw_trials(&space, &trials, Objective::Maximize, "validation:mIOU");
        }
        let importances = estimate_importances(&space, &trials, Objective::Maximize);
        assert_eq!(importances.len(), 3);
        draw_importances(&importances);
    }
}
