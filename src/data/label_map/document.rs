//! The JSON of a label map. It is read key by key, because a JSON map of serde silently keeps the
//! last of two equal keys, and the meant one cannot be known.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::out_of_range_error;
use crate::error::{Error, Problems, Result, did_you_mean};

const EXPECTED_FORMATS: &str = "{\"scale\": \"3\"} or {\"map\": {\"0\": 5, \"1\": 0}}";

/// Content of a file.
#[derive(Debug)]
pub(super) enum LabelMapDocument {
    /// Class = pixel value / scale.
    Scale(u8),
    /// Pixel values by class.
    Map(Vec<LabelMapEntry>),
}

/// One class of a map and its pixel values.
#[derive(Debug)]
pub(super) struct LabelMapEntry {
    pub(super) class: u8,
    pub(super) values: Vec<u8>,
    /// True if the values are a list in the file.
    pub(super) is_list: bool,
}

/// Keys of an object and their values, in the order of the file.
struct KeyValuePairs<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for KeyValuePairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
            type Value = KeyValuePairs<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<KeyValuePairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(KeyValuePairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor(std::marker::PhantomData))
    }
}

/// Values of the known keys of the object, each as often as it occurs.
#[derive(Default)]
struct RawLabelMap {
    scales: Vec<Value>,
    maps: Vec<KeyValuePairs<Value>>,
    unknown_keys: Vec<String>,
}

impl<'de> Deserialize<'de> for RawLabelMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawLabelMapVisitor;
        impl<'de> Visitor<'de> for RawLabelMapVisitor {
            type Value = RawLabelMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawLabelMap, A::Error> {
                let mut raw = RawLabelMap::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "scale" => raw.scales.push(map.next_value()?),
                        "map" => raw.maps.push(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            raw.unknown_keys.push(key);
                        }
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(RawLabelMapVisitor)
    }
}

/// Parses the bytes of a file.
pub(super) fn parse_document(bytes: &[u8]) -> Result<LabelMapDocument> {
    // Some editors begin a file with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let raw: RawLabelMap = serde_json::from_slice(bytes)
        .map_err(|cause| Error::input(format!("{cause}; expected {EXPECTED_FORMATS}")))?;
    let mut problems = Problems::new();
    for key in &raw.unknown_keys {
        let hint = did_you_mean(key, ["scale", "map"]);
        problems.push(format!("{key:?} is no key of a label map{hint}; allowed: scale, map"));
    }
    for (key, count) in [("scale", raw.scales.len()), ("map", raw.maps.len())] {
        if count > 1 {
            problems.push(format!("the key {key} comes {count} times; keep one"));
        }
    }
    let document = match (raw.scales.first(), raw.maps.first()) {
        (Some(_), Some(_)) => Err(Error::input(
            "scale and map are both given, and it is not defined which comes first; keep the one \
             whose classes are meant",
        )),
        (Some(scale), None) => parse_byte(scale, "scale", 1).map(LabelMapDocument::Scale),
        (None, Some(KeyValuePairs(pairs))) => {
            Ok(LabelMapDocument::Map(parse_entries(pairs, &mut problems)))
        }
        (None, None) => Err(Error::input(format!(
            "neither scale nor map is there; expected {EXPECTED_FORMATS}"
        ))),
    };
    let document = problems.check(document);
    problems.finish_with(document)
}

fn parse_entries(pairs: &[(String, Value)], problems: &mut Problems) -> Vec<LabelMapEntry> {
    if pairs.is_empty() {
        problems.push("map is empty; name the pixel value of every class");
    }
    let mut entries = Vec::new();
    for (key, value) in pairs {
        let class = problems.record_err(parse_byte(&Value::from(key.as_str()), "a key of map", 0));
        let value_name = format!("the pixel value of {key:?} in map");
        let (pixel_values, is_list) = match value {
            Value::Array(list) => (list.as_slice(), true),
            single => (std::slice::from_ref(single), false),
        };
        let mut values = Vec::new();
        for value in pixel_values {
            values.extend(problems.record_err(parse_byte(value, &value_name, 0)));
        }
        if let Some(class) = class {
            entries.push(LabelMapEntry { class, values, is_list });
        }
    }
    entries
}

/// Reads a whole number from `min` to 255, which is a number or a string.
fn parse_byte(value: &Value, name: &str, min: u8) -> Result<u8> {
    let number: Option<u64> = match value {
        Value::String(text) => text.trim().parse::<u8>().ok().map(u64::from),
        other => other.as_u64(),
    };
    match number {
        Some(number) if (u64::from(min)..=255).contains(&number) => Ok(number as u8),
        _ => Err(out_of_range_error(name, value, min)),
    }
}
