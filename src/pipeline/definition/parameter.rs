//! Parameters of a pipeline: values that each run may set.

use std::fmt;

use serde_json::Value;

use super::fields::{Fields, describe};
use crate::error::did_you_mean;
use crate::named_enum::named_enum;
use crate::pipeline::findings::{Findings, Place};

named_enum! {
    /// Type of a parameter's values.
    ParameterKind {
        String = "String",
        Integer = "Integer",
        Float = "Float",
        Boolean = "Boolean",
    }
}

/// Value that each run may set.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub kind: ParameterKind,
    /// Value of runs that set none; without it each run must set one.
    pub default: Option<Value>,
    pub description: Option<String>,
    /// Values that are allowed; empty if all of the type are.
    pub allowed: Vec<Value>,
}

const KEYS: [&str; 5] = ["Name", "Type", "DefaultValue", "Description", "EnumValues"];

/// Longest name, in characters, of the service.
const MAX_NAME_CHARS: usize = 256;

impl Parameter {
    /// Reads an entry of the list `Parameters`.
    pub(super) fn read(value: &Value, place: &Place, findings: &mut Findings) -> Option<Self> {
        let mut fields = Fields::of(value, place, findings)?;
        fields.check_keys(&KEYS);
        let name = fields.required_text("Name", "the name of the parameter")?.to_owned();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(is_word) {
            fields.error(
                "Name",
                format!("is {name:?}; allowed: 1 to {MAX_NAME_CHARS} letters, digits, - and _"),
            );
        }
        let kind_name = fields.required_text("Type", "String, Integer, Float or Boolean")?;
        let Some(kind) = ParameterKind::from_name(kind_name) else {
            let names = ParameterKind::ALL.map(ParameterKind::name);
            let hint = did_you_mean(kind_name, names);
            let allowed = names.join(", ");
            fields.error("Type", format!("is {kind_name:?}{hint}; allowed: {allowed}"));
            return None;
        };
        let description = fields.text("Description").map(str::to_owned);
        let allowed = fields.list("EnumValues").to_vec();
        let default = fields.get("DefaultValue").cloned();
        let parameter = Self { name, kind, default, description, allowed };
        for (index, value) in parameter.allowed.iter().enumerate() {
            if !kind.has_value(value) {
                let place = fields.place("EnumValues").index(index);
                let problem = format!("is {}; allowed: {kind}", describe(value));
                fields.findings().error(place, problem);
            }
        }
        if let Some(default) = &parameter.default
            && let Err(problem) = parameter.check_value(default)
        {
            fields.error("DefaultValue", problem);
        }
        Some(parameter)
    }

    /// Checks a value of the parameter. The error completes a sentence whose subject is the value's
    /// place.
    pub fn check_value(&self, value: &Value) -> Result<(), String> {
        if !self.kind.has_value(value) {
            return Err(format!("is {}; allowed: {}", describe(value), self.kind));
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            let allowed: Vec<String> = self.allowed.iter().map(Value::to_string).collect();
            return Err(format!("is {value}; allowed: {}", allowed.join(", ")));
        }
        Ok(())
    }

    /// Reads the value of `--parameter NAME=VALUE`. A text that is no value of the parameter's type
    /// stays a text.
    pub fn read_value(&self, text: &str) -> Value {
        let value = match self.kind {
            ParameterKind::String => Some(Value::String(text.to_owned())),
            ParameterKind::Integer => text.parse::<i64>().ok().map(Value::from),
            ParameterKind::Float => {
                text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number)
            }
            ParameterKind::Boolean => match text {
                "true" | "True" => Some(Value::Bool(true)),
                "false" | "False" => Some(Value::Bool(false)),
                _ => None,
            },
        };
        value.unwrap_or_else(|| Value::String(text.to_owned()))
    }
}

impl ParameterKind {
    /// Returns true if a JSON value has this type. A whole number is a float, too.
    pub fn has_value(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            Self::Integer => value.is_i64(),
            Self::Float => value.is_number(),
            Self::Boolean => value.is_boolean(),
        }
    }
}

/// Shows what a value of the type is.
impl fmt::Display for ParameterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "a text",
            Self::Integer => "a whole number",
            Self::Float => "a number",
            Self::Boolean => "true or false",
        })
    }
}
