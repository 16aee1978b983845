//! `labels.json`: names of classes without a labeling configuration.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::{EXPECTED_FORMATS, LabelConfig};
use crate::annotations::error::{Error, Result};
use crate::annotations::json::{Byte, parse_json};

/// Parses `["road", "car"]`: the names of classes 1, 2 and so on.
pub(super) fn parse_name_list(text: &str) -> Result<LabelConfig> {
    let names: Vec<String> = parse_json(text.as_bytes()).map_err(with_expected_formats)?;
    build_config(names.iter().map(|name| (name.as_str(), None)))
}

/// Parses names and colors by class. Class 0 is the background and may be missing.
pub(super) fn parse_class_map(text: &str) -> Result<LabelConfig> {
    let Classes(mut classes) = parse_json(text.as_bytes()).map_err(with_expected_formats)?;
    classes.remove(&0);
    for (class, expected_class) in classes.keys().zip(1_u8..) {
        if *class != expected_class {
            return Err(Error::InvalidValue(format!(
                "has no class {expected_class} but a class {class}; name every class"
            )));
        }
    }
    let classes = classes.values();
    build_config(
        classes.map(|class| (class.name.as_str(), class.color.map(|[r, g, b]| [r.0, g.0, b.0]))),
    )
}

fn with_expected_formats(error: Error) -> Error {
    error.located("is wrong: ", format!("; expected {EXPECTED_FORMATS}"))
}

fn build_config<'a>(
    labels: impl Iterator<Item = (&'a str, Option<[u8; 3]>)>,
) -> Result<LabelConfig> {
    let mut config = LabelConfig::default();
    for (index, (name, color)) in labels.enumerate() {
        let class_id = index + 1;
        if name.is_empty() {
            let message = format!("has an empty name for class {class_id}");
            return Err(Error::InvalidValue(message));
        }
        config.add_label(name, color);
        if config.labels.len() < class_id {
            let message = format!("has the name {name} for two classes, the second is {class_id}");
            return Err(Error::InvalidValue(message));
        }
    }
    Ok(config)
}

#[derive(Deserialize)]
#[serde(expecting = "an object with a name")]
struct Class {
    name: String,
    // Files of earlier versions have the key `colour`.
    #[serde(alias = "colour")]
    color: Option<[Byte; 3]>,
}

/// Classes by class id. The map is read key by key, because a map of serde's keeps the last of two
/// equal keys without an error.
struct Classes(BTreeMap<u8, Class>);

impl<'de> Deserialize<'de> for Classes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClassesVisitor;
        impl<'de> Visitor<'de> for ClassesVisitor {
            type Value = Classes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of classes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Classes, A::Error> {
                let mut classes = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let Ok(class_id) = key.parse::<u8>() else {
                        return Err(A::Error::custom(format_args!(
                            "the key {key:?} is no class, 0 to 255"
                        )));
                    };
                    if classes.insert(class_id, map.next_value()?).is_some() {
                        return Err(A::Error::custom(format_args!("class {class_id} comes twice")));
                    }
                }
                Ok(Classes(classes))
            }
        }
        deserializer.deserialize_map(ClassesVisitor)
    }
}
