//! The check of raw settings against a table of names, allowed values and defaults. The same table
//! serves parsing, messages, and descriptions of the settings.

use std::collections::BTreeMap;
use std::fmt;

use super::list_text;
use crate::error::{Error, Problems, Result, did_you_mean};

/// One row of a table of settings.
#[derive(Debug, Clone, Copy)]
pub struct HyperparameterSpec {
    /// Key of the setting.
    pub name: &'static str,
    /// Values that are allowed.
    pub allowed: AllowedValues,
    /// Value when the key is absent.
    pub default: DefaultValue,
    /// True if the built-in algorithm has no such setting.
    pub is_extension: bool,
    /// One sentence on the effect, with units.
    pub description: &'static str,
}

/// The value of a setting whose key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// This value, spelled as in `hyperparameters.json`.
    Value(&'static str),
    /// The setting stays unset.
    None,
    /// An absent key is a problem, unless the value is counted elsewhere, as the text says.
    RequiredWithout(&'static str),
}

/// The values that a setting may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AllowedValues {
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
    /// True or False, in any case.
    Boolean,
    /// A whole number between two bounds, bounds included.
    Integer(u64, u64),
    /// Whole numbers between two bounds, separated by commas. An empty text is an empty list.
    Integers(u64, u64),
    /// `low < value <= high` for `true`, `low <= value <= high` for `false`.
    Number {
        /// Lower bound.
        low: f64,
        /// Upper bound, which is allowed.
        high: f64,
        /// True if `low` itself is not allowed.
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

/// A value of one of the kinds of [`AllowedValues`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum CheckedValue {
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
            Self::OneOf(words) => {
                let word = words.iter().find(|word| word.eq_ignore_ascii_case(text))?;
                Some(CheckedValue::Word(word))
            }
            Self::Boolean => text.to_ascii_lowercase().parse().ok().map(CheckedValue::Boolean),
            Self::Integer(low, high) => parse_integer(text, low, high).map(CheckedValue::Integer),
            Self::Integers(low, high) => {
                let text = list_text::join_list(text).ok()?;
                let mut numbers = Vec::new();
                if !text.is_empty() {
                    for item in text.split(',') {
                        numbers.push(parse_integer(item.trim(), low, high)?);
                    }
                }
                Some(CheckedValue::Integers(numbers))
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
pub(crate) struct CheckedValues(BTreeMap<&'static str, CheckedValue>);

/// Checks `raw` against `specs`. `describe_unknown` words the problem with an unknown key, or
/// returns `None` if the key is ignored. The values hold every right setting, even when others are
/// wrong.
pub(crate) fn check_hyperparameters(
    specs: &'static [HyperparameterSpec],
    raw: &BTreeMap<String, String>,
    describe_unknown: impl Fn(&str) -> Option<String>,
) -> (CheckedValues, Problems) {
    let mut problems = Problems::new();
    for key in raw.keys() {
        let is_known = specs.iter().any(|setting| setting.name == key);
        if !is_known && let Some(problem) = describe_unknown(key) {
            problems.push(problem);
        }
    }
    let mut values = BTreeMap::new();
    for spec in specs {
        let given_text = raw.get(spec.name).map(String::as_str);
        let Some(text) = given_text.or(match spec.default {
            DefaultValue::Value(text) => Some(text),
            DefaultValue::None | DefaultValue::RequiredWithout(_) => None,
        }) else {
            if let DefaultValue::RequiredWithout(other) = spec.default {
                let HyperparameterSpec { name, allowed, description, .. } = spec;
                problems.push(format!(
                    "{name} is missing, and so is {other}; give one of them: {name} must be \
                     {allowed}: {description}"
                ));
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
        match self.0.get(name) {
            Some(value) => Ok(value),
            None => Err(Error::internal(format!("setting {name} has no value"))),
        }
    }

    /// Returns an integer that counts something.
    pub(crate) fn count(&self, name: &str) -> Result<usize> {
        Ok(self.integer(name)? as usize)
    }

    pub(crate) fn word(&self, name: &str) -> Result<&'static str> {
        match self.get(name)? {
            CheckedValue::Word(word) => Ok(word),
            other => Err(type_mismatch_error(name, other)),
        }
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<bool> {
        match self.get(name)? {
            CheckedValue::Boolean(value) => Ok(*value),
            other => Err(type_mismatch_error(name, other)),
        }
    }

    pub(crate) fn integer(&self, name: &str) -> Result<u64> {
        match self.get(name)? {
            CheckedValue::Integer(value) => Ok(*value),
            other => Err(type_mismatch_error(name, other)),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<f64> {
        match self.get(name)? {
            CheckedValue::Number(value) => Ok(*value),
            other => Err(type_mismatch_error(name, other)),
        }
    }

    /// Returns the numbers of a list; an absent list is empty.
    pub(crate) fn integers(&self, name: &str) -> &[u64] {
        match self.0.get(name) {
            Some(CheckedValue::Integers(numbers)) => numbers,
            _ => &[],
        }
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(CheckedValue::Text(text)) => Some(text),
            _ => None,
        }
    }
}

fn type_mismatch_error(name: &str, value: &CheckedValue) -> Error {
    Error::internal(format!("setting {name} was read as another type than the table's: {value:?}"))
}
