//! The objects of Label Studio's documents. Unknown keys are skipped, known ones may be missing or null, and one
//! that comes twice is an error.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::value::{Geometry, Value};
use crate::annotations::json::{AnyKind, Id, Lenient, Name, Number, Once, Side};

/// A task with its annotations: the JSON export, and a target storage with one file per task.
#[derive(Debug, Deserialize)]
#[serde(bound = "G: Geometry", expecting = "a task, an object")]
pub(super) struct Task<G> {
    pub(super) id: Option<Id>,
    pub(super) data: Option<Data>,
    pub(super) annotations: Option<Vec<Annotation<G>>>,
    pub(super) total_annotations: Option<u64>,
    pub(super) cancelled_annotations: Option<u64>,
}

/// An annotation, alone as in a target storage or inside of its task.
#[derive(Debug, Deserialize)]
#[serde(bound = "G: Geometry", expecting = "an annotation, an object")]
pub(super) struct Annotation<G> {
    pub(super) id: Option<Id>,
    pub(super) result: Option<Vec<Item<G>>>,
    pub(super) was_cancelled: Option<bool>,
    pub(super) ground_truth: Option<bool>,
    pub(super) created_at: Option<String>,
    pub(super) updated_at: Option<String>,
    pub(super) task: Option<TaskOf>,
}

/// One result of an annotation.
#[derive(Debug, Deserialize)]
#[serde(bound = "G: Geometry", expecting = "a result, an object")]
pub(super) struct Item<G> {
    pub(super) id: Option<Name>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) to_name: Option<String>,
    pub(super) value: Option<Value<G>>,
    /// Degrees.
    pub(super) image_rotation: Option<Number>,
    pub(super) original_width: Option<Side>,
    pub(super) original_height: Option<Side>,
    /// The number of the image in a task with a list of them.
    #[serde(rename = "item_index")]
    pub(super) page: Option<Number>,
}

/// The task of an annotation: itself, or only its number.
#[derive(Debug)]
pub(super) enum TaskOf {
    Id(Id),
    Task(Embedded),
}

/// A task inside of an annotation.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a task, an object")]
pub(super) struct Embedded {
    pub(super) id: Option<Id>,
    pub(super) data: Option<Data>,
    pub(super) total_annotations: Option<u64>,
    pub(super) cancelled_annotations: Option<u64>,
}

impl<'de> Deserialize<'de> for TaskOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TaskOf;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a task or its number")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<TaskOf, E> {
                Ok(TaskOf::Id(Id(i64::try_from(number).ok())))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<TaskOf, E> {
                Ok(TaskOf::Id(Id(Some(number))))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TaskOf, E> {
                Ok(TaskOf::Id(Id(text.trim().parse().ok())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TaskOf, A::Error> {
                Embedded::deserialize(MapAccessDeserializer::new(map)).map(TaskOf::Task)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The values of a task's data that are strings.
#[derive(Debug)]
pub(super) struct Data(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Data;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the data of a task")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
                let mut data = BTreeMap::new();
                while let Some(key) = map.next_key()? {
                    if let AnyKind(Text(Some(text))) = map.next_value()? {
                        put(&mut data, key, text)?;
                    }
                }
                Ok(Data(data))
            }
        }
        deserializer.deserialize_map(Strings)
    }
}

fn put<E: Error>(data: &mut BTreeMap<String, String>, key: String, text: String) -> Result<(), E> {
    let twice = data.contains_key(&key).then(|| E::custom(format_args!("duplicate field `{key}`")));
    data.insert(key, text);
    twice.map_or(Ok(()), Err)
}

/// A row of `JSON_MIN`: one annotation, its regions flattened under the names of their tags. The order of regions
/// of different tags is lost in this format.
#[derive(Debug)]
pub(super) struct Row<G> {
    pub(super) task: Option<i64>,
    pub(super) annotation: Option<i64>,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) data: BTreeMap<String, String>,
    pub(super) values: Vec<Value<G>>,
}

impl<'de, G: Geometry> Deserialize<'de> for Row<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByKey<G>(PhantomData<G>);
        impl<'de, G: Geometry> Visitor<'de> for ByKey<G> {
            type Value = Row<G>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row of JSON_MIN, an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<G>, A::Error> {
                let (mut task, mut annotation) = (Once::<Id>::default(), Once::<Id>::default());
                let (mut created, mut updated) = (Once::default(), Once::default());
                let (mut data, mut values) = (BTreeMap::new(), Vec::new());
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "id" => task.read("id", &mut map)?,
                        "annotation_id" => annotation.read("annotation_id", &mut map)?,
                        "created_at" => created.read("created_at", &mut map)?,
                        "updated_at" => updated.read("updated_at", &mut map)?,
                        _ => match map.next_value()? {
                            AnyKind(Loose::Text(text)) => put(&mut data, key, text)?,
                            AnyKind(Loose::List(mut list)) => values.append(&mut list),
                            AnyKind(Loose::Other) => {}
                        },
                    }
                }
                Ok(Row {
                    task: task.get().and_then(|Id(id)| id),
                    annotation: annotation.get().and_then(|Id(id)| id),
                    created_at: created.get().unwrap_or_default(),
                    updated_at: updated.get().unwrap_or_default(),
                    data,
                    values,
                })
            }
        }
        deserializer.deserialize_map(ByKey(PhantomData))
    }
}

/// A value of a row, of which strings and the objects of lists are kept.
enum Loose<G> {
    Text(String),
    List(Vec<Value<G>>),
    Other,
}

impl<G: Geometry> Lenient for Loose<G> {
    fn other() -> Self {
        Self::Other
    }

    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut values = Vec::new();
        while let Some(AnyKind(Maybe(value))) = list.next_element()? {
            values.extend(value);
        }
        Ok(Self::List(values))
    }
}

/// An element of a list, if it is an object.
struct Maybe<G>(Option<Value<G>>);

impl<G: Geometry> Lenient for Maybe<G> {
    fn other() -> Self {
        Self(None)
    }

    fn map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(map)).map(|value| Self(Some(value)))
    }
}

/// A value, if it is a string.
struct Text(Option<String>);

impl Lenient for Text {
    fn other() -> Self {
        Self(None)
    }

    fn text(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}
