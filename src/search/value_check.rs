//! Check of ranges against the program whose hyperparameters they are.

use std::collections::BTreeMap;

use super::number_range::NumberKind;
use super::random::RandomSampler;
use super::space::{Domain, SearchSpace};

/// Sets of values with which the ends of each range are checked.
const CHECKED_FILLINGS: u64 = 32;

/// Rules of the program that is trained.
#[derive(Clone, Copy)]
pub struct ProgramRules<'a> {
    /// Returns what the program refuses of a job's hyperparameters.
    pub find_problems: &'a dyn Fn(&BTreeMap<String, String>) -> Vec<String>,
    /// Returns true for a hyperparameter that is a whole number.
    pub is_whole_number: &'a dyn Fn(&str) -> bool,
}

/// Problems that a program finds in ranges, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValueProblems {
    /// Problems of the hyperparameters that all trials share, whatever the searched ones are.
    pub of_shared: Vec<String>,
    /// Problems of the ranges.
    pub of_ranges: Vec<String>,
}

/// Returns true if a text has a name as a word of its own, and not as a part of a longer one.
fn names_word(text: &str, name: &str) -> bool {
    text.split(|sign: char| !sign.is_alphanumeric() && sign != '_').any(|word| word == name)
}

/// Finds what the program refuses of the ends of the ranges, and of what all trials share. The other
/// ranges have some of their values meanwhile: what one allows may depend on another.
pub fn find_value_problems(
    space: &SearchSpace,
    shared: &BTreeMap<String, String>,
    rules: ProgramRules<'_>,
) -> ValueProblems {
    let sampler = RandomSampler::new(0);
    let mut fillings = Vec::new();
    for number in 0..CHECKED_FILLINGS {
        let mut values = shared.clone();
        for (name, value) in sampler.draw_assignment(space, number).iter() {
            values.insert(name.to_owned(), value.to_owned());
        }
        fillings.push(values);
    }
    let mut problems = ValueProblems::default();
    for problem in find_common_problems(&fillings, rules) {
        let names_range =
            space.parameters().iter().any(|parameter| names_word(&problem, &parameter.name));
        if !names_range {
            problems.of_shared.push(problem);
        }
    }
    for parameter in space.parameters() {
        let is_fraction = matches!(
            &parameter.domain,
            Domain::Number(range) if range.kind() == NumberKind::Continuous
        );
        if is_fraction && (rules.is_whole_number)(&parameter.name) {
            let name = &parameter.name;
            problems.of_ranges.push(format!(
                "{name} is a whole number; move its range to IntegerParameterRanges"
            ));
            continue;
        }
        for value in parameter.boundary_values() {
            // The problems of the filling that has the fewest.
            let mut fewest: Option<Vec<String>> = None;
            for filling in &fillings {
                let mut values = filling.clone();
                values.insert(parameter.name.clone(), value.clone());
                let found = (rules.find_problems)(&values);
                if fewest.as_ref().is_none_or(|fewest| found.len() < fewest.len()) {
                    fewest = Some(found);
                }
            }
            for problem in fewest.unwrap_or_default() {
                if !problems.of_shared.contains(&problem) && !problems.of_ranges.contains(&problem)
                {
                    problems.of_ranges.push(problem);
                }
            }
        }
    }
    problems
}

/// Returns the problems that all of these sets of values have.
fn find_common_problems(
    fillings: &[BTreeMap<String, String>],
    rules: ProgramRules<'_>,
) -> Vec<String> {
    let Some((first, others)) = fillings.split_first() else { return Vec::new() };
    let mut common = (rules.find_problems)(first);
    for values in others {
        if common.is_empty() {
            break;
        }
        let problems = (rules.find_problems)(values);
        common.retain(|problem| problems.contains(problem));
    }
    common
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::search::read_parameter_ranges;

    #[test]
    fn problems_are_told_once_and_where_they_belong() {
        let space = read_parameter_ranges(&json!({
            "ContinuousParameterRanges": [
                {"Name": "rate", "MinValue": "0.5", "MaxValue": "2"},
                {"Name": "epochs", "MinValue": "1", "MaxValue": "9"}
            ],
            "CategoricalParameterRanges": [{"Name": "rule", "Values": ["sgd", "newton"]}]
        }))
        .unwrap();
        let refuses = |values: &BTreeMap<String, String>| {
            let mut problems = Vec::new();
            if values
                .get("rate")
                .and_then(|text| text.parse().ok())
                .is_some_and(|rate: f64| rate > 1.0)
            {
                problems.push(format!("rate is {}", values["rate"]));
            }
            if values.get("rule").is_some_and(|rule| rule == "newton") {
                problems.push("rule is newton".to_owned());
            }
            if !values.contains_key("classes") {
                problems.push("classes is missing".to_owned());
            }
            problems
        };
        let rules =
            ProgramRules { find_problems: &refuses, is_whole_number: &|name| name == "epochs" };
        let problems = find_value_problems(&space, &BTreeMap::new(), rules);
        assert_eq!(problems.of_shared, ["classes is missing"]);
        let expected = [
            "rate is 2.0",
            "epochs is a whole number; move its range to IntegerParameterRanges",
            "rule is newton",
        ];
        assert_eq!(problems.of_ranges, expected);
    }
}
