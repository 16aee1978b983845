//! Values of the best trial of a search as values of a pipeline's parameters.

use serde_json::Value;

use crate::error::{Problems, Result};
use crate::search::BestHyperparameters;

use super::definition::{Definition, StepKind};
use super::expression::{Expression, Reference};

/// Returns names and values of the parameters from which training steps take the hyperparameters.
/// A hyperparameter that no step takes from a parameter is an error.
pub fn find_parameter_values(
    definition: &Definition,
    best: &BestHyperparameters,
) -> Result<Vec<(String, String)>> {
    let mut values = Vec::new();
    let mut problems = Problems::new();
    for (name, value) in best.hyperparameters.iter() {
        let mut is_found = false;
        for step in definition.steps.iter().filter(|step| step.kind == StepKind::Training) {
            let given = step.arguments.get("HyperParameters").and_then(|given| given.get(name));
            let Some(given) = given else { continue };
            if let Some(parameter) = find_parameter(given) {
                is_found = true;
                values.push((parameter, value.to_owned()));
            }
        }
        if !is_found {
            problems.push(format!(
                "no Training step takes the hyperparameter {name} from a parameter; write \
                 {{\"Get\": \"Parameters.NAME\"}} in its HyperParameters"
            ));
        }
    }
    problems.into_result()?;
    Ok(values)
}

/// Returns the parameter that a value is: the parameter itself, or it alone joined to a text.
fn find_parameter(value: &Value) -> Option<String> {
    match Expression::read(value)?.ok()? {
        Expression::Get(Reference::Parameter(name)) => Some(name),
        Expression::Join { values: [only], .. } => find_parameter(only),
        _ => None,
    }
}
