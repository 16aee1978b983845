//! Requests that a run of a pipeline would send to the service.

use serde_json::{Value, json};

use super::check::ParameterValues;
use super::definition::Definition;
use super::expression::resolve;
use super::graph::Graph;
use super::service_model::service_model;
use crate::error::{Problems, Result};

/// Returns the requests of all steps, in an order in which they can run, with the values of the
/// parameters in their places. What only a run knows stays an expression. Parameters without a
/// value are errors.
pub fn render_requests(
    definition: &Definition,
    graph: &Graph,
    values: &ParameterValues,
) -> Result<Value> {
    check_parameter_values(definition, values)?;
    let mut parameters = serde_json::Map::new();
    for parameter in &definition.parameters {
        if let Some(value) = values.get(&parameter.name) {
            parameters.insert(parameter.name.clone(), value.clone());
        }
    }
    let mut steps = Vec::with_capacity(definition.steps.len());
    for &index in graph.order() {
        let step = &definition.steps[index];
        let mut rendered = json!({
            "Name": step.name,
            "Type": step.kind.name(),
            "Arguments": resolve(&step.arguments, values),
        });
        if let Some(operation) = service_model().step_operation(step.kind) {
            rendered["Operation"] = json!(operation.operation);
        }
        if let Some(branch) = &step.branch {
            rendered["RunsIf"] = json!({"Condition": branch.condition, "Holds": branch.is_if});
        }
        let mut waits_for = Vec::new();
        for &other in graph.dependencies(index) {
            waits_for.push(definition.steps[other].name.as_str());
        }
        rendered["WaitsFor"] = json!(waits_for);
        steps.push(rendered);
    }
    Ok(json!({"Parameters": parameters, "Steps": steps}))
}

/// Finds parameters that have no value.
pub(super) fn check_parameter_values(
    definition: &Definition,
    values: &ParameterValues,
) -> Result<()> {
    let mut problems = Problems::new();
    for parameter in &definition.parameters {
        if values.get(&parameter.name).is_none() {
            problems.push(format!(
                "the parameter {} has no value; give one by --parameter {}=VALUE, or a DefaultValue \
                 in the definition",
                parameter.name, parameter.name
            ));
        }
    }
    problems.into_result()
}
