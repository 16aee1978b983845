//! Shapes of SageMaker's API: those of the requests that steps make and of the
//! descriptions that their references read. `scripts/service-model.py` writes the table out of the
//! service model of a pinned version of botocore, whose own validator checks names and types only.

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, OnceLock};

use regex::Regex;
use serde::Deserialize;

use super::definition::StepKind;
use super::expression::{PathPart, PropertyPath};
use crate::error::did_you_mean;

/// Table of `sagemaker.json`, which is read at its first use.
#[expect(clippy::expect_used, reason = "a test reads the table, which is a part of the program")]
static SERVICE_MODEL: LazyLock<ServiceModel> = LazyLock::new(|| {
    let table: Table =
        serde_json::from_str(include_str!("sagemaker.json")).expect("sagemaker.json");
    let mut patterns = HashMap::new();
    for shape in table.shapes.values() {
        if let Some(pattern) = &shape.pattern {
            patterns.insert(pattern.clone(), OnceLock::new());
        }
    }
    ServiceModel { table, patterns }
});

/// Shapes of the API.
#[derive(Debug)]
pub(super) struct ServiceModel {
    table: Table,
    /// Patterns of the shapes, each compiled at its first use.
    patterns: HashMap<String, OnceLock<Regex>>,
}

#[derive(Debug, Deserialize)]
struct Table {
    steps: BTreeMap<String, StepOperation>,
    shapes: BTreeMap<String, Shape>,
}

/// Operation that starts the job of a step.
#[derive(Debug, Deserialize)]
pub(super) struct StepOperation {
    /// Name of the operation, such as `CreateTrainingJob`.
    pub(super) operation: String,
    /// Shape of its request.
    pub(super) request: String,
    /// Shape of the description of the job, which references read.
    pub(super) response: String,
    /// Member of the request that names the job. The service fills it in.
    pub(super) job_name: String,
}

/// Type of a value in a request or a description.
#[derive(Debug, Deserialize)]
pub(super) struct Shape {
    #[serde(rename = "type")]
    pub(super) kind: ShapeKind,
    /// Least number, length in characters, or number of entries.
    pub(super) min: Option<f64>,
    /// Largest number, length in characters, or number of entries.
    pub(super) max: Option<f64>,
    /// Regular expression that the whole text matches.
    pattern: Option<String>,
    /// All values of the text.
    #[serde(rename = "enum", default)]
    pub(super) values: Vec<String>,
    /// Members of a structure that must be there.
    #[serde(default)]
    pub(super) required: Vec<String>,
    /// Shapes of the members of a structure.
    #[serde(default)]
    pub(super) members: BTreeMap<String, String>,
    /// Shape of the entries of a list.
    pub(super) member: Option<String>,
    /// Shape of the keys of a map.
    pub(super) key: Option<String>,
    /// Shape of the values of a map.
    pub(super) value: Option<String>,
}

impl Shape {
    /// Returns the regular expression that texts of the shape match.
    pub(super) fn pattern(&self) -> Option<&str> {
        self.pattern.as_deref()
    }
}

/// Kind of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ShapeKind {
    Structure,
    List,
    Map,
    String,
    Integer,
    Long,
    Float,
    Boolean,
    Timestamp,
}

impl ShapeKind {
    /// Returns the kind for messages.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Structure | Self::Map => "an object",
            Self::List => "a list",
            Self::String => "a text",
            Self::Integer | Self::Long => "a whole number",
            Self::Float => "a number",
            Self::Boolean => "true or false",
            Self::Timestamp => "a time",
        }
    }
}

/// Compiles a pattern of the table. The service compares the whole text.
#[expect(clippy::expect_used, reason = "a test compiles every pattern of the table")]
fn compile_pattern(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("sagemaker.json")
}

/// Returns the shapes of the API.
pub(super) fn service_model() -> &'static ServiceModel {
    &SERVICE_MODEL
}

impl ServiceModel {
    /// Returns the operation that steps of a kind call; nothing for kinds that are not in the table.
    pub(super) fn step_operation(&self, kind: StepKind) -> Option<&StepOperation> {
        self.table.steps.get(kind.name())
    }

    /// Returns the shape of this name. Every name in the table leads to a shape.
    pub(super) fn shape(&self, name: &str) -> &Shape {
        &self.table.shapes[name]
    }

