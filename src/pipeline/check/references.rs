//! References to steps: those that lead nowhere, and steps that wait for each other.

use serde_json::Value;

use crate::error::did_you_mean;
use crate::pipeline::definition::{Definition, Step, StepKind};
use crate::pipeline::expression::{
    Expression, JsonFile, PathPart, PropertyPath, Reference, visit_expressions,
};
use crate::pipeline::findings::{Findings, Place};
use crate::pipeline::graph::Graph;
use crate::pipeline::service_model::service_model;

/// Finds references that lead nowhere, and cycles.
pub(super) fn check_references(definition: &Definition, findings: &mut Findings) {
    for step in &definition.steps {
        for (index, name) in step.depends_on.iter().enumerate() {
            let place = Place::step(&step.name, "DependsOn").index(index);
            find_step(definition, step, name, &place, findings);
        }
        let place = Place::step(&step.name, "Arguments");
        visit_expressions(&step.arguments, &place, &mut |place, expression| match expression {
            Ok(expression) => {
                check_expression(definition, Some(step), &expression, place, findings);
            }
            Err(problem) => findings.error(place.clone(), problem),
        });
        for (index, file) in step.property_files.iter().enumerate() {
            let place = Place::step(&step.name, "PropertyFiles").index(index);
            check_output(step, &file.output, &place.key("OutputName"), findings);
        }
    }
    if let Some(config) = &definition.experiment_config {
        let place = Place::definition("PipelineExperimentConfig");
        visit_expressions(config, &place, &mut |place, expression| match expression {
            Ok(expression) => check_expression(definition, None, &expression, place, findings),
            Err(problem) => findings.error(place.clone(), problem),
        });
    }
    if let Err(cycle) = Graph::new(definition) {
        let place = Place::step(&cycle[0], "DependsOn");
        let waits = if let [only] = cycle.as_slice() {
            format!("step {only} waits for itself")
        } else {
            format!("steps wait for each other: {} -> {}", cycle.join(" -> "), cycle[0])
        };
        findings.error(place, format!("{waits}; remove one of the references or DependsOn"));
    }
}

fn check_expression(
    definition: &Definition,
    step: Option<&Step>,
    expression: &Expression<'_>,
    place: &Place,
    findings: &mut Findings,
) {
    let (name, path, file) = match expression {
        Expression::Get(Reference::Property { step, path }) => (step, Some(path), None),
        Expression::Get(Reference::PropertyFile { step, name })
        | Expression::JsonGet { file: JsonFile::PropertyFile { step, name }, .. } => {
            (step, None, Some(name))
        }
        _ => return,
    };
    let Some(step) = step else {
        findings.error(place.clone(), "a step's property is not known before the run begins");
        return;
    };
    let Some(other) = find_step(definition, step, name, place, findings) else { return };
    if let Some(path) = path {
        check_property(other, path, place, findings);
    }
    if let Some(file) = file
        && !other.property_files.iter().any(|declared| declared.name == *file)
    {
        let names = other.property_files.iter().map(|declared| declared.name.as_str());
        let hint = did_you_mean(file, names);
        findings.error(
            place.clone(),
            format!(
                "reads the property file {file} of step {}, which declares no such file{hint}; add \
                 it to PropertyFiles there",
                other.name
            ),
        );
    }
}

/// Returns the step of this name. One that is not there, or that may not have run, is an error.
fn find_step<'a>(
    definition: &'a Definition,
    from: &Step,
    name: &str,
    place: &Place,
    findings: &mut Findings,
) -> Option<&'a Step> {
    // The reader has told the mistakes of such a step already.
    if definition.unread_steps.iter().any(|unread| unread == name) {
        return None;
    }
    let Some(step) = definition.step(name) else {
        let names = definition.steps.iter().map(|step| step.name.as_str());
        let hint = did_you_mean(name, names);
        findings.error(place.clone(), format!("there is no step {name}{hint}"));
        return None;
    };
    let mut branch = step.branch.as_ref();
    while let Some(needed) = branch {
        if !stands_in_branch(definition, from, needed) {
            let list = if needed.is_if { "IfSteps" } else { "ElseSteps" };
            findings.error(
                place.clone(),
                format!(
                    "step {name} stands in {list} of {}, so it may not run; put this step into the \
                     same list",
                    needed.condition
                ),
            );
            return None;
        }
        let condition = definition.step(&needed.condition)?;
        branch = condition.branch.as_ref();
    }
    Some(step)
}

/// Returns true if a step runs only where this branch is taken.
fn stands_in_branch(
    definition: &Definition,
    step: &Step,
    needed: &crate::pipeline::definition::Branch,
) -> bool {
    let mut branch = step.branch.as_ref();
    while let Some(own) = branch {
        if own == needed {
            return true;
        }
        branch = definition.step(&own.condition).and_then(|condition| condition.branch.as_ref());
    }
    false
}

/// Checks that the description of a step's job has a property.
fn check_property(step: &Step, path: &PropertyPath, place: &Place, findings: &mut Findings) {
    if !step.kind.is_checked() {
        return;
    }
    if let Err(problem) = service_model().find_property(step.kind, path) {
        findings.error(place.clone(), format!("takes {path} of step {}: {problem}", step.name));
        return;
    }
    if step.kind == StepKind::Processing
        && let [PathPart::Member(config), PathPart::Member(outputs), output, ..] = path.0.as_slice()
        && (config.as_str(), outputs.as_str()) == ("ProcessingOutputConfig", "Outputs")
    {
        match output {
            PathPart::Key(output) => check_output(step, output, place, findings),
            PathPart::Index(index) if *index >= list_outputs(step).len() => findings.error(
                place.clone(),
                format!(
                    "step {} has {} outputs, counted from 0",
                    step.name,
                    list_outputs(step).len()
                ),
            ),
            _ => {}
        }
    }
}

/// Returns the outputs of a processing step.
fn list_outputs(step: &Step) -> &[Value] {
    let config = step.arguments.get("ProcessingOutputConfig");
    let outputs = config.and_then(|config| config.get("Outputs"));
    outputs.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Checks that a processing step has an output of this name.
fn check_output(step: &Step, output: &str, place: &Place, findings: &mut Findings) {
    let mut names = Vec::new();
    for entry in list_outputs(step) {
        names.extend(entry.get("OutputName").and_then(Value::as_str));
    }
    if !names.contains(&output) {
        let hint = did_you_mean(output, names.iter().copied());
        findings.error(
            place.clone(),
            format!(
                "step {} has no output {output}{hint}; it has {}",
                step.name,
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            ),
        );
    }
}
