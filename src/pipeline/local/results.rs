//! Results of steps, and the values that expressions take from them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::outputs::WrittenPlace;
use super::places::Places;
use super::root::{Execution, now_text};
use crate::files::read_file;
use crate::pipeline::check::ParameterValues;
use crate::pipeline::definition::{Definition, Step, StepKind};
use crate::pipeline::expression::{
    ExecutionVariable, PathPart, PropertyPath, Reference, Values, resolve, visit_expressions,
};
use crate::pipeline::findings::Place;
use crate::python_json::parse_python_json;

/// Text that stands for an execution's identifier in what is compared between executions.
const ANY_EXECUTION: &str = "<execution>";

/// Result of a step that succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StepResult {
    /// Identifier of the execution that ran the step, which may be an earlier one.
    pub pipeline_execution_id: String,
    pub step_name: String,
    /// Description of the step's job in the service's words, to which references lead.
    pub properties: Value,
    /// Places that the step wrote.
    #[serde(default)]
    pub outputs: Vec<WrittenPlace>,
    /// Names and last values of the job's metrics.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    pub start_time: String,
    pub end_time: String,
}

/// Everything that expressions may take values from while a pipeline runs.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub definition: &'a Definition,
    pub parameters: &'a ParameterValues,
    pub execution: &'a Execution,
    pub places: &'a Places,
    /// Results of the steps that have succeeded, by name.
    pub results: &'a BTreeMap<String, StepResult>,
}

/// Values in a step's arguments.
struct StepValues<'a> {
    known: Known<'a>,
    job_name: String,
    /// True if texts with the identifier of an execution get [`ANY_EXECUTION`] in its place.
    is_comparable: bool,
    /// Files that could not be read.
    problems: RefCell<Vec<String>>,
}

/// Returns the name of a step's job.
pub(super) fn job_name(execution: &Execution, step: &Step) -> String {
    format!("pipelines-{}-{}", execution.pipeline_execution_id, step.name.replace('_', "-"))
}

impl<'a> Known<'a> {
    /// Returns a step's arguments with all values in their places. The error lists the values that
    /// are not there.
    pub(super) fn arguments(self, step: &Step) -> Result<Value, Vec<String>> {
        let values = self.values(step, false);
        let arguments = resolve(&step.arguments, &values);
        let mut problems = values.problems.into_inner();
        let place = Place::definition("Arguments");
        visit_expressions(&arguments, &place, &mut |place, expression| {
            let problem = match expression {
                Ok(_) => {
                    "has no value: the step that it names gave none at this path, or null".into()
                }
                Err(problem) => problem,
            };
            problems.push(format!("{place}: {problem}"));
        });
        if problems.is_empty() { Ok(arguments) } else { Err(problems) }
    }

    /// Returns a step's arguments as they are compared between executions: without this one's
    /// identifier.
    pub(super) fn comparable_arguments(self, step: &Step) -> Value {
        resolve(&step.arguments, &self.values(step, true))
    }

    fn values(self, step: &Step, is_comparable: bool) -> StepValues<'a> {
        StepValues {
            known: self,
            job_name: job_name(self.execution, step),
            is_comparable,
            problems: RefCell::new(Vec::new()),
        }
    }
}