    /// Returns true if a text matches the pattern of its shape.
    pub(super) fn matches(&self, shape: &Shape, text: &str) -> bool {
        let Some(pattern) = &shape.pattern else { return true };
        let regex = self.patterns[pattern].get_or_init(|| compile_pattern(pattern));
        regex.is_match(text)
    }

    /// Returns the name of the shape to which a path leads in the description of a step's job. The
    /// error says where the path ends.
    pub(super) fn find_property(
        &self,
        kind: StepKind,
        path: &PropertyPath,
    ) -> Result<&str, String> {
        // A condition step has no job, and this one property.
        if kind == StepKind::Condition && path.to_string() == "Outcome" {
            return Ok("String");
        }
        let Some(operation) = self.step_operation(kind) else {
            return Err(format!("steps of type {} have no properties", kind.name()));
        };
        let mut name = operation.response.as_str();
        for (position, part) in path.0.iter().enumerate() {
            let shape = self.shape(name);
            let next = match part {
                PathPart::Member(member) => shape.members.get(member),
                PathPart::Key(_) => shape.value.as_ref().or(shape.member.as_ref()),
                PathPart::Index(_) => shape.member.as_ref(),
            };
            let Some(next) = next else {
                let before = PropertyPath(path.0[..position].to_vec());
                let before = if position == 0 {
                    format!("the description of a {} job", kind.name())
                } else {
                    before.to_string()
                };
                return Err(match part {
                    PathPart::Member(member) if shape.kind == ShapeKind::Structure => format!(
                        "{before} has no {member}{}; it has {}",
                        did_you_mean(member, shape.members.keys().map(String::as_str)),
                        shape.members.keys().cloned().collect::<Vec<_>>().join(", ")
                    ),
                    PathPart::Member(member) => {
                        format!("{before} is {}, which has no {member}", shape.kind.describe())
                    }
                    _ => format!("{before} is {} and has no entries", shape.kind.describe()),
                });
            };
            name = next;
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(kind: StepKind, path: &str) -> Result<&'static str, String> {
        service_model().find_property(kind, &PropertyPath::parse(path).unwrap())
    }

    #[test]
    fn every_name_in_the_table_leads_to_a_shape() {
        let model = service_model();
        for shape in model.table.shapes.values() {
            let names = shape.members.values().chain(&shape.member).chain(&shape.key);
            for name in names.chain(&shape.value) {
                assert!(model.table.shapes.contains_key(name), "{name}");
            }
        }
        for operation in model.table.steps.values() {
            let request = model.shape(&operation.request);
            assert!(request.members.contains_key(&operation.job_name), "{}", operation.operation);
        }
    }

    #[test]
    fn every_pattern_is_one_of_this_language() {
        for pattern in service_model().patterns.keys() {
            compile_pattern(pattern);
        }
    }

    #[test]
    fn properties_are_those_of_the_description_of_the_job() {
        assert_eq!(find(StepKind::Training, "ModelArtifacts.S3ModelArtifacts"), Ok("S3Uri"));
        let output = "ProcessingOutputConfig.Outputs['train'].S3Output.S3Uri";
        assert_eq!(find(StepKind::Processing, output), Ok("S3Uri"));
        assert!(find(StepKind::Training, "FinalMetricDataList[0].Value").is_ok());
        let wrong = find(StepKind::Training, "ModelArtifact.S3ModelArtifacts").unwrap_err();
        assert!(wrong.contains("did you mean \"ModelArtifacts\"?"), "{wrong}");
        let wrong = find(StepKind::Training, "ModelArtifacts.S3ModelArtifacts.Key").unwrap_err();
        assert!(wrong.contains("is a text, which has no Key"), "{wrong}");
        let wrong = find(StepKind::Training, "ModelArtifacts['x']").unwrap_err();
        assert!(wrong.contains("has no entries"), "{wrong}");
        assert_eq!(find(StepKind::Condition, "Outcome"), Ok("String"));
        assert!(find(StepKind::Fail, "ErrorMessage").unwrap_err().contains("no properties"));
        assert!(find(StepKind::Tuning, "TrainingJobSummaries[0].TrainingJobName").is_ok());
    }
}
