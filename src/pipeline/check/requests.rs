//! The requests that steps make of the service: members, types, and the values that it allows.

use serde_json::{Map, Value};

use super::StepWithValues;
use crate::error::{did_you_mean, join_examples};
use crate::pipeline::definition::{Definition, ParameterKind, StepKind, describe};
use crate::pipeline::expression::{Expression, Reference};
use crate::pipeline::findings::{Findings, Place};
use crate::pipeline::service_model::{ServiceModel, Shape, ShapeKind, service_model};

/// Most values of a text that a message lists all.
const MAX_LISTED_VALUES: usize = 12;

/// Checks the arguments of a step against the request of its operation.
pub(super) fn check_request(
    step: &StepWithValues<'_>,
    definition: &Definition,
    findings: &mut Findings,
) {
    let place = Place::step(&step.step.name, "Arguments");
    if step.kind == StepKind::Fail {
        check_fail_step(step, &place, findings);
        return;
    }
    let model = service_model();
    let Some(operation) = model.step_operation(step.kind) else { return };
    let checker = RequestCheck { model, definition, job_name: &operation.job_name };
    let shape = model.shape(&operation.request);
    checker.check(&step.arguments, Some(step.original), shape, &place, findings);
}

fn check_fail_step(step: &StepWithValues<'_>, place: &Place, findings: &mut Findings) {
    let Some(arguments) = step.arguments.as_object() else { return };
    for key in arguments.keys() {
        if key != "ErrorMessage" {
            findings.error(place.key(key), "the key is unknown; allowed: ErrorMessage");
        }
    }
    match arguments.get("ErrorMessage") {
        None => findings.error(
            place.key("ErrorMessage"),
            "is missing; give the message with which the run ends",
        ),
        Some(Value::String(_)) => {}
        Some(value) if Expression::read(value).is_some() => {}
        Some(other) => findings
            .error(place.key("ErrorMessage"), format!("is {}; allowed: a text", describe(other))),
    }
}

/// Check of one request.
struct RequestCheck<'a> {
    model: &'static ServiceModel,
    definition: &'a Definition,
    /// Member of the request that the service fills in.
    job_name: &'a str,
}

