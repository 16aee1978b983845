//! Parameters: values of other types, names that are not declared, and parameters that nothing uses.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::did_you_mean;
use crate::pipeline::definition::Definition;
use crate::pipeline::expression::{Expression, Reference, visit_expressions};
use crate::pipeline::findings::{Findings, Place};

/// Checks the values that a run gives to parameters.
pub(super) fn check_given(
    definition: &Definition,
    given: &BTreeMap<String, Value>,
    findings: &mut Findings,
) {
    for (name, value) in given {
        let place = Place::definition(format!("--parameter {name}"));
        let Some(parameter) = definition.parameter(name) else {
            let names = definition.parameters.iter().map(|parameter| parameter.name.as_str());
            let hint = did_you_mean(name, names);
            findings.error(place, format!("the definition has no such parameter{hint}"));
            continue;
        };
        if let Err(problem) = parameter.check_value(value) {
            findings.error(place, problem);
        }
    }
}

/// Finds parameters that are used and not declared, or declared and not used.
pub(super) fn check_parameters(definition: &Definition, findings: &mut Findings) {
    let mut used = Vec::new();
    let mut record = |place: &Place, name: String, findings: &mut Findings| {
        if definition.parameter(&name).is_none() {
            let names = definition.parameters.iter().map(|parameter| parameter.name.as_str());
            let hint = did_you_mean(&name, names);
            findings.error(
                place.clone(),
                format!(
                    "takes the parameter {name}, which is not declared{hint}; add it to Parameters"
                ),
            );
        }
        used.push(name);
    };
    let visit = |value: &Value, place: &Place, record: &mut dyn FnMut(&Place, String)| {
        visit_expressions(value, place, &mut |place, expression| {
            if let Ok(Expression::Get(Reference::Parameter(name))) = expression {
                record(place, name);
            }
        });
    };
    if let Some(config) = &definition.experiment_config {
        visit(config, &Place::definition("PipelineExperimentConfig"), &mut |place, name| {
            record(place, name, findings);
        });
    }
    for step in &definition.steps {
        let place = Place::step(&step.name, "Arguments");
        visit(&step.arguments, &place, &mut |place, name| record(place, name, findings));
    }
    // A step that could not be read may use any of them.
    if !definition.unread_steps.is_empty() {
        return;
    }
    for (index, parameter) in definition.parameters.iter().enumerate() {
        if !used.contains(&parameter.name) {
            findings.warning(
                Place::definition("Parameters").index(index),
                format!("no step uses the parameter {}; use it, or remove it", parameter.name),
            );
        }
    }
}
