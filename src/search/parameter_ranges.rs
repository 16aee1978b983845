//! Ranges in the form of SageMaker's `ParameterRanges` (API `CreateHyperParameterTuningJob`), with
//! one key of our own: `Condition`.
//!
//! ```json
//! {
//!   "IntegerParameterRanges": [
//!     {"Name": "mini_batch_size", "MinValue": "4", "MaxValue": "64", "ScalingType": "Logarithmic"}
//!   ],
//!   "ContinuousParameterRanges": [
//!     {"Name": "learning_rate", "MinValue": "0.0001", "MaxValue": "0.1"},
//!     {"Name": "momentum", "MinValue": "0.8", "MaxValue": "0.99",
//!      "ScalingType": "ReverseLogarithmic", "Condition": {"Name": "optimizer", "Values": ["sgd"]}}
//!   ],
//!   "CategoricalParameterRanges": [
//!     {"Name": "optimizer", "Values": ["sgd", "adamw"]}
//!   ]
//! }
//! ```
//!
//! Bounds are strings, as in the service, or JSON numbers. `ScalingType` is `Auto` when it is absent.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::number_range::{NumberKind, NumberRange, ScalingType};
use super::space::{
    Condition, Domain, Parameter, SearchSpace, check_conditions, check_count, check_names,
};
use crate::error::{Error, ErrorContext, Problems, Result, did_you_mean};

const LIST_KEYS: [&str; 4] = [
    "IntegerParameterRanges",
    "ContinuousParameterRanges",
    "CategoricalParameterRanges",
    "AutoParameters",
];

const NUMBER_KEYS: [&str; 5] = ["Name", "MinValue", "MaxValue", "ScalingType", "Condition"];

const CATEGORICAL_KEYS: [&str; 3] = ["Name", "Values", "Condition"];

const CONDITION_KEYS: [&str; 2] = ["Name", "Values"];

/// Longest name and longest value, in characters, of the service.
const MAX_TEXT_CHARS: usize = 256;

/// Largest number of values of a categorical hyperparameter, of the service.
const MAX_VALUES: usize = 30;

/// Kind of the entries of a list.
#[derive(Debug, Clone, Copy)]
enum RangeKind {
    Number(NumberKind),
    Categorical,
}

/// Reads ranges, and tells all problems at once.
pub fn read_parameter_ranges(ranges: &Value) -> Result<SearchSpace> {
    let Some(lists) = ranges.as_object() else {
        return Err(Error::input(format!(
            "ParameterRanges is {}; allowed: an object with {}",
            describe(ranges),
            LIST_KEYS[..3].join(", ")
        )));
    };
    let mut problems = Problems::new();
    check_keys(lists, &LIST_KEYS, "ParameterRanges", &mut problems);
    check_auto_parameters(lists, &mut problems);

    let mut names = Vec::new();
    let mut parameters = Vec::new();
    let mut broken_names = BTreeSet::new();
    let mut count = 0;
    let list_kinds = [
        RangeKind::Number(NumberKind::Integer),
        RangeKind::Number(NumberKind::Continuous),
        RangeKind::Categorical,
    ];
    for (key, kind) in LIST_KEYS.into_iter().zip(list_kinds) {
        let Some(entries) = get_list(lists, key, &mut problems) else { continue };
        count += entries.len();
        for (index, entry) in entries.iter().enumerate() {
            let name = entry.get("Name").and_then(Value::as_str);
            let place = match name {
                Some(name) => format!("{key}[{index}] ({name})"),
                None => format!("{key}[{index}]"),
            };
            names.extend(name);
            match problems.record_err(read_range(entry, kind).error_context(place)) {
                Some(parameter) => parameters.push(parameter),
                None => broken_names.extend(name.map(str::to_owned)),
            }
        }
    }
    // A list that is none was told already; its ranges must not be told to be missing.
    if count > 0 || problems.is_empty() {
        check_count(count, &mut problems);
    }
    check_names(names.into_iter(), &mut problems);
    check_conditions(&parameters, &broken_names, &mut problems);
    problems.into_result()?;
    SearchSpace::new(parameters)
}

/// Tells ranges that the service would choose by itself.
fn check_auto_parameters(lists: &Map<String, Value>, problems: &mut Problems) {
    let is_empty = match lists.get("AutoParameters") {
        None => true,
        Some(list) => list.as_array().is_some_and(Vec::is_empty),
    };
    if !is_empty {
        problems.push(
            "AutoParameters is given: the service chooses these ranges by rules that it keeps to \
             itself; give each of the hyperparameters a range in IntegerParameterRanges, \
             ContinuousParameterRanges or CategoricalParameterRanges",
        );
    }
}

/// Reads one entry of a list.
fn read_range(entry: &Value, kind: RangeKind) -> Result<Parameter> {
    let Some(fields) = entry.as_object() else {
        return Err(Error::input(format!("is {}; allowed: an object", describe(entry))));
    };
    let mut problems = Problems::new();
    let known_keys = match kind {
        RangeKind::Number(_) => NUMBER_KEYS.as_slice(),
        RangeKind::Categorical => CATEGORICAL_KEYS.as_slice(),
    };
    check_keys(fields, known_keys, "the range", &mut problems);
    let name = problems.check(read_name(fields));
    let domain = problems.check(match kind {
        RangeKind::Number(kind) => read_number_range(fields, kind).map(Domain::Number),
        RangeKind::Categorical => read_words(fields).map(Domain::Categorical),
    });
    let condition = problems.check(match fields.get("Condition") {
        Some(condition) => read_condition(condition).error_context("Condition").map(Some),
        None => Ok(None),
    });
    let (name, domain, condition) = problems.finish_with((name, domain, condition))?;
    Ok(Parameter { name, domain, condition })
}

