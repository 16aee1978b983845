//! Definitions of pipelines: what a file holds, and what is wrong with its form.

mod fields;
mod json;
mod parameter;
mod step;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::Value;

use self::fields::Fields;
pub(super) use self::fields::describe;
pub(super) use self::json::parse_json;
pub use self::parameter::{Parameter, ParameterKind};
pub(super) use self::step::Branch;
pub use self::step::{PropertyFile, Step, StepKind};
use super::expression::Expression;
use super::findings::{Findings, Place};
use crate::error::{Error, ErrorContext, Result};
use crate::files::read_file;

/// The only version of the format.
const VERSION: &str = "2020-12-01";

/// Limits of the service: bytes of a definition, parameters, and steps with those in branches (quotas
/// of Amazon SageMaker Pipelines).
const MAX_BYTES: usize = 1 << 20;
const MAX_PARAMETERS: usize = 200;
const MAX_STEPS: usize = 50;

/// Pipeline as a file defines it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Definition {
    pub parameters: Vec<Parameter>,
    /// All steps, those in branches of a condition step after it.
    pub steps: Vec<Step>,
    /// Names of experiment and trial, which may be expressions.
    pub experiment_config: Option<Value>,
    /// Names of steps whose mistakes are so large that they are not in `steps`.
    pub unread_steps: Vec<String>,
}

/// Checks the names of experiment and trial, which are texts or expressions.
fn check_experiment_config(config: &Value, place: &Place, findings: &mut Findings) {
    const KEYS: [&str; 2] = ["ExperimentName", "TrialName"];
    let Some(mut fields) = Fields::of(config, place, findings) else { return };
    fields.check_keys(&KEYS);
    for key in KEYS {
        match fields.get(key) {
            // Malformed expressions are told with the references.
            Some(Value::String(_)) => {}
            Some(value) if Expression::read(value).is_some() => {}
            Some(other) => {
                fields.error(key, format!("is {}; allowed: a text", describe(other)));
            }
            None => fields.error(key, "is missing; give both names, or none of them"),
        }
    }
}

impl Definition {
    /// Reads a file. The error names the file and, for text that is no JSON, line and column; what
    /// is wrong with the definition itself is in the findings.
    pub fn read(path: &Path) -> Result<(Self, Findings)> {
        Self::parse(&read_file(path)?).error_context(path.display())
    }

    /// Parses the bytes of a file.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Findings)> {
        let document = json::parse_json(bytes)?;
        let mut findings = Findings::new();
        let place = Place::default();
        if !document.is_object() {
            return Err(Error::input(format!(
                "is {}; allowed: an object with Version, Parameters and Steps",
                describe(&document)
            )));
        }
        let Some(mut fields) = Fields::of(&document, &place, &mut findings) else {
            return Err(Error::internal("an object is no object"));
        };
        fields.check_keys(&[
            "Version",
            "Metadata",
            "Parameters",
            "PipelineExperimentConfig",
            "Steps",
        ]);
        if let Some(version) = fields.required_text("Version", VERSION)
            && version != VERSION
        {
            fields.error("Version", format!("is {version:?}; allowed: {VERSION:?}"));
        }
        if bytes.len() > MAX_BYTES {
            fields.findings().error(
                Place::default(),
                format!("has {} bytes; the service takes {MAX_BYTES}", bytes.len()),
            );
        }
        let mut definition = Self {
            experiment_config: fields.get("PipelineExperimentConfig").cloned(),
            ..Self::default()
        };
        if let Some(config) = fields.get("PipelineExperimentConfig") {
            let place = fields.place("PipelineExperimentConfig");
            check_experiment_config(config, &place, fields.findings());
        }
        let parameters = fields.list("Parameters");
        let steps = fields.list("Steps");
        if steps.is_empty() {
            fields.error("Steps", "has no step; give at least one");
        }
        for (index, value) in parameters.iter().enumerate() {
            let place = Place::definition("Parameters").index(index);
            let Some(parameter) = Parameter::read(value, &place, &mut findings) else { continue };
            if definition.parameter(&parameter.name).is_some() {
                let problem = format!("another parameter has the name {}", parameter.name);
                findings.error(place.key("Name"), problem);
            }
            definition.parameters.push(parameter);
        }
        step::read_steps(
            steps,
            &Place::definition("Steps"),
            None,
            &mut definition.steps,
            &mut definition.unread_steps,
            &mut findings,
        );
        let step_count = definition.steps.len() + definition.unread_steps.len();
        for (key, found, most) in
            [("Parameters", parameters.len(), MAX_PARAMETERS), ("Steps", step_count, MAX_STEPS)]
        {
            if found > most {
                let problem = format!("has {found} entries; the service takes {most}");
                findings.error(Place::definition(key), problem);
            }
        }
        Ok((definition, findings))
    }

    /// Returns the parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// Returns the step of this name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }
}
