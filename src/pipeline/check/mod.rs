//! Everything of a definition that can be known to be wrong before a run costs money: parameters,
//! references, requests of the service, and how the steps fit together.
//!
//! | module | finds |
//! |---|---|
//! | `parameters` | values of other types, parameters that are not declared or never used |
//! | `references` | references that lead nowhere, cycles |
//! | `conditions` | conditions that the service does not have |
//! | `requests` | members, types and values that the service's requests do not allow |
//! | `images` | image URIs that are none in ECR |
//! | `instances` | instance types that cannot run the image |
//! | `jobs` | paths in the container, spot, what the program of a step is called with |
//! | `channels` | masks that are images, splits that are one, channels that are missing |
//! | `places` | S3 places that two jobs write, caches that do not see their data change |

mod channels;
mod conditions;
mod images;
mod instances;
mod jobs;
#[cfg(test)]
mod mutations;
mod parameters;
mod places;
mod references;
mod requests;
#[cfg(test)]
mod tests;

pub use self::jobs::UNKNOWN_ARGUMENT;
pub(super) use self::places::find_revision_inputs;

use std::collections::BTreeMap;

use serde_json::Value;

use super::definition::{Definition, Step};
use super::expression::{Reference, Values, resolve};
use super::findings::{Findings, Place};

/// Reads values of parameters that a person gave as texts. A name that is given twice is an error; a
/// text that is no value of its parameter's type stays a text, which the check of the values tells.
pub fn read_given(
    definition: &Definition,
    parameters: &[(String, String)],
    findings: &mut Findings,
) -> BTreeMap<String, Value> {
    let mut given: BTreeMap<String, Value> = BTreeMap::new();
    for (name, text) in parameters {
        let value = match definition.parameter(name) {
            Some(parameter) => parameter.read_value(text),
            None => Value::String(text.clone()),
        };
        if given.insert(name.clone(), value).is_some() {
            findings.error(Place::definition(format!("--parameter {name}")), "is given twice");
        }
    }
    given
}

/// Values of the parameters of a run: those that are given, else the defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ParameterValues(BTreeMap<String, Value>);

impl ParameterValues {
    /// Takes the given values, by name, and the defaults of the other parameters. Names that the
    /// definition lacks and values of other types are errors.
    pub fn choose(
        definition: &Definition,
        given: &BTreeMap<String, Value>,
        findings: &mut Findings,
    ) -> Self {
        parameters::check_given(definition, given, findings);
        let mut values = given.clone();
        for parameter in &definition.parameters {
            if let Some(default) = &parameter.default {
                values.entry(parameter.name.clone()).or_insert_with(|| default.clone());
            }
        }
        Self(values)
    }

    /// Returns the value of a parameter; nothing if it has none.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

impl Values for ParameterValues {
    fn get(&self, reference: &Reference) -> Option<Value> {
        match reference {
            Reference::Parameter(name) => self.0.get(name).cloned(),
            _ => None,
        }
    }
}

/// Step with the values of the parameters in its arguments.
#[derive(Debug)]
struct StepWithValues<'a> {
    step: &'a Step,
    /// Arguments in which only what a run gives is still an expression.
    arguments: Value,
}

impl StepWithValues<'_> {
    /// Returns the value at a path of keys in the arguments.
    fn argument(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.arguments, |value, key| value.get(key))
    }

    /// Returns the text at a path of keys in the arguments.
    fn text(&self, path: &[&str]) -> Option<&str> {
        self.argument(path)?.as_str()
    }

    /// Returns the list at a path of keys in the arguments, empty if there is none.
    fn list(&self, path: &[&str]) -> &[Value] {
        self.argument(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Returns the place of a field of the arguments.
    fn place(&self, field: &str) -> Place {
        Place::step(&self.step.name, format!("Arguments.{field}"))
    }
}

/// Program whose flags a step's arguments are, which tells if it takes them. The error completes a
/// sentence whose subject is the arguments.
pub type ArgumentsCheck<'a> = &'a dyn Fn(&[String]) -> Result<(), String>;

/// Checks that the names that a definition uses lead somewhere: parameters, steps, their properties.
pub fn check_names(definition: &Definition, findings: &mut Findings) {
    parameters::check_parameters(definition, findings);
    references::check_references(definition, findings);
}

/// Checks a definition with the values that a run would have. `check_arguments` is asked about the
/// arguments of processing jobs that call this program.
pub fn check_definition(
    definition: &Definition,
    values: &ParameterValues,
    check_arguments: ArgumentsCheck<'_>,
    findings: &mut Findings,
) {
    check_names(definition, findings);
    let mut steps = Vec::with_capacity(definition.steps.len());
    for step in &definition.steps {
        steps.push(StepWithValues { step, arguments: resolve(&step.arguments, values) });
    }
    for step in &steps {
        conditions::check_condition_step(step, definition, findings);
        requests::check_request(step, definition, findings);
        images::check_image(step, findings);
        instances::check_instances(step, findings);
        jobs::check_job(step, check_arguments, findings);
    }
    for step in &steps {
        channels::check_channels(step, &steps, findings);
    }
    images::check_regions(&steps, findings);
    places::check_places(&steps, definition, findings);
}
