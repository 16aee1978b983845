//! JSON files of the contract before validation: objects whose values are still strings.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};

/// Reads a JSON object from `path`; `None` if the file does not exist.
pub(crate) fn read_json_object(path: &Path) -> Result<Option<serde_json::Map<String, Value>>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(Error::io("read", path, &cause)),
    };
    parse_json_object(&bytes, path).map(Some)
}

/// Parses the bytes of the file at `path`, which must hold a JSON object.
pub(super) fn parse_json_object(
    bytes: &[u8],
    path: &Path,
) -> Result<serde_json::Map<String, Value>> {
    // Some editors begin a file with a byte order mark.
    let without_bom = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    match serde_json::from_slice(without_bom) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(Error::input(format!(
            "{}: expected a JSON object like {{\"key\": \"value\"}}, found {}",
            path.display(),
            json_type(&other)
        ))),
        Err(cause) => Err(Error::input(format!("{}: not valid JSON: {cause}", path.display()))),
    }
}

/// Converts every value to text. SageMaker sends strings, some SDKs quote them once more
/// (`"\"fcn\""`), and files that people write hold numbers and booleans.
pub(crate) fn stringify_values(map: serde_json::Map<String, Value>) -> BTreeMap<String, String> {
    map.into_iter().map(|(key, value)| (key, value_to_text(&value))).collect()
}

fn value_to_text(value: &Value) -> String {
    match value {
        Value::String(inner) => {
            let trimmed = inner.trim();
            let quoted = trimmed.len() >= 2 && trimmed.starts_with('"') && trimmed.ends_with('"');
            match serde_json::from_str::<String>(trimmed) {
                Ok(unquoted) if quoted => unquoted.trim().to_owned(),
                _ => trimmed.to_owned(),
            }
        }
        other => other.to_string(),
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_plain_quoted_or_not_strings_at_all() {
        for (value, expected) in
            [("\"fcn\"", "fcn"), (r#""\"fcn\"""#, "fcn"), ("true", "true"), ("1e-4", "0.0001")]
        {
            let value: Value = serde_json::from_str(value).unwrap();
            assert_eq!(value_to_text(&value), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_string_stays_a_string(inner in ".*") {
            value_to_text(&Value::String(inner));
        }
    }
}