impl StepValues<'_> {
    /// Returns the JSON of a file in a place; records why if it cannot be read.
    fn read_json(&self, uri: &str) -> Option<Value> {
        let read = self.known.places.path(uri).and_then(|path| {
            let bytes = read_file(&path)?;
            parse_python_json::<Value>(&bytes)
                .map_err(|cause| crate::error::Error::input(format!("{}: {cause}", path.display())))
        });
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.borrow_mut().push(format!("{uri}: {error}"));
                None
            }
        }
    }

    fn execution_variable(&self, variable: ExecutionVariable) -> String {
        let execution = self.known.execution;
        let (id, name) = (&execution.pipeline_execution_id, &execution.pipeline_name);
        match variable {
            ExecutionVariable::PipelineName => name.clone(),
            ExecutionVariable::PipelineArn => pipeline_arn(name),
            ExecutionVariable::PipelineExecutionId => id.clone(),
            ExecutionVariable::PipelineExecutionArn => {
                format!("{}/execution/{id}", pipeline_arn(name))
            }
            // The present would make a job another one when its execution goes on.
            ExecutionVariable::CurrentDateTime if self.is_comparable => {
                execution.start_time.clone()
            }
            ExecutionVariable::StartDateTime => execution.start_time.clone(),
            ExecutionVariable::CurrentDateTime => now_text(),
            ExecutionVariable::TrainingJobName | ExecutionVariable::ProcessingJobName => {
                self.job_name.clone()
            }
        }
    }

    /// Replaces identifiers of executions in a text that is compared.
    fn without_execution(&self, text: String, origin: Option<&str>) -> Value {
        if !self.is_comparable {
            return Value::String(text);
        }
        let mut text = text.replace(&self.known.execution.pipeline_execution_id, ANY_EXECUTION);
        if let Some(origin) = origin {
            text = text.replace(origin, ANY_EXECUTION);
        }
        Value::String(text)
    }
}

impl Values for StepValues<'_> {
    fn get(&self, reference: &Reference) -> Option<Value> {
        match reference {
            Reference::Parameter(name) => self.known.parameters.get(name).cloned(),
            Reference::Execution(variable) => {
                Some(self.without_execution(self.execution_variable(*variable), None))
            }
            Reference::Property { step, path } => {
                let result = self.known.results.get(step)?;
                match find_property(&result.properties, path)? {
                    Value::String(text) => Some(
                        self.without_execution(text.clone(), Some(&result.pipeline_execution_id)),
                    ),
                    Value::Null => None,
                    other => Some(other.clone()),
                }
            }
            Reference::PropertyFile { .. } => None,
        }
    }

    fn property_file(&self, step: &str, name: &str) -> Option<Value> {
        let result = self.known.results.get(step)?;
        let step = self.known.definition.step(step)?;
        let file = step.property_files.iter().find(|file| file.name == name)?;
        let path = PropertyPath(vec![
            PathPart::Member("ProcessingOutputConfig".to_owned()),
            PathPart::Member("Outputs".to_owned()),
            PathPart::Key(file.output.clone()),
            PathPart::Member("S3Output".to_owned()),
            PathPart::Member("S3Uri".to_owned()),
        ]);
        let uri = find_property(&result.properties, &path)?.as_str()?;
        self.read_json(&format!("{}/{}", uri.trim_end_matches('/'), file.path))
    }

    fn json_object(&self, uri: &str) -> Option<Value> {
        self.read_json(uri)
    }
}

/// Returns a value of a job's description. Entries of lists have names.
fn find_property<'a>(properties: &'a Value, path: &PropertyPath) -> Option<&'a Value> {
    const NAMES: [&str; 4] = ["OutputName", "InputName", "ChannelName", "MetricName"];
    let mut value = properties;
    for part in &path.0 {
        value = match part {
            PathPart::Member(name) => value.get(name)?,
            PathPart::Key(name) => match value {
                Value::Array(entries) => entries.iter().find(|entry| {
                    NAMES.iter().any(|key| entry.get(key).and_then(Value::as_str) == Some(name))
                })?,
                _ => value.get(name)?,
            },
            PathPart::Index(index) => value.get(index)?,
        };
    }
    Some(value)
}

/// Returns the name of a pipeline in the form that the service gives it.
fn pipeline_arn(name: &str) -> String {
    format!("arn:aws:sagemaker:local:000000000000:pipeline/{name}")
}

/// Returns what the service tells of a job that succeeded: its arguments, and what the job added.
pub(super) fn describe_job(
    kind: StepKind,
    arguments: &Value,
    job_name: &str,
    further: Value,
) -> Value {
    let mut description = arguments.clone();
    let prefix = match kind {
        StepKind::Training => "Training",
        StepKind::Tuning => "HyperParameterTuning",
        _ => "Processing",
    };
    let name = json!(job_name);
    description[format!("{prefix}JobName")] = name;
    description[format!("{prefix}JobStatus")] = json!("Completed");
    if let Value::Object(further) = further {
        for (key, value) in further {
            description[key] = value;
        }
    }
    description
}
