//! Values in place of expressions, as far as they are known.

use serde_json::{Map, Value};

use super::{Expression, JsonFile, Reference};

/// Source of the values that expressions stand for. Each function returns nothing for a value that
/// is not known yet, such as a property of a step that has not run.
pub trait Values {
    /// Returns the value of a reference.
    fn get(&self, reference: &Reference) -> Option<Value>;

    /// Returns the content of a JSON file that a step wrote.
    fn property_file(&self, _step: &str, _name: &str) -> Option<Value> {
        None
    }

    /// Returns the content of a JSON file in S3.
    fn json_object(&self, _uri: &str) -> Option<Value> {
        None
    }
}

/// Returns a copy of a value in which every expression whose value is known is replaced by it.
/// Expressions that are malformed or not known yet stay as they are.
pub fn resolve(value: &Value, values: &dyn Values) -> Value {
    match Expression::read(value) {
        Some(Ok(expression)) => {
            resolve_expression(&expression, values).unwrap_or_else(|| value.clone())
        }
        Some(Err(_)) => value.clone(),
        None => match value {
            Value::Object(object) => {
                let mut resolved = Map::new();
                for (key, value) in object {
                    resolved.insert(key.clone(), resolve(value, values));
                }
                Value::Object(resolved)
            }
            Value::Array(entries) => {
                Value::Array(entries.iter().map(|entry| resolve(entry, values)).collect())
            }
            other => other.clone(),
        },
    }
}

fn resolve_expression(expression: &Expression<'_>, values: &dyn Values) -> Option<Value> {
    match expression {
        Expression::Get(reference) => values.get(reference),
        Expression::Join { on, values: parts } => {
            let mut texts = Vec::with_capacity(parts.len());
            for part in *parts {
                texts.push(value_to_text(&resolve(part, values))?);
            }
            Some(Value::String(texts.join(on)))
        }
        Expression::JsonGet { file, path } => {
            let content = match file {
                JsonFile::PropertyFile { step, name } => values.property_file(step, name)?,
                JsonFile::S3Uri(uri) => values.json_object(resolve(uri, values).as_str()?)?,
            };
            super::find_json_value(&content, path).cloned()
        }
    }
}

/// Returns the text of a value in a joined text; nothing for lists, objects and expressions, which
/// have none.
fn value_to_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
