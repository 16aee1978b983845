//! `labels.json`: names of classes without a labelling config.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::{FORMS, LabelConfig};
use crate::annotations::json::parse;

/// `["road", "car"]`: the classes from 1 on.
pub(super) fn list(text: &str) -> Result<LabelConfig, String> {
    let names: Vec<String> = parse(text.as_bytes()).map_err(|text| expected(&text))?;
    collect(names.iter().map(|name| (name.as_str(), None)))
}

/// Names and colours by class; class 0 is the background and may be missing.
pub(super) fn by_class(text: &str) -> Result<LabelConfig, String> {
    let Classes(mut classes) = parse(text.as_bytes()).map_err(|text| expected(&text))?;
    classes.remove(&0);
    for (class, expected) in classes.keys().zip(1_u8..) {
        if *class != expected {
            return Err(format!("has no class {expected} but a class {class}; name every class"));
        }
    }
    let classes = classes.values();
    collect(
        classes.map(|class| (class.name.as_str(), class.colour.map(|[r, g, b]| [r.0, g.0, b.0]))),
    )
}

fn expected(text: &str) -> String {
    format!("is wrong: {text}; expected {FORMS}")
}

fn collect<'a>(
    labels: impl Iterator<Item = (&'a str, Option<[u8; 3]>)>,
) -> Result<LabelConfig, String> {
    let mut config = LabelConfig::default();
    for (number, (name, colour)) in labels.enumerate() {
        let class = number + 1;
        if name.is_empty() {
            return Err(format!("has an empty name for class {class}"));
        }
        config.add(name, colour);
        if config.labels.len() < class {
            return Err(format!("has the name {name} for two classes, the second is {class}"));
        }
    }
    Ok(config)
}

#[derive(Deserialize)]
#[serde(expecting = "an object with a name")]
struct Class {
    name: String,
    #[serde(alias = "color")]
    colour: Option<[crate::annotations::json::Byte; 3]>,
}

/// Key by key, because a map of serde's keeps the last of two equal keys.
struct Classes(BTreeMap<u8, Class>);

impl<'de> Deserialize<'de> for Classes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByKey;
        impl<'de> Visitor<'de> for ByKey {
            type Value = Classes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of classes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Classes, A::Error> {
                let mut classes = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let class = key.parse().map_err(|_| {
                        A::Error::custom(format_args!("the key {key:?} is no class, 0 to 255"))
                    })?;
                    if classes.insert(class, map.next_value()?).is_some() {
                        return Err(A::Error::custom(format_args!("class {class} comes twice")));
                    }
                }
                Ok(Classes(classes))
            }
        }
        deserializer.deserialize_map(ByKey)
    }
}
