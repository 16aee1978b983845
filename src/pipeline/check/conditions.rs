//! Conditions of condition steps.

use serde_json::Value;

use super::StepWithValues;
use crate::error::did_you_mean;
use crate::pipeline::definition::{Definition, ParameterKind, StepKind, describe};
use crate::pipeline::expression::{Expression, Reference};
use crate::pipeline::findings::{Findings, Place};

/// Conditions that compare two values.
const COMPARISONS: [&str; 6] =
    ["Equals", "NotEquals", "GreaterThan", "GreaterThanOrEqualTo", "LessThan", "LessThanOrEqualTo"];

/// Checks the conditions of a condition step, and that one of its branches has a step.
pub(super) fn check_condition_step(
    step: &StepWithValues<'_>,
    definition: &Definition,
    findings: &mut Findings,
) {
    if step.step.kind != StepKind::Condition {
        return;
    }
    let place = Place::step(&step.step.name, "Arguments");
    if let Some(branch) = &step.step.branch {
        // AWS' developer guide on condition steps: nested ones are not supported.
        findings.error(
            Place::step(&step.step.name, "Type"),
            format!(
                "is a condition in a branch of {}, which the service does not support; put its \
                 conditions into {}, or the step beside it",
                branch.condition, branch.condition
            ),
        );
    }
    if let Some(arguments) = step.arguments.as_object() {
        for key in arguments.keys().filter(|key| *key != "Conditions") {
            let allowed = ["Conditions", "IfSteps", "ElseSteps"];
            let hint = did_you_mean(key, allowed);
            let problem = format!("the key is unknown{hint}; allowed: {}", allowed.join(", "));
            findings.error(place.key(key), problem);
        }
    }
    check_list(step.argument(&["Conditions"]), definition, &place.key("Conditions"), findings);
    let has_branch = definition.steps.iter().any(|other| {
        other.branch.as_ref().is_some_and(|branch| branch.condition == step.step.name)
    });
    if !has_branch && definition.unread_steps.is_empty() {
        findings
            .warning(place, "IfSteps and ElseSteps have no step, so the condition decides nothing");
    }
}

fn check_list(
    conditions: Option<&Value>,
    definition: &Definition,
    place: &Place,
    findings: &mut Findings,
) {
    match conditions {
        Some(Value::Array(conditions)) if !conditions.is_empty() => {
            for (index, condition) in conditions.iter().enumerate() {
                check_condition(condition, definition, &place.index(index), findings);
            }
        }
        Some(other) if !other.is_array() => {
            findings.error(place.clone(), format!("is {}; allowed: a list", describe(other)));
        }
        _ => findings.error(place.clone(), "has no condition; give at least one"),
    }
}

fn check_condition(
    condition: &Value,
    definition: &Definition,
    place: &Place,
    findings: &mut Findings,
) {
    let Some(object) = condition.as_object() else {
        findings.error(place.clone(), format!("is {}; allowed: an object", describe(condition)));
        return;
    };
    let kind = object.get("Type").and_then(Value::as_str).unwrap_or_default();
    let keys: &[&str] = match kind {
        // The first two keys are those of Amazon's SDK, the others those of AWS' schema.
        "In" | "NotIn" if object.contains_key("QueryValue") => &["Type", "QueryValue", "Values"],
        "In" | "NotIn" => &["Type", "Value", "In"],
        "Or" => &["Type", "Conditions"],
        "Not" => &["Type", "Condition"],
        kind if COMPARISONS.contains(&kind) => &["Type", "LeftValue", "RightValue"],
        _ => {
            let known: Vec<&str> =
                COMPARISONS.iter().copied().chain(["In", "NotIn", "Or", "Not"]).collect();
            let hint = did_you_mean(kind, known.iter().copied());
            let found = object.get("Type").map_or("missing".to_owned(), describe);
            let allowed = known.join(", ");
            findings.error(place.key("Type"), format!("is {found}{hint}; allowed: {allowed}"));
            return;
        }
    };
    for key in object.keys().filter(|key| !keys.contains(&key.as_str())) {
        let hint = did_you_mean(key, keys.iter().copied());
        let problem = format!("the key is unknown{hint}; allowed: {}", keys.join(", "));
        findings.error(place.key(key), problem);
    }
    for key in keys.iter().filter(|key| !object.contains_key(**key)) {
        findings.error(place.key(key), "is missing");
    }
    match kind {
        "Or" => {
            check_list(object.get("Conditions"), definition, &place.key("Conditions"), findings);
        }
        "Not" => {
            if let Some(inner) = object.get("Condition") {
                check_condition(inner, definition, &place.key("Condition"), findings);
            }
        }
        "In" | "NotIn" => {
            let (value_key, list_key) = (keys[1], keys[2]);
            if let Some(value) = object.get(value_key) {
                check_operand(value, &place.key(value_key), findings);
            }
            match object.get(list_key) {
                Some(Value::Array(values)) => {
                    for (index, value) in values.iter().enumerate() {
                        check_operand(value, &place.key(list_key).index(index), findings);
                    }
                }
                Some(other) => findings
                    .error(place.key(list_key), format!("is {}; allowed: a list", describe(other))),
                None => {}
            }
        }
        _ => check_comparison(kind, object, definition, place, findings),
    }
}

