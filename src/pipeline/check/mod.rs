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
//! | `tuning` | ranges of hyperparameters, objectives that no job prints |
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
mod tuning;

pub use self::jobs::UNKNOWN_ARGUMENT;
pub(super) use self::places::find_revision_inputs;

use std::collections::BTreeMap;

use serde_json::Value;

use super::definition::{Definition, Step, StepKind};
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

/// Step, or one of the training jobs that a tuning step runs, with the values of the parameters in its
/// arguments.
#[derive(Debug)]
struct StepWithValues<'a> {
    step: &'a Step,
    /// Kind of the step, or Training.
    kind: StepKind,
    /// Field of the step's arguments that holds these, with a point at its end; empty if they are all.
    field: String,
    /// Arguments as the definition has them.
    original: &'a Value,
    /// Arguments in which only what a run gives is still an expression.
    arguments: Value,
}

impl<'a> StepWithValues<'a> {
    fn new(step: &'a Step, values: &ParameterValues) -> Self {
        Self {
            step,
            kind: step.kind,
            field: String::new(),
            original: &step.arguments,
            arguments: resolve(&step.arguments, values),
        }
    }

    /// Lists the jobs of a step: the training jobs of a tuning step, else the one job that the step is.
    fn list_jobs(step: &'a Step, values: &ParameterValues) -> Vec<Self> {
        if step.kind != StepKind::Tuning {
            return vec![Self::new(step, values)];
        }
        let mut jobs = Vec::new();
        let mut add = |original: &'a Value, field: String| {
            let arguments = resolve(original, values);
            jobs.push(Self { step, kind: StepKind::Training, field, original, arguments });
        };
        if let Some(definition) = step.arguments.get("TrainingJobDefinition") {
            add(definition, "TrainingJobDefinition.".to_owned());
        }
        let definitions = step.arguments.get("TrainingJobDefinitions").and_then(Value::as_array);
        for (index, definition) in definitions.into_iter().flatten().enumerate() {
            add(definition, format!("TrainingJobDefinitions[{index}]."));
        }
        jobs
    }

    /// Returns true for a training job of a tuning step.
    fn is_tuned(&self) -> bool {
        self.step.kind == StepKind::Tuning
    }

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
        Place::step(&self.step.name, format!("Arguments.{}{field}", self.field))
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
    let mut jobs = Vec::with_capacity(definition.steps.len());
    for step in &definition.steps {
        let whole = StepWithValues::new(step, values);
        conditions::check_condition_step(&whole, definition, findings);
        requests::check_request(&whole, definition, findings);
        let own = StepWithValues::list_jobs(step, values);
        tuning::check_tuning(&whole, &own, findings);
        jobs.extend(own);
    }
    for job in &jobs {
        images::check_image(job, findings);
        instances::check_instances(job, findings);
        jobs::check_job(job, check_arguments, findings);
    }
    for job in &jobs {
        channels::check_channels(job, &jobs, findings);
    }
    images::check_regions(&jobs, findings);
    places::check_places(&jobs, definition, findings);
}