/// Reads bounds and scale of a range of numbers.
fn read_number_range(fields: &Map<String, Value>, kind: NumberKind) -> Result<NumberRange> {
    let mut problems = Problems::new();
    let min = problems.check(read_number(fields, "MinValue", kind));
    let max = problems.check(read_number(fields, "MaxValue", kind));
    let scaling = problems.check(read_scaling(fields));
    let (min, max, scaling) = problems.finish_with((min, max, scaling))?;
    NumberRange::new(kind, min, max, scaling)
}

/// Reads a bound, which is a JSON number or a string that holds one.
fn read_number(fields: &Map<String, Value>, key: &str, kind: NumberKind) -> Result<f64> {
    let allowed = match kind {
        NumberKind::Integer => "a whole number, such as \"16\"",
        NumberKind::Continuous => "a finite number, such as \"0.01\"",
    };
    let Some(value) = fields.get(key) else {
        return Err(Error::input(format!("{key} is missing; give {allowed}")));
    };
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    match number.filter(|number: &f64| number.is_finite()) {
        Some(number) => Ok(number),
        None => Err(Error::input(format!("{key} is {}; allowed: {allowed}", describe(value)))),
    }
}

/// Reads the scale, which is `Auto` when it is absent.
fn read_scaling(fields: &Map<String, Value>) -> Result<ScalingType> {
    let Some(value) = fields.get("ScalingType") else { return Ok(ScalingType::Auto) };
    let name = value.as_str().unwrap_or_default();
    if let Some(scaling) = ScalingType::from_name(name) {
        return Ok(scaling);
    }
    let names = ScalingType::ALL.map(ScalingType::name);
    Err(Error::input(format!(
        "ScalingType is {}{}; allowed: {}",
        describe(value),
        did_you_mean(name, names),
        names.join(", ")
    )))
}

/// Reads the words of a categorical hyperparameter.
fn read_words(fields: &Map<String, Value>) -> Result<Vec<String>> {
    let words = read_values(fields)?;
    if words.len() > MAX_VALUES {
        let count = words.len();
        return Err(Error::input(format!(
            "Values has {count} values; allowed: up to {MAX_VALUES}; leave some out"
        )));
    }
    Ok(words)
}

/// Reads a condition.
fn read_condition(condition: &Value) -> Result<Condition> {
    let Some(fields) = condition.as_object() else {
        return Err(Error::input(format!(
            "is {}; allowed: an object with {}",
            describe(condition),
            CONDITION_KEYS.join(", ")
        )));
    };
    let mut problems = Problems::new();
    check_keys(fields, &CONDITION_KEYS, "the condition", &mut problems);
    let parent = problems.check(read_name(fields));
    let values = problems.check(read_values(fields));
    let (parent, values) = problems.finish_with((parent, values))?;
    Ok(Condition { parent, values })
}

/// Reads the name of a hyperparameter.
fn read_name(fields: &Map<String, Value>) -> Result<String> {
    let allowed = format!("1 to {MAX_TEXT_CHARS} characters, the name of a hyperparameter");
    let Some(value) = fields.get("Name") else {
        return Err(Error::input(format!("Name is missing; give {allowed}")));
    };
    match value.as_str() {
        Some(name) if !name.trim().is_empty() && name.chars().count() <= MAX_TEXT_CHARS => {
            Ok(name.to_owned())
        }
        _ => Err(Error::input(format!("Name is {}; allowed: {allowed}", describe(value)))),
    }
}

/// Reads `Values`: texts, or numbers and booleans, which are spelled as in JSON. There is at least
/// one, and all are different.
fn read_values(fields: &Map<String, Value>) -> Result<Vec<String>> {
    let mut problems = Problems::new();
    let Some(given) = fields.get("Values") else {
        return Err(Error::input("Values is missing; give a list of values"));
    };
    let Some(list) = given.as_array().filter(|list| !list.is_empty()) else {
        let found = if given.is_array() { "empty".to_owned() } else { describe(given) };
        return Err(Error::input(format!("Values is {found}; allowed: a list of values")));
    };
    let mut values = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                problems.push(format!("Values[{index}] is {}; allowed: a text", describe(value)));
                continue;
            }
        };
        if text.chars().count() > MAX_TEXT_CHARS {
            problems.push(format!(
                "Values[{index}] has {} characters; allowed: up to {MAX_TEXT_CHARS}",
                text.chars().count()
            ));
        }
        if values.contains(&text) {
            problems.push(format!("Values has {text:?} more than once; leave one of them"));
        } else {
            values.push(text);
        }
    }
    problems.into_result()?;
    Ok(values)
}

/// Returns the entries of a list, or `None` if the key is absent or no list, which is a problem.
fn get_list<'a>(
    lists: &'a Map<String, Value>,
    key: &str,
    problems: &mut Problems,
) -> Option<&'a Vec<Value>> {
    let value = lists.get(key)?;
    let list = value.as_array();
    if list.is_none() {
        problems.push(format!("{key} is {}; allowed: a list of ranges", describe(value)));
    }
    list
}

/// Tells keys that are not among the known ones.
fn check_keys(fields: &Map<String, Value>, known: &[&str], owner: &str, problems: &mut Problems) {
    for key in fields.keys() {
        if !known.contains(&key.as_str()) {
            let hint = did_you_mean(key, known.iter().copied());
            problems.push(format!(
                "{owner} has the unknown key {key:?}{hint}; allowed: {}",
                known.join(", ")
            ));
        }
    }
}

/// Returns how a message names a value: by itself if it is short, else by its type.
fn describe(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string(),
    }
}
