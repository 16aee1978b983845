//! A table of settings: name, what is allowed, default. One table serves parsing, messages, and
//! whatever else describes the settings.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Problems, Result, did_you_mean};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key.
    pub name: &'static str,
    /// What its value may be.
    pub allowed: Allowed,
    /// The value when the key is absent.
    pub default: Default,
    /// Whether the built-in lacks it.
    pub ours: bool,
    /// One sentence on what it does, with units.
    pub about: &'static str,
}

/// What happens when a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// This value is taken.
    Value(&'static str),
    /// The setting stays unset.
    None,
    /// That is a problem.
    Required,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Allowed {
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
        above: bool,
    },
    /// Any text.
    Text,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(words) => f.write_str(&words.join(", ")),
            Self::Boolean => f.write_str("True, False"),
            Self::Integer(low, high) => write!(f, "a whole number from {low} to {high}"),
            Self::Integers(low, high) => {
                write!(f, "whole numbers from {low} to {high}, separated by commas")
            }
            Self::Number { low, high, above: true } => {
                write!(f, "a number above {low} and up to {high}")
            }
            Self::Number { low, high, above: false } => write!(f, "a number from {low} to {high}"),
            Self::Text => f.write_str("text"),
        }
    }
}

/// A checked value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Word(&'static str),
    Boolean(bool),
    Integer(u64),
    Integers(Vec<u64>),
    Number(f64),
    Text(String),
}

impl Allowed {
    fn parse(self, text: &str) -> Option<Value> {
        match self {
            Self::OneOf(words) => {
                words.iter().find(|word| word.eq_ignore_ascii_case(text)).map(|w| Value::Word(w))
            }
            Self::Boolean => text.to_ascii_lowercase().parse().ok().map(Value::Boolean),
            Self::Integer(low, high) => integer(text, low, high).map(Value::Integer),
            Self::Integers(low, high) => {
                let items = text.split(',').filter(|_| !text.is_empty());
                let numbers: Option<Vec<u64>> =
                    items.map(|item| integer(item.trim(), low, high)).collect();
                numbers.map(Value::Integers)
            }
            Self::Number { low, high, above } => {
                let value: f64 = text.parse().ok()?;
                let over = if above { value > low } else { value >= low };
                (over && value <= high).then_some(Value::Number(value))
            }
            Self::Text => Some(Value::Text(text.to_owned())),
        }
    }
}

fn integer(text: &str, low: u64, high: u64) -> Option<u64> {
    // A tuner may send 16.0 for a whole number.
    let value = text.strip_suffix(".0").unwrap_or(text).parse().ok()?;
    (low <= value && value <= high).then_some(value)
}

/// The values of a table's settings after checking.
#[derive(Debug)]
pub(super) struct Values(BTreeMap<&'static str, Value>);

/// Checks `raw` against `table`; unknown keys go to `unknown`, which words the problem. What is
/// right is among the values even when something else is wrong.
pub(super) fn check(
    table: &'static [Setting],
    raw: &BTreeMap<String, String>,
    unknown: impl Fn(&str) -> Option<String>,
) -> (Values, Problems) {
    let mut problems = Problems::new();
    for key in raw.keys() {
        let known = table.iter().any(|setting| setting.name == key);
        if let Some(problem) = (!known).then(|| unknown(key)).flatten() {
            problems.push(problem);
        }
    }
    let mut values = BTreeMap::new();
    for setting in table {
        let given = raw.get(setting.name).map(String::as_str);
        let Some(text) = given.or(match setting.default {
            Default::Value(text) => Some(text),
            Default::None | Default::Required => None,
        }) else {
            if setting.default == Default::Required {
                let Setting { name, allowed, about, .. } = setting;
                problems.push(format!("{name} is missing; it must be {allowed}: {about}"));
            }
            continue;
        };
        if let Some(value) = setting.allowed.parse(text) {
            values.insert(setting.name, value);
        } else {
            let hint = match setting.allowed {
                Allowed::OneOf(words) => did_you_mean(text, words.iter().copied()),
                _ => String::new(),
            };
            let Setting { name, allowed, .. } = setting;
            problems.push(format!("{name} is {text:?}; allowed: {allowed}{hint}"));
        }
    }
    (Values(values), problems)
}

impl Values {
    fn get(&self, name: &str) -> Result<&Value> {
        self.0.get(name).ok_or_else(|| Error::internal(format!("setting {name} has no value")))
    }

    pub(super) fn word(&self, name: &str) -> Result<&'static str> {
        match self.get(name)? {
            Value::Word(word) => Ok(word),
            other => Err(mismatch(name, other)),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<bool> {
        match self.get(name)? {
            Value::Boolean(value) => Ok(*value),
            other => Err(mismatch(name, other)),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Result<u64> {
        match self.get(name)? {
            Value::Integer(value) => Ok(*value),
            other => Err(mismatch(name, other)),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<f64> {
        match self.get(name)? {
            Value::Number(value) => Ok(*value),
            other => Err(mismatch(name, other)),
        }
    }

    /// The numbers of a list, none when it is absent.
    pub(super) fn integers(&self, name: &str) -> &[u64] {
        match self.0.get(name) {
            Some(Value::Integers(numbers)) => numbers,
            _ => &[],
        }
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }
}

fn mismatch(name: &str, value: &Value) -> Error {
    Error::internal(format!("setting {name} was read as another type than the table's: {value:?}"))
}
