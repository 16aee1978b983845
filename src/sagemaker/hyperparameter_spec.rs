//! A table of settings: name, what is allowed, default. One table serves parsing, messages, and
//! whatever else describes the settings.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Problems, Result, did_you_mean};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct HyperparameterSpec {
    /// Its key.
    pub name: &'static str,
    /// What its value may be.
    pub allowed: AllowedValues,
    /// The value when the key is absent.
    pub default: DefaultValue,
    /// Whether the built-in lacks it.
    pub is_extension: bool,
    /// One sentence on what it does, with units.
    pub description: &'static str,
}

/// What happens when a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This value is taken.
    Value(&'static str),
    /// The setting stays unset.
    None,
    /// That is a problem.
    Required,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AllowedValues {
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
    /// True or False, in any case.
    Boolean,
    /// A whole number, bounds included.
    Integer(u64, u64),
    /// Whole numbers separated by commas, bounds included; nothing at all is as good as absent.
    Integers(u64, u64),
    /// `low < value <= high` for `true`, `low <= value <= high` for `false`.
    Number {
        /// The least value, or what it must be above.
        low: f64,
        /// The largest value.
        high: f64,
        /// Whether `low` itself is out of range.
        exclusive_low: bool,
    },
    /// Any text.
    Text,
}

impl fmt::Display for AllowedValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(words) => f.write_str(&words.join(", ")),
            Self::Boolean => f.write_str("True, False"),
            Self::Integer(low, high) => write!(f, "a whole number from {low} to {high}"),
            Self::Integers(low, high) => {
                write!(f, "whole numbers from {low} to {high}, separated by commas")
            }
            Self::Number { low, high, exclusive_low: true } => {
                write!(f, "a number above {low} and up to {high}")
            }
            Self::Number { low, high, exclusive_low: false } => {
                write!(f, "a number from {low} to {high}")
            }
            Self::Text => f.write_str("text"),
        }
    }
}

/// A checked value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum CheckedValue {
    Word(&'static str),
    Boolean(bool),
    Integer(u64),
    Integers(Vec<u64>),
    Number(f64),
    Text(String),
}

impl AllowedValues {
    fn parse(self, text: &str) -> Option<CheckedValue> {
        match self {
            Self::OneOf(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|w| CheckedValue::Word(w)),
            Self::Boolean => text.to_ascii_lowercase().parse().ok().map(CheckedValue::Boolean),
            Self::Integer(low, high) => parse_integer(text, low, high).map(CheckedValue::Integer),
            Self::Integers(low, high) => {
                let items = text.split(',').filter(|_| !text.is_empty());
                let numbers: Option<Vec<u64>> =
                    items.map(|item| parse_integer(item.trim(), low, high)).collect();
                numbers.map(CheckedValue::Integers)
            }
            Self::Number { low, high, exclusive_low } => {
                let value: f64 = text.parse().ok()?;
                let is_above_low = if exclusive_low { value > low } else { value >= low };
                (is_above_low && value <= high).then_some(CheckedValue::Number(value))
            }
            Self::Text => Some(CheckedValue::Text(text.to_owned())),
        }
    }
}

fn parse_integer(text: &str, low: u64, high: u64) -> Option<u64> {
    // A tuner may send 16.0 for a whole number.
    let value = text.strip_suffix(".0").unwrap_or(text).parse().ok()?;
    (low <= value && value <= high).then_some(value)
}

/// The values of a table's settings after checking.
#[derive(Debug)]
pub(super) struct CheckedValues(BTreeMap<&'static str, CheckedValue>);

/// Checks `raw` against `table`; unknown keys go to `unknown`, which words the problem. What is
/// right is among the values even when something else is wrong.
pub(super) fn check_hyperparameters(
    specs: &'static [HyperparameterSpec],
    raw: &BTreeMap<String, String>,
    describe_unknown: impl Fn(&str) -> Option<String>,
) -> (CheckedValues, Problems) {
    let mut problems = Problems::new();
    for key in raw.keys() {
        let is_known = specs.iter().any(|setting| setting.name == key);
        if let Some(problem) = (!is_known).then(|| describe_unknown(key)).flatten() {
            problems.push(problem);
        }
    }
    let mut values = BTreeMap::new();
    for spec in specs {
        let given_text = raw.get(spec.name).map(String::as_str);
        let Some(text) = given_text.or(match spec.default {
            DefaultValue::Value(text) => Some(text),
            DefaultValue::None | DefaultValue::Required => None,
        }) else {
            if spec.default == DefaultValue::Required {
                let HyperparameterSpec { name, allowed, description, .. } = spec;
                problems.push(format!("{name} is missing; it must be {allowed}: {description}"));
            }
            continue;
        };
        if let Some(value) = spec.allowed.parse(text) {
            values.insert(spec.name, value);
        } else {
            let hint = match spec.allowed {
                AllowedValues::OneOf(words) => did_you_mean(text, words.iter().copied()),
                _ => String::new(),
            };
            let HyperparameterSpec { name, allowed, .. } = spec;
            problems.push(format!("{name} is {text:?}; allowed: {allowed}{hint}"));
        }
    }
    (CheckedValues(values), problems)
}

impl CheckedValues {
    fn get(&self, name: &str) -> Result<&CheckedValue> {
        self.0.get(name).ok_or_else(|| Error::internal(format!("setting {name} has no value")))
    }

    pub(super) fn word(&self, name: &str) -> Result<&'static str> {
        match self.get(name)? {
            CheckedValue::Word(word) => Ok(word),
            other => Err(type_mismatch_error(name, other)),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<bool> {
        match self.get(name)? {
            CheckedValue::Boolean(value) => Ok(*value),
            other => Err(type_mismatch_error(name, other)),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Result<u64> {
        match self.get(name)? {
            CheckedValue::Integer(value) => Ok(*value),
            other => Err(type_mismatch_error(name, other)),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<f64> {
        match self.get(name)? {
            CheckedValue::Number(value) => Ok(*value),
            other => Err(type_mismatch_error(name, other)),
        }
    }

    /// The numbers of a list, none when it is absent.
    pub(super) fn integers(&self, name: &str) -> &[u64] {
        match self.0.get(name) {
            Some(CheckedValue::Integers(numbers)) => numbers,
            _ => &[],
        }
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(CheckedValue::Text(text)) => Some(text),
            _ => None,
        }
    }
}

fn type_mismatch_error(name: &str, value: &CheckedValue) -> Error {
    Error::internal(format!("setting {name} was read as another type than the table's: {value:?}"))
}
