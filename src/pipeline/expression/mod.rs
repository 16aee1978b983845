//! References and functions, which stand in a definition in place of values.
//!
//! | JSON | value |
//! |---|---|
//! | `{"Get": "Parameters.Epochs"}` | the parameter |
//! | `{"Get": "Execution.PipelineExecutionId"}` | a variable of the run |
//! | `{"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}` | what the service tells of the step's job when it is done |
//! | `{"Std:Join": {"On": "/", "Values": [...]}}` | texts, joined |
//! | `{"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.Report"}, "Path": "a.b"}}` | a value of a JSON file that a step wrote |

mod json_path;
mod reference;
mod resolve;
#[cfg(test)]
mod tests;

use serde_json::Value;

use self::json_path::{find_json_value, strip_root};
pub use self::reference::{ExecutionVariable, PathPart, PropertyPath, Reference};
pub use self::resolve::{Values, resolve};
use super::findings::Place;

/// Keys that make an object a reference or a function.
const GET: &str = "Get";
const JOIN: &str = "Std:Join";
const JSON_GET: &str = "Std:JsonGet";

/// Expression in place of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression<'a> {
    /// A value of another place.
    Get(Reference),
    /// The values as texts, with `on` between them.
    Join { on: &'a str, values: &'a [Value] },
    /// A value of a JSON file that a processing step writes.
    JsonGet {
        /// The file: a reference to a property file, or an `s3://` URI, which may be an expression.
        file: JsonFile<'a>,
        /// Path of the value in the file, such as `segmentation_metrics.miou.value`.
        path: &'a str,
    },
}

/// JSON file of `Std:JsonGet`.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonFile<'a> {
    /// A property file of a step.
    PropertyFile { step: String, name: String },
    /// An object in S3.
    S3Uri(&'a Value),
}

impl<'a> Expression<'a> {
    /// Reads a value as an expression. Returns nothing for values that are none, and the mistake of
    /// one that is malformed.
    pub fn read(value: &'a Value) -> Option<Result<Self, String>> {
        let object = value.as_object()?;
        let key = [GET, JOIN, JSON_GET].into_iter().find(|key| object.contains_key(*key));
        let Some(key) = key else {
            let function = object.keys().find(|key| key.starts_with("Std:"))?;
            return Some(Err(format!(
                "{function} is no function; allowed: {GET}, {JOIN}, {JSON_GET}"
            )));
        };
        if let Some(other) = object.keys().find(|other| *other != key) {
            return Some(Err(format!(
                "{key} has the key {other} beside it; an expression has one key"
            )));
        }
        let content = &object[key];
        Some(match key {
            GET => read_get(content),
            JOIN => read_join(content),
            _ => read_json_get(content),
        })
    }
}

fn read_get<'a>(content: &Value) -> Result<Expression<'a>, String> {
    let Some(text) = content.as_str() else {
        return Err(format!("{GET} is {content}; allowed: a text such as \"Parameters.NAME\""));
    };
    Reference::parse(text).map(Expression::Get)
}

fn read_join(content: &Value) -> Result<Expression<'_>, String> {
    let on = content.get("On").map_or(Some(""), Value::as_str);
    let values = content.get("Values").and_then(Value::as_array);
    let malformed_part = values.and_then(|values| {
        values.iter().find(|part| match part {
            Value::Null | Value::Array(_) => true,
            Value::Object(_) => Expression::read(part).is_none(),
            _ => false,
        })
    });
    if let Some(part) = malformed_part {
        return Err(format!(
            "{JOIN} has the part {part}; allowed: texts, numbers, true, false and expressions"
        ));
    }
    match (on, values) {
        (Some(on), Some(values)) => Ok(Expression::Join { on, values }),
        _ => Err(format!(
            "{JOIN} is {content}; allowed: {{\"On\": \"/\", \"Values\": [\"a\", \"b\"]}}"
        )),
    }
}

fn read_json_get(content: &Value) -> Result<Expression<'_>, String> {
    let malformed = || {
        format!(
            "{JSON_GET} is {content}; allowed: {{\"PropertyFile\": {{\"Get\": \
             \"Steps.STEP.PropertyFiles.NAME\"}}, \"Path\": \"a.b\"}}, or S3Uri in place of \
             PropertyFile"
        )
    };
    let path = content.get("Path").and_then(Value::as_str).ok_or_else(malformed)?;
    if PropertyPath::parse(strip_root(path)).is_none() {
        return Err(format!(
            "{JSON_GET} has the path {path:?}; allowed: names and indices, such as \
             metrics.miou.value or classes[0].iou"
        ));
    }
    if let Some(uri) = content.get("S3Uri") {
        return Ok(Expression::JsonGet { file: JsonFile::S3Uri(uri), path });
    }
    let reference = content.get("PropertyFile").and_then(|file| file.get(GET));
    let reference = reference.and_then(Value::as_str).ok_or_else(malformed)?;
    match Reference::parse(reference)? {
        Reference::PropertyFile { step, name } => {
            Ok(Expression::JsonGet { file: JsonFile::PropertyFile { step, name }, path })
        }
        _ => Err(malformed()),
    }
}

/// Calls `visit` with each expression below a value and its place. Values inside of an expression
/// are visited after it.
pub(super) fn visit_expressions<'a>(
    value: &'a Value,
    place: &Place,
    visit: &mut dyn FnMut(&Place, Result<Expression<'a>, String>),
) {
    if let Some(expression) = Expression::read(value) {
        let inner = match &expression {
            Ok(Expression::Join { values, .. }) => *values,
            Ok(Expression::JsonGet { file: JsonFile::S3Uri(uri), .. }) => {
                std::slice::from_ref(*uri)
            }
            _ => &[],
        };
        visit(place, expression);
        for value in inner {
            visit_expressions(value, place, visit);
        }
        return;
    }
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                visit_expressions(value, &place.key(key), visit);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                visit_expressions(value, &place.index(index), visit);
            }
        }
        _ => {}
    }
}
