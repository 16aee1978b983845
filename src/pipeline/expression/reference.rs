//! References: parameters, variables of the run, and properties of steps.

use std::fmt;

use crate::error::did_you_mean;
use crate::named_enum::named_enum;

named_enum! {
    /// Variable of a run.
    ExecutionVariable {
        PipelineName = "PipelineName",
        PipelineArn = "PipelineArn",
        /// Identifier of the run, which the service makes: 12 letters and digits.
        PipelineExecutionId = "PipelineExecutionId",
        PipelineExecutionArn = "PipelineExecutionArn",
        /// Time at which the run began, as ISO 8601.
        StartDateTime = "StartDateTime",
        /// Time at which the expression is read, as ISO 8601.
        CurrentDateTime = "CurrentDateTime",
        /// Name of the training job of the step in which it stands.
        TrainingJobName = "TrainingJobName",
        /// Name of the processing job of the step in which it stands.
        ProcessingJobName = "ProcessingJobName",
    }
}

/// Value of another place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A parameter of the pipeline, by its name.
    Parameter(String),
    /// A variable of the run.
    Execution(ExecutionVariable),
    /// Property of a step's job, as the service describes it.
    Property { step: String, path: PropertyPath },
    /// A JSON file that a processing step writes and declares.
    PropertyFile { step: String, name: String },
}

/// Path in the service's description of a job, such as `ModelArtifacts.S3ModelArtifacts` or
/// `ProcessingOutputConfig.Outputs['train'].S3Output.S3Uri`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyPath(pub Vec<PathPart>);

/// Part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPart {
    /// `.Name`: a member of a structure.
    Member(String),
    /// `['name']`: an entry of a map, or of a list whose entries have names.
    Key(String),
    /// `[0]`: an entry of a list.
    Index(usize),
}

impl Reference {
    /// Parses the text of a `Get`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let malformed = || {
            format!(
                "the reference is {text:?}; allowed: Parameters.NAME, Execution.VARIABLE, \
                 Steps.STEP.PROPERTY"
            )
        };
        let (kind, rest) = text.split_once('.').ok_or_else(malformed)?;
        match kind {
            "Parameters" if !rest.is_empty() => Ok(Self::Parameter(rest.to_owned())),
            "Execution" => {
                if let Some(variable) = ExecutionVariable::from_name(rest) {
                    return Ok(Self::Execution(variable));
                }
                let names = ExecutionVariable::ALL.map(ExecutionVariable::name);
                Err(format!(
                    "Execution.{rest} is no variable{}; allowed: {}",
                    did_you_mean(rest, names),
                    names.join(", ")
                ))
            }
            "Steps" => {
                let (step, path) = rest.split_once('.').ok_or_else(malformed)?;
                let path =
                    PropertyPath::parse(path).filter(|_| !step.is_empty()).ok_or_else(malformed)?;
                Ok(match path.0.as_slice() {
                    [PathPart::Member(first), PathPart::Member(name)]
                        if first == "PropertyFiles" =>
                    {
                        Self::PropertyFile { step: step.to_owned(), name: name.clone() }
                    }
                    _ => Self::Property { step: step.to_owned(), path },
                })
            }
            _ => {
                let near = did_you_mean(kind, ["Parameters", "Execution", "Steps"]);
                Err(malformed() + &near)
            }
        }
    }
}

impl PropertyPath {
    /// Parses a path; returns nothing if it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        let mut expects_member = true;
        while !rest.is_empty() || expects_member {
            if expects_member {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                if name.is_empty() || name.contains([']', '\'', '"']) {
                    return None;
                }
                parts.push(PathPart::Member(name.to_owned()));
                rest = after;
                expects_member = false;
            } else if let Some(after) = rest.strip_prefix('.') {
                rest = after;
                expects_member = true;
            } else {
                let (part, after) = parse_brackets(rest)?;
                parts.push(part);
                rest = after;
            }
        }
        Some(Self(parts))
    }
}

/// Parses `[0]`, `['name']` or `["name"]`, and returns what follows it.
fn parse_brackets(text: &str) -> Option<(PathPart, &str)> {
    let content = text.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(quoted) = content.strip_prefix(quote) {
            let (name, after) = quoted.split_once(quote)?;
            return Some((PathPart::Key(name.to_owned()), after.strip_prefix(']')?));
        }
    }
    let (number, after) = content.split_once(']')?;
    Some((PathPart::Index(number.parse().ok()?), after))
}

impl fmt::Display for PropertyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, part) in self.0.iter().enumerate() {
            match part {
                PathPart::Member(name) if position == 0 => f.write_str(name)?,
                PathPart::Member(name) => write!(f, ".{name}")?,
                PathPart::Key(name) if name.contains('\'') => write!(f, "[\"{name}\"]")?,
                PathPart::Key(name) => write!(f, "['{name}']")?,
                PathPart::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter(name) => write!(f, "Parameters.{name}"),
            Self::Execution(variable) => write!(f, "Execution.{}", variable.name()),
            Self::Property { step, path } => write!(f, "Steps.{step}.{path}"),
            Self::PropertyFile { step, name } => write!(f, "Steps.{step}.PropertyFiles.{name}"),
        }
    }
}
