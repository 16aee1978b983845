//! The search space: hyperparameters with their ranges, some of them only under a condition.

use std::collections::BTreeSet;

use super::assignment::Assignment;
use super::number_range::NumberRange;
use crate::error::{Problems, Result, did_you_mean};

/// Largest number of hyperparameters in a search, as in the service.
pub const MAX_PARAMETERS: usize = 30;

/// Hyperparameters that are searched, each after the one that its condition names.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSpace {
    parameters: Vec<Parameter>,
}

/// One hyperparameter that is searched.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name of the hyperparameter.
    pub name: String,
    /// Values that it may have.
    pub domain: Domain,
    /// Condition without which it has no value; none if it always has one.
    pub condition: Option<Condition>,
}

/// Values that a hyperparameter may have.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// Numbers between two bounds.
    Number(NumberRange),
    /// One of these words, which are at least one and all different.
    Categorical(Vec<String>),
}

/// Condition of a hyperparameter: another one, the parent, has one of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Name of the parent, which is categorical.
    pub parent: String,
    /// Values of the parent under which the hyperparameter has a value.
    pub values: Vec<String>,
}

impl SearchSpace {
    /// Creates a space after checking it: 1 to 30 hyperparameters with different names, each
    /// with values, whose conditions name categorical ones and values of theirs, and do not run in a
    /// circle.
    pub fn new(parameters: Vec<Parameter>) -> Result<Self> {
        let mut problems = Problems::new();
        check_count(parameters.len(), &mut problems);
        check_names(parameters.iter().map(|parameter| parameter.name.as_str()), &mut problems);
        check_conditions(&parameters, &BTreeSet::new(), &mut problems);
        for Parameter { name, domain, .. } in &parameters {
            if matches!(domain, Domain::Categorical(words) if words.is_empty()) {
                problems.push(format!("{name} has no values; give at least one"));
            }
        }
        problems.into_result()?;
        Ok(Self { parameters: order_parents_first(parameters).0 })
    }

    /// Returns the hyperparameters, parents before those that depend on them, else in the order in
    /// which they were declared.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }
}

impl Parameter {
    /// Returns true if the values drawn so far fulfill the condition, or there is none.
    pub fn is_active(&self, assignment: &Assignment) -> bool {
        let Some(condition) = &self.condition else { return true };
        match assignment.get(&condition.parent) {
            Some(value) => condition.values.iter().any(|allowed| allowed == value),
            None => false,
        }
    }

    /// Returns the texts of both bounds, or every word, for a check against a table of allowed
    /// values: what allows them allows the values between.
    pub fn boundary_values(&self) -> Vec<String> {
        match &self.domain {
            Domain::Number(range) => {
                vec![range.format_value(range.min()), range.format_value(range.max())]
            }
            Domain::Categorical(words) => words.clone(),
        }
    }
}

impl Domain {
    /// Returns true if there is only one value.
    pub fn is_single(&self) -> bool {
        match self {
            Self::Number(range) => range.is_single(),
            Self::Categorical(words) => words.len() == 1,
        }
    }

    /// Returns the position of a text's value: on the scale of a range, or the index of a word.
    /// `None` if the text is no value of this domain, for example one of an earlier search.
    pub(super) fn position_of(&self, text: &str) -> Option<f64> {
        match self {
            Self::Number(range) => {
                let (low, high) = range.positions();
                Some(range.position(range.parse_value(text)?).clamp(low, high))
            }
            Self::Categorical(words) => {
                words.iter().position(|word| word == text).map(|index| index as f64)
            }
        }
    }

    /// Returns the text of the value at a position.
    pub(super) fn text_at(&self, position: f64) -> String {
        match self {
            Self::Number(range) => range.format_value(range.value_at(position)),
            Self::Categorical(words) => {
                words.get(position as usize).or(words.last()).cloned().unwrap_or_default()
            }
        }
    }
}

