//! The requests of Label Studio, as far as this program reads them.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api_error::{ApiError, ErrorType};

/// `POST /setup`: Label Studio makes a project known, and asks for the version of the model.
#[derive(Debug, Deserialize)]
pub(super) struct SetupRequest {
    #[serde(default)]
    project: Value,
    /// Labeling configuration, in XML.
    #[serde(default)]
    pub(super) schema: Option<String>,
}

/// `POST /predict`: Label Studio wants predictions for tasks, or for the prompt of an annotator.
#[derive(Debug, Deserialize)]
pub(super) struct PredictRequest {
    pub(super) tasks: Vec<TaskRequest>,
    #[serde(default)]
    project: Value,
    #[serde(default)]
    pub(super) label_config: Option<String>,
    #[serde(default)]
    params: Option<PredictParams>,
}

/// A task without its annotations and predictions, which may have megabytes.
#[derive(Debug, Deserialize)]
pub(super) struct TaskRequest {
    pub(super) id: i64,
    #[serde(default)]
    data: Map<String, Value>,
    #[serde(default)]
    project: Value,
}

#[derive(Debug, Deserialize)]
struct PredictParams {
    #[serde(default)]
    context: Option<Value>,
}

impl TaskRequest {
    /// Returns the JSON of the task with its data alone.
    pub(super) fn to_json(&self) -> String {
        json!({ "id": self.id, "data": self.data, "annotations": [] }).to_string()
    }
}

impl SetupRequest {
    pub(super) fn project_id(&self) -> Option<i64> {
        read_project(&self.project)
    }
}

impl PredictRequest {
    pub(super) fn project_id(&self) -> Option<i64> {
        let of_tasks = || self.tasks.iter().find_map(|task| read_project(&task.project));
        read_project(&self.project).or_else(of_tasks)
    }

    /// Returns the regions that an annotator drew as a prompt, if this is an interactive request.
    pub(super) fn prompt(&self) -> Option<&Value> {
        let context = self.params.as_ref()?.context.as_ref()?;
        context.as_object().filter(|context| !context.is_empty())?;
        Some(context)
    }
}

/// Reads the number of a project: a number, or a text such as `1.1795207983`, whose second part is the time
/// of the project's creation.
fn read_project(project: &Value) -> Option<i64> {
    match project {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.split('.').next()?.parse().ok(),
        _ => None,
    }
}

/// Parses the body of a request.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let deserializer = &mut serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(deserializer).map_err(|cause| {
        ApiError::new(
            ErrorType::InvalidBody,
            format!("the body is not what Label Studio sends to its ML backends ({cause})"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projects_are_numbers_or_texts_that_begin_with_one() {
        let request = |body: &str| parse::<PredictRequest>(body.as_bytes()).unwrap();
        assert_eq!(request(r#"{"tasks": [], "project": "12.1795207983"}"#).project_id(), Some(12));
        assert_eq!(request(r#"{"tasks": [], "project": 3}"#).project_id(), Some(3));
        assert_eq!(request(r#"{"tasks": [{"id": 1, "project": 4}]}"#).project_id(), Some(4));
        assert_eq!(request(r#"{"tasks": [], "project": "x"}"#).project_id(), None);
    }

    #[test]
    fn a_context_is_a_prompt_unless_it_is_empty() {
        let is_prompt = |params: &str| {
            let body = format!(r#"{{"tasks": [], "params": {params}}}"#);
            parse::<PredictRequest>(body.as_bytes()).unwrap().prompt().is_some()
        };
        assert!(is_prompt(r#"{"login": "", "context": {"result": []}}"#));
        assert!(!is_prompt(r#"{"login": "", "context": null}"#) && !is_prompt("null"));
        assert!(!is_prompt(r#"{"context": {}}"#));
    }
}