impl RequestCheck<'_> {
    /// Checks a value against its shape. `original` is the value as the definition has it, if that
    /// is another one: an expression.
    fn check(
        &self,
        value: &Value,
        original: Option<&Value>,
        shape: &Shape,
        place: &Place,
        findings: &mut Findings,
    ) {
        if let Some(expression) = Expression::read(value) {
            // A malformed one is told with the references.
            if let Ok(expression) = expression {
                self.check_unknown(&expression, shape, place, findings);
            }
            return;
        }
        match (shape.kind, value) {
            (ShapeKind::Structure, Value::Object(object)) => {
                self.check_structure(object, original, shape, place, findings);
            }
            (ShapeKind::Map, Value::Object(object)) => {
                check_range(object.len() as f64, "entries", shape, place, findings);
                for (key, value) in object {
                    if let Some(key_shape) = &shape.key {
                        let key_shape = self.model.shape(key_shape);
                        self.check_text(key, "the key", key_shape, place, findings);
                    }
                    if let Some(value_shape) = &shape.value {
                        let original = original.and_then(|original| original.get(key));
                        let value_shape = self.model.shape(value_shape);
                        self.check(value, original, value_shape, &place.key(key), findings);
                    }
                }
            }
            (ShapeKind::List, Value::Array(entries)) => {
                check_range(entries.len() as f64, "entries", shape, place, findings);
                let Some(member) = &shape.member else { return };
                for (index, entry) in entries.iter().enumerate() {
                    let original = original.and_then(|original| original.get(index));
                    let shape = self.model.shape(member);
                    self.check(entry, original, shape, &place.index(index), findings);
                }
            }
            (ShapeKind::String, Value::String(text)) => {
                let source = describe_source(original, "");
                self.check_text(text, &source, shape, place, findings);
            }
            (ShapeKind::Integer | ShapeKind::Long, Value::Number(number)) if number.is_i64() => {
                let number = number.as_f64().unwrap_or_default();
                check_range(number, "", shape, place, findings);
            }
            (ShapeKind::Float, Value::Number(number)) => {
                let number = number.as_f64().unwrap_or_default();
                check_range(number, "", shape, place, findings);
            }
            (ShapeKind::Boolean, Value::Bool(_)) | (ShapeKind::Timestamp, _) => {}
            _ => {
                let fix = match (shape.kind, value) {
                    (ShapeKind::String, Value::Number(_) | Value::Bool(_))
                        if describe_source(original, "").is_empty() =>
                    {
                        format!("; write \"{value}\"")
                    }
                    (ShapeKind::String, Value::Number(_) | Value::Bool(_)) => {
                        "; join it to a text: {\"Std:Join\": {\"On\": \"\", \"Values\": [...]}}"
                            .to_owned()
                    }
                    (ShapeKind::Map, Value::Array(_)) => "; write {\"key\": value}".to_owned(),
                    _ => String::new(),
                };
                findings.error(
                    place.clone(),
                    format!(
                        "is {}{}; allowed: {}{fix}",
                        describe(value),
                        describe_source(original, " of "),
                        shape.kind.describe()
                    ),
                );
            }
        }
    }

    fn check_structure(
        &self,
        object: &Map<String, Value>,
        original: Option<&Value>,
        shape: &Shape,
        place: &Place,
        findings: &mut Findings,
    ) {
        for (key, value) in object {
            let Some(member) = shape.members.get(key) else {
                let known = || shape.members.keys().map(String::as_str);
                let hint = did_you_mean(key, known());
                let allowed = known().collect::<Vec<_>>().join(", ");
                findings
                    .error(place.key(key), format!("the key is unknown{hint}; allowed: {allowed}"));
                continue;
            };
            let original = original.and_then(|original| original.get(key));
            let shape = self.model.shape(member);
            self.check(value, original, shape, &place.key(key), findings);
        }
        for key in &shape.required {
            if !object.contains_key(key) && key != self.job_name {
                let kind = self.model.shape(&shape.members[key]).kind.describe();
                findings.error(place.key(key), format!("is missing; give {kind}"));
            }
        }
    }

    /// Checks an expression whose value only a run knows.
    fn check_unknown(
        &self,
        expression: &Expression<'_>,
        shape: &Shape,
        place: &Place,
        findings: &mut Findings,
    ) {
        let found = match expression {
            Expression::Join { .. } | Expression::Get(Reference::Execution(_)) => ShapeKind::String,
            Expression::Get(Reference::Parameter(name)) => {
                let Some(parameter) = self.definition.parameter(name) else { return };
                match parameter.kind {
                    ParameterKind::String => ShapeKind::String,
                    ParameterKind::Integer => ShapeKind::Integer,
                    ParameterKind::Float => ShapeKind::Float,
                    ParameterKind::Boolean => ShapeKind::Boolean,
                }
            }
            Expression::Get(Reference::Property { step, path }) => {
                let Some(step) = self.definition.step(step) else { return };
                // A path that leads nowhere is told with the references.
                let Ok(name) = self.model.find_property(step.kind, path) else { return };
                self.model.shape(name).kind
            }
            Expression::Get(Reference::PropertyFile { .. }) => {
                findings.error(
                    place.clone(),
                    "is a property file, which is no value; read a value of it by Std:JsonGet",
                );
                return;
            }
            Expression::JsonGet { .. } => return,
        };
        let is_number = |kind| matches!(kind, ShapeKind::Integer | ShapeKind::Long);
        let fits = found == shape.kind
            || (is_number(found) && (is_number(shape.kind) || shape.kind == ShapeKind::Float));
        if !fits {
            let what = match expression {
                Expression::Get(reference) => format!("{reference}, which is "),
                _ => "joined to ".to_owned(),
            };
            findings.error(
                place.clone(),
                format!("is {what}{}; allowed: {}", found.describe(), shape.kind.describe()),
            );
        }
    }

    /// Checks a text or a key. `what` is put after the text: where it comes from.
    fn check_text(
        &self,
        text: &str,
        what: &str,
        shape: &Shape,
        place: &Place,
        findings: &mut Findings,
    ) {
        let subject = if what == "the key" {
            format!("has the key {text:?}")
        } else if what.is_empty() {
            format!("is {text:?}")
        } else {
            format!("is {text:?} of {what}")
        };
        if !shape.values.is_empty() {
            if !shape.values.iter().any(|allowed| allowed == text) {
                let known = || shape.values.iter().map(String::as_str);
                let hint = did_you_mean(text, known());
                let allowed = if shape.values.len() > MAX_LISTED_VALUES {
                    join_examples(shape.values.iter().cloned())
                } else {
                    known().collect::<Vec<_>>().join(", ")
                };
                findings.error(place.clone(), format!("{subject}{hint}; allowed: {allowed}"));
            }
            return;
        }
        let length = text.chars().count() as f64;
        if !self.model.matches(shape, text) {
            let fix = explain_pattern(text);
            findings.error(
                place.clone(),
                format!("{subject}; allowed: {}{fix}", shape.pattern().unwrap_or_default()),
            );
        } else if shape.min.is_some_and(|min| length < min)
            || shape.max.is_some_and(|max| length > max)
        {
            findings.error(
                place.clone(),
                format!("{subject}, {length} characters; allowed: {}", describe_range(shape)),
            );
        }
    }
}

/// Returns how a text that looks like an S3 URI or a role becomes one.
fn explain_pattern(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if let Some(position) = lower.find("s3://")
        && position <= 2
    {
        return format!("; write \"s3://{}\"", &text[position + 5..]);
    }
    if lower.contains("role") && !lower.starts_with("arn:") {
        return "; a role is given by its ARN, arn:aws:iam::ACCOUNT:role/NAME".to_owned();
    }
    String::new()
}

/// Returns the reference by which a value came into the arguments, after `before`; an empty text if
/// it stands there itself.
fn describe_source(original: Option<&Value>, before: &str) -> String {
    match original.and_then(Expression::read) {
        Some(Ok(Expression::Get(reference))) => format!("{before}{reference}"),
        _ => String::new(),
    }
}

/// Checks a number, or how many entries there are.
fn check_range(number: f64, unit: &str, shape: &Shape, place: &Place, findings: &mut Findings) {
    if shape.min.is_some_and(|min| number < min) || shape.max.is_some_and(|max| number > max) {
        let found =
            if unit.is_empty() { format!("is {number}") } else { format!("has {number} {unit}") };
        findings.error(place.clone(), format!("{found}; allowed: {}", describe_range(shape)));
    }
}

fn describe_range(shape: &Shape) -> String {
    match (shape.min, shape.max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("{min} or more"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "any".to_owned(),
    }
}