/// Type of a value that conditions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OperandKind {
    Text,
    Number,
    Boolean,
}

/// Checks the two values of a comparison. Texts are in an order, too, such as times.
fn check_comparison(
    kind: &str,
    condition: &serde_json::Map<String, Value>,
    definition: &Definition,
    place: &Place,
    findings: &mut Findings,
) {
    let (Some(left), Some(right)) = (condition.get("LeftValue"), condition.get("RightValue"))
    else {
        return;
    };
    for (key, value) in [("LeftValue", left), ("RightValue", right)] {
        check_operand(value, &place.key(key), findings);
        let is_boolean = operand_kind(value, definition) == Some(OperandKind::Boolean);
        if is_boolean && !matches!(kind, "Equals" | "NotEquals") {
            findings
                .error(place.key(key), format!("is true or false, which {kind} does not compare"));
        }
    }
    if let (Some(left_kind), Some(right_kind)) =
        (operand_kind(left, definition), operand_kind(right, definition))
        && left_kind != right_kind
    {
        findings.error(
            place.clone(),
            format!(
                "compares {} with {}, which are of different types",
                describe_operand(left),
                describe_operand(right)
            ),
        );
    }
}

/// Returns the type of a value, if it is known before a run.
fn operand_kind(value: &Value, definition: &Definition) -> Option<OperandKind> {
    match value {
        Value::String(_) => Some(OperandKind::Text),
        Value::Number(_) => Some(OperandKind::Number),
        Value::Bool(_) => Some(OperandKind::Boolean),
        _ => match Expression::read(value)?.ok()? {
            Expression::Join { .. } | Expression::Get(Reference::Execution(_)) => {
                Some(OperandKind::Text)
            }
            Expression::Get(Reference::Parameter(name)) => {
                Some(match definition.parameter(&name)?.kind {
                    ParameterKind::String => OperandKind::Text,
                    ParameterKind::Integer | ParameterKind::Float => OperandKind::Number,
                    ParameterKind::Boolean => OperandKind::Boolean,
                })
            }
            _ => None,
        },
    }
}

fn describe_operand(value: &Value) -> String {
    match Expression::read(value) {
        Some(Ok(Expression::Get(reference))) => reference.to_string(),
        Some(_) => "an expression".to_owned(),
        None => describe(value),
    }
}

/// Checks that a value is one that conditions compare.
fn check_operand(value: &Value, place: &Place, findings: &mut Findings) {
    let is_scalar = value.is_string() || value.is_number() || value.is_boolean();
    // Malformed expressions are told with the references.
    if !is_scalar && Expression::read(value).is_none() {
        findings.error(
            place.clone(),
            format!(
                "is {}; allowed: a text, a number, true, false, or an expression",
                describe(value)
            ),
        );
    }
}