/// Tells a number of hyperparameters that is none or too large.
pub(super) fn check_count(count: usize, problems: &mut Problems) {
    if count == 0 {
        problems.push("the search has no ranges; give at least one hyperparameter a range");
    } else if count > MAX_PARAMETERS {
        problems.push(format!(
            "the search has {count} ranges; allowed: up to {MAX_PARAMETERS}; fix the values of some"
        ));
    }
}

/// Tells names that occur more than once.
pub(super) fn check_names<'a>(names: impl Iterator<Item = &'a str>, problems: &mut Problems) {
    let mut seen = BTreeSet::new();
    let mut told = BTreeSet::new();
    for name in names {
        if !seen.insert(name) && told.insert(name) {
            problems.push(format!("{name:?} has more than one range; leave one of them"));
        }
    }
}

/// Tells conditions that cannot be. Parents among `broken_names` have ranges with problems that were
/// told already, so that nothing can be said about conditions on them.
pub(super) fn check_conditions(
    parameters: &[Parameter],
    broken_names: &BTreeSet<String>,
    problems: &mut Problems,
) {
    for parameter in parameters {
        if let Some(condition) = &parameter.condition
            && !broken_names.contains(&condition.parent)
        {
            check_condition(parameter, condition, parameters, problems);
        }
    }
    let (_, in_circles) = order_parents_first(parameters.to_vec());
    if !in_circles.is_empty() {
        let names: Vec<&str> = in_circles.iter().map(|parameter| parameter.name.as_str()).collect();
        problems.push(format!(
            "the conditions of {} run in a circle, so that none of them could be drawn first; take \
             one away",
            names.join(", ")
        ));
    }
}

/// Tells a condition whose parent is unknown or no category, and values that the parent never has.
fn check_condition(
    parameter: &Parameter,
    condition: &Condition,
    parameters: &[Parameter],
    problems: &mut Problems,
) {
    let name = &parameter.name;
    let parent = &condition.parent;
    let Some(found) = parameters.iter().find(|other| other.name == *parent) else {
        let mut names = Vec::new();
        for other in parameters {
            if matches!(other.domain, Domain::Categorical(_)) && other.name != *name {
                names.push(other.name.as_str());
            }
        }
        problems.push(format!(
            "{name}: Condition names {parent:?}, which has no range{}; allowed: a categorical \
             hyperparameter of the search",
            did_you_mean(parent, names)
        ));
        return;
    };
    let Domain::Categorical(words) = &found.domain else {
        problems.push(format!(
            "{name}: Condition names {parent:?}, which is a range of numbers; allowed: a categorical \
             hyperparameter"
        ));
        return;
    };
    for value in &condition.values {
        if !words.contains(value) {
            let hint = did_you_mean(value, words.iter().map(String::as_str));
            problems.push(format!(
                "{name}: Condition has the value {value:?}, which {parent} never has{hint}; allowed: \
                 {}",
                words.join(", ")
            ));
        }
    }
}

/// Orders hyperparameters so that parents come first, and returns those whose conditions run in a
/// circle, or depend on such ones, apart. A parent that is not declared is taken as drawn.
fn order_parents_first(parameters: Vec<Parameter>) -> (Vec<Parameter>, Vec<Parameter>) {
    let mut ordered: Vec<Parameter> = Vec::new();
    let mut waiting = parameters;
    loop {
        let mut waiting_names = BTreeSet::new();
        for parameter in &waiting {
            waiting_names.insert(parameter.name.clone());
        }
        let before = waiting.len();
        let mut still_waiting = Vec::new();
        for parameter in waiting {
            let parent = parameter.condition.as_ref().map(|condition| &condition.parent);
            if parent.is_some_and(|parent| waiting_names.contains(parent)) {
                still_waiting.push(parameter);
            } else {
                ordered.push(parameter);
            }
        }
        waiting = still_waiting;
        if waiting.len() == before || waiting.is_empty() {
            return (ordered, waiting);
        }
    }
}
