//! The data of a task: the values that the tags of a labeling configuration show.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::annotations::json::{AnyJson, FromAnyJson};

/// Texts of a task's data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TaskData {
    /// Values that are texts, by key.
    pub(super) texts: BTreeMap<String, String>,
    /// Texts within lists and objects, by the path to them: `pages.0.url`.
    pub(super) nested_texts: BTreeMap<String, String>,
}

impl TaskData {
    /// Adds the value of a key; a second value of one key is an error.
    pub(super) fn insert<E: Error>(&mut self, key: String, value: DataValue) -> Result<(), E> {
        match value {
            DataValue::Text(text) => match self.texts.entry(key) {
                Entry::Occupied(entry) => {
                    return Err(E::custom(format_args!("duplicate field `{}`", entry.key())));
                }
                Entry::Vacant(entry) => {
                    entry.insert(text);
                }
            },
            DataValue::Nested(texts) => {
                for (path, text) in texts {
                    self.nested_texts.insert(format!("{key}.{path}"), text);
                }
            }
            DataValue::Other => {}
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for TaskData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TaskDataVisitor;
        impl<'de> Visitor<'de> for TaskDataVisitor {
            type Value = TaskData;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the data of a task")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TaskData, A::Error> {
                let mut data = TaskData::default();
                while let Some(key) = map.next_key()? {
                    let AnyJson(value) = map.next_value()?;
                    data.insert::<A::Error>(key, value)?;
                }
                Ok(data)
            }
        }
        deserializer.deserialize_map(TaskDataVisitor)
    }
}

/// Value of a key of the data, of which only texts are kept.
pub(super) enum DataValue {
    Text(String),
    /// Texts within a list or an object, by the path below it: `0.url`.
    Nested(Vec<(String, String)>),
    Other,
}

impl FromAnyJson for DataValue {
    fn from_other() -> Self {
        Self::Other
    }

    fn from_text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut texts = Vec::new();
        for index in 0_usize.. {
            let Some(AnyJson(value)) = list.next_element()? else { break };
            append_texts(&index.to_string(), value, &mut texts);
        }
        Ok(Self::Nested(texts))
    }

    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut texts = Vec::new();
        while let Some((key, AnyJson(value))) = map.next_entry::<String, _>()? {
            append_texts(&key, value, &mut texts);
        }
        Ok(Self::Nested(texts))
    }
}

/// Appends the texts of a value, with their paths below `key`.
pub(super) fn append_texts(key: &str, value: DataValue, texts: &mut Vec<(String, String)>) {
    match value {
        DataValue::Text(text) => texts.push((key.to_owned(), text)),
        DataValue::Nested(nested_texts) => {
            for (path, text) in nested_texts {
                texts.push((format!("{key}.{path}"), text));
            }
        }
        DataValue::Other => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_kept_at_every_depth() {
        let text = r#"{"image": "a.png", "n": 3, "pages": ["b.png", 1, {"url": "c.png", "x": [[], "d"]}],
                       "none": null, "image.small": "e.png"}"#;
        let data: TaskData = serde_json::from_str(text).unwrap();
        let keys: Vec<&str> = data.texts.keys().map(String::as_str).collect();
        assert_eq!(keys, ["image", "image.small"]);
        let nested: Vec<(&str, &str)> =
            data.nested_texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        assert_eq!(nested, [("pages.0", "b.png"), ("pages.2.url", "c.png"), ("pages.2.x.1", "d")]);
        let twice = serde_json::from_str::<TaskData>(r#"{"a": "x", "a": "y"}"#);
        assert!(twice.unwrap_err().to_string().starts_with("duplicate field `a`"));
        assert!(serde_json::from_str::<TaskData>("[]").is_err());
    }
}
