//! What the tests of `openapi.json` need: its references, and values held against its schemas.

use serde_json::Value;

/// The document of a server.
pub(crate) struct Document(pub(crate) Value);

impl Document {
    /// What a reference means.
    #[track_caller]
    pub(crate) fn at(&self, reference: &str) -> &Value {
        let pointer = reference.strip_prefix('#').unwrap();
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    /// A value, or what it refers to.
    pub(crate) fn followed<'a>(&'a self, value: &'a Value) -> &'a Value {
        value["$ref"].as_str().map_or(value, |reference| self.at(reference))
    }

    /// Path, method and description of each operation.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (String, String, &Value)> {
        self.0["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters");
            methods.map(move |(method, operation)| (path.clone(), method.clone(), operation))
        })
    }

    /// Where images are sent.
    pub(crate) fn segmenting(&self) -> (String, &Value) {
        let found = self
            .operations()
            .find(|(path, ..)| path == "/invocations" || path.ends_with("/invoke"));
        found.map(|(path, _, operation)| (path, operation)).unwrap()
    }
}

/// Checks that a value is as a schema says, and has no key that the schema does not name.
#[track_caller]
pub(crate) fn check(document: &Document, schema: &Value, value: &Value) {
    if let Err(reason) = fits(document, schema, value) {
        panic!("{reason}: {value}");
    }
    let mut keys = Vec::new();
    strangers(document, schema, value, &mut keys);
    assert!(keys.is_empty(), "{keys:?} are not documented: {value}");
}

/// The part of JSON Schema that the document uses.
fn fits(document: &Document, schema: &Value, value: &Value) -> Result<(), String> {
    for (key, rule) in schema.as_object().ok_or("a schema is no object")? {
        let list = || rule.as_array().into_iter().flatten();
        let number = |is_right: fn(f64, f64) -> bool| {
            value.as_f64().zip(rule.as_f64()).is_none_or(|(value, rule)| is_right(value, rule))
        };
        let length = value.as_array().map(|items| items.len() as f64);
        let is_right = match key.as_str() {
            "$ref" => return fits(document, document.at(rule.as_str().unwrap()), value),
            "description" | "format" | "examples" | "maxLength" | "pattern" => true,
            "type" if rule.is_array() => list().any(|name| has_type(name, value)),
            "type" => has_type(rule, value),
            "enum" => list().any(|one| one == value),
            "minimum" => number(|value, rule| value >= rule),
            "maximum" => number(|value, rule| value <= rule),
            "minItems" => length.zip(rule.as_f64()).is_none_or(|(length, rule)| length >= rule),
            "maxItems" => length.zip(rule.as_f64()).is_none_or(|(length, rule)| length <= rule),
            "required" => list().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "properties" => {
                for (name, inner) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        fits(document, inner, value)
                            .map_err(|reason| format!("{name}: {reason}"))?;
                    }
                }
                true
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    fits(document, rule, item)?;
                }
                true
            }
            "allOf" => {
                for one in list() {
                    fits(document, one, value)?;
                }
                true
            }
            "anyOf" => list().any(|one| fits(document, one, value).is_ok()),
            "oneOf" => list().filter(|one| fits(document, one, value).is_ok()).count() == 1,
            _ => return Err(format!("this test does not know the rule {key}")),
        };
        if !is_right {
            return Err(format!("not {key} {rule}"));
        }
    }
    Ok(())
}

fn has_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("this test does not know the type {other}"),
    }
}

/// Collects the keys that no fitting schema names.
fn strangers(document: &Document, schema: &Value, value: &Value, found: &mut Vec<String>) {
    let mut named = Vec::new();
    let mut items = Vec::new();
    gather(document, schema, value, &mut named, &mut items);
    for (key, inner) in value.as_object().into_iter().flatten() {
        let schemas: Vec<_> = named.iter().filter(|(name, _)| name == key).collect();
        if schemas.is_empty() {
            found.push(key.clone());
        }
        // A key may be named twice, once in general and once in particular.
        if let Some((_, schema)) = schemas.first() {
            strangers(document, schema, inner, found);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        if let Some(schema) = items.first() {
            strangers(document, schema, item, found);
        }
    }
}

/// The properties and items of a schema and of all that it is made of.
fn gather<'a>(
    document: &'a Document,
    schema: &'a Value,
    value: &Value,
    named: &mut Vec<(String, &'a Value)>,
    items: &mut Vec<&'a Value>,
) {
    let schema = document.followed(schema);
    named.extend(
        schema["properties"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v)),
    );
    items.extend(schema.get("items"));
    for key in ["allOf", "anyOf", "oneOf"] {
        for one in schema[key].as_array().into_iter().flatten() {
            if fits(document, one, value).is_ok() {
                gather(document, one, value, named, items);
            }
        }
    }
}

mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_that_does_not_fit_is_found_out() {
        let document = Document(
            json!({"a": {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}}}),
        );
        let schema = json!({"type": "array", "items": {"$ref": "#/a"}, "maxItems": 2});
        for (value, is_right) in [
            (json!([{"n": 1}]), true),
            (json!([{"n": 0}]), false),
            (json!([{}]), false),
            (json!([{"n": 1}, {"n": 1}, {"n": 1}]), false),
            (json!({"n": 1}), false),
            (json!([{"n": "1"}]), false),
        ] {
            assert_eq!(fits(&document, &schema, &value).is_ok(), is_right, "{value}");
        }
        let mut found = Vec::new();
        strangers(&document, &schema, &json!([{"n": 1, "m": 2}]), &mut found);
        assert_eq!(found, ["m"]);
    }
}
