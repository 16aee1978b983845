//! A JSON value with every key of its objects. A map of serde keeps the last of two equal keys
//! without an error, and the meant one cannot be known.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum JsonValue {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<JsonValue>),
    /// Keys and values in the order of the file.
    Object(Vec<(String, JsonValue)>),
}

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonValueVisitor;
        impl<'de> Visitor<'de> for JsonValueVisitor {
            type Value = JsonValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of JSON")
            }

            fn visit_unit<E: Error>(self) -> Result<JsonValue, E> {
                Ok(JsonValue::Null)
            }

            fn visit_bool<E: Error>(self, truth: bool) -> Result<JsonValue, E> {
                Ok(JsonValue::Bool(truth))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<JsonValue, E> {
                Ok(JsonValue::Number(number as f64))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<JsonValue, E> {
                Ok(JsonValue::Number(number as f64))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<JsonValue, E> {
                Ok(JsonValue::Number(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<JsonValue, E> {
                Ok(JsonValue::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<JsonValue, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(JsonValue::List(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonValue, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(JsonValue::Object(entries))
            }
        }
        deserializer.deserialize_any(JsonValueVisitor)
    }
}
