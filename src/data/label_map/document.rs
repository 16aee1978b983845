//! The JSON of a label map. Read key by key, because a JSON map of serde silently keeps the last of two
//! equal keys, and which one was meant cannot be known.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::out_of_range;
use crate::error::{Error, Problems, Result, did_you_mean};

const FORMS: &str = "{\"scale\": \"3\"} or {\"map\": {\"0\": 5, \"1\": 0}}";

/// What a file says.
#[derive(Debug)]
pub(super) enum Document {
    /// Class = pixel value / scale.
    Scale(u8),
    /// Pixel values by class.
    Map(Vec<Entry>),
}

/// One class of a map and its pixel values.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) class: u8,
    pub(super) values: Vec<u8>,
    /// Whether they came as a list.
    pub(super) is_list: bool,
}

/// The keys of an object and their values, in the order of the file.
struct Pairs<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for InOrder<V> {
            type Value = Pairs<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder(std::marker::PhantomData))
    }
}

/// The object itself.
#[derive(Default)]
struct Raw {
    scales: Vec<Value>,
    maps: Vec<Pairs<Value>>,
    others: Vec<String>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByKey;
        impl<'de> Visitor<'de> for ByKey {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut raw = Raw::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "scale" => raw.scales.push(map.next_value()?),
                        "map" => raw.maps.push(map.next_value()?),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            raw.others.push(key);
                        }
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(ByKey)
    }
}

/// Reads a file's bytes.
pub(super) fn parse(bytes: &[u8]) -> Result<Document> {
    // Some editors begin a file with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let raw: Raw = serde_json::from_slice(bytes)
        .map_err(|cause| Error::input(format!("{cause}; expected {FORMS}")))?;
    let mut problems = Problems::new();
    for key in &raw.others {
        let hint = did_you_mean(key, ["scale", "map"]);
        problems.push(format!("{key:?} is no key of a label map{hint}; allowed: scale, map"));
    }
    for (key, number) in [("scale", raw.scales.len()), ("map", raw.maps.len())] {
        if number > 1 {
            problems.push(format!("the key {key} comes {number} times; keep one"));
        }
    }
    let document = match (raw.scales.first(), raw.maps.first()) {
        (Some(_), Some(_)) => {
            problems.push(
                "scale and map are both given, and it is not defined which comes first; keep the \
                 one whose classes are meant",
            );
            None
        }
        (Some(scale), None) => problems.check(number(scale, "scale", 1)).map(Document::Scale),
        (None, Some(Pairs(pairs))) => Some(Document::Map(entries(pairs, &mut problems))),
        (None, None) => {
            problems.push(format!("neither scale nor map is there; expected {FORMS}"));
            None
        }
    };
    problems.into_result()?;
    document.ok_or_else(|| Error::internal("a label map failed without a problem"))
}

fn entries(pairs: &[(String, Value)], problems: &mut Problems) -> Vec<Entry> {
    if pairs.is_empty() {
        problems.push("map is empty; name the pixel value of every class");
    }
    let mut entries = Vec::new();
    for (key, value) in pairs {
        let class = problems.check(number(&Value::from(key.as_str()), "a key of map", 0));
        let what = format!("the pixel value of {key:?} in map");
        let (list, is_list) = match value {
            Value::Array(list) => (list.as_slice(), true),
            single => (std::slice::from_ref(single), false),
        };
        let values = list.iter().filter_map(|value| problems.check(number(value, &what, 0)));
        let values = values.collect();
        entries.extend(class.map(|class| Entry { class, values, is_list }));
    }
    entries
}

/// A whole number from `first` to 255, as a number or as a string.
fn number(value: &Value, what: &str, first: u8) -> Result<u8> {
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64().and_then(|number| u8::try_from(number).ok()),
    };
    number.filter(|&number| number >= first).ok_or_else(|| out_of_range(what, value, first))
}
