//! The objects of Label Studio's documents. Unknown keys are skipped, known keys may be missing or
//! null, and a key that appears twice is an error.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::region_value::{Geometry, RegionValue};
use crate::annotations::json::{
    AnyJson, FromAnyJson, Id, Number, SideLength, StringOrNumber, UniqueValue,
};

/// A task with its annotations: an element of the JSON export, or of a target storage with one file
/// per task.
#[derive(Debug, Deserialize)]
#[serde(bound = "G: Geometry", expecting = "a task, an object")]
pub(super) struct Task<G> {
    pub(super) id: Option<Id>,
    pub(super) data: Option<TaskData>,
    pub(super) annotations: Option<Vec<Annotation<G>>>,
    pub(super) total_annotations: Option<u64>,
    pub(super) cancelled_annotations: Option<u64>,
}

/// An annotation, inside of its task or alone as in a target storage.
#[derive(Debug, Deserialize)]
#[serde(bound = "G: Geometry", expecting = "an annotation, an object")]
pub(super) struct Annotation<G> {
    pub(super) id: Option<Id>,
    pub(super) result: Option<Vec<ResultItem<G>>>,
    pub(super) was_cancelled: Option<bool>,
    pub(super) ground_truth: Option<bool>,
    pub(super) created_at: Option<String>,
    pub(super) updated_at: Option<String>,
    pub(super) task: Option<TaskReference>,
}

/// One result of an annotation.
#[derive(Debug, Deserialize)]
#[serde(bound = "G: Geometry", expecting = "a result, an object")]
pub(super) struct ResultItem<G> {
    pub(super) id: Option<StringOrNumber>,
    #[serde(rename = "type")]
    pub(super) result_type: Option<String>,
    pub(super) to_name: Option<String>,
    pub(super) value: Option<RegionValue<G>>,
    /// Rotation of the image while the region was drawn, in degrees.
    pub(super) image_rotation: Option<Number>,
    pub(super) original_width: Option<SideLength>,
    pub(super) original_height: Option<SideLength>,
    /// Index of the image in a task with a list of images.
    #[serde(rename = "item_index")]
    pub(super) item_index: Option<Number>,
}

/// The task of an annotation, or only its id.
#[derive(Debug)]
pub(super) enum TaskReference {
    Id(Id),
    Task(EmbeddedTask),
}

/// A task inside of an annotation.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a task, an object")]
pub(super) struct EmbeddedTask {
    pub(super) id: Option<Id>,
    pub(super) data: Option<TaskData>,
    pub(super) total_annotations: Option<u64>,
    pub(super) cancelled_annotations: Option<u64>,
}

impl<'de> Deserialize<'de> for TaskReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TaskReferenceVisitor;
        impl<'de> Visitor<'de> for TaskReferenceVisitor {
            type Value = TaskReference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a task or its number")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<TaskReference, E> {
                Ok(TaskReference::Id(Id(i64::try_from(number).ok())))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<TaskReference, E> {
                Ok(TaskReference::Id(Id(Some(number))))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TaskReference, E> {
                Ok(TaskReference::Id(Id(text.trim().parse().ok())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TaskReference, A::Error> {
                EmbeddedTask::deserialize(MapAccessDeserializer::new(map)).map(TaskReference::Task)
            }
        }
        deserializer.deserialize_any(TaskReferenceVisitor)
    }
}

/// The values of a task's data that are strings, by key.
#[derive(Debug)]
pub(super) struct TaskData(pub(super) BTreeMap<String, String>);

impl<'de> Deserialize<'de> for TaskData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TaskDataVisitor;
        impl<'de> Visitor<'de> for TaskDataVisitor {
            type Value = TaskData;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the data of a task")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TaskData, A::Error> {
                let mut data = BTreeMap::new();
                while let Some(key) = map.next_key()? {
                    if let AnyJson(MaybeString(Some(text))) = map.next_value()? {
                        insert_unique(&mut data, key, text)?;
                    }
                }
                Ok(TaskData(data))
            }
        }
        deserializer.deserialize_map(TaskDataVisitor)
    }
}

fn insert_unique<E: Error>(
    data: &mut BTreeMap<String, String>,
    key: String,
    text: String,
) -> Result<(), E> {
    match data.entry(key) {
        Entry::Occupied(entry) => Err(E::custom(format_args!("duplicate field `{}`", entry.key()))),
        Entry::Vacant(entry) => {
            entry.insert(text);
            Ok(())
        }
    }
}

/// A row of `JSON_MIN`: one annotation, with its regions flattened under the names of their tags.
/// The format loses the order of regions of different tags.
#[derive(Debug)]
pub(super) struct JsonMinRow<G> {
    pub(super) task_id: Option<i64>,
    pub(super) annotation_id: Option<i64>,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) data: BTreeMap<String, String>,
    pub(super) values: Vec<RegionValue<G>>,
}

impl<'de, G: Geometry> Deserialize<'de> for JsonMinRow<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonMinRowVisitor<G>(PhantomData<G>);
        impl<'de, G: Geometry> Visitor<'de> for JsonMinRowVisitor<G> {
            type Value = JsonMinRow<G>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row of JSON_MIN, an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonMinRow<G>, A::Error> {
                let (mut task_id, mut annotation_id) =
                    (UniqueValue::<Id>::default(), UniqueValue::<Id>::default());
                let (mut created_at, mut updated_at) =
                    (UniqueValue::default(), UniqueValue::default());
                let (mut data, mut values) = (BTreeMap::new(), Vec::new());
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "id" => task_id.read("id", &mut map)?,
                        "annotation_id" => annotation_id.read("annotation_id", &mut map)?,
                        "created_at" => created_at.read("created_at", &mut map)?,
                        "updated_at" => updated_at.read("updated_at", &mut map)?,
                        _ => match map.next_value()? {
                            AnyJson(RowValue::Text(text)) => insert_unique(&mut data, key, text)?,
                            AnyJson(RowValue::List(mut list)) => values.append(&mut list),
                            AnyJson(RowValue::Other) => {}
                        },
                    }
                }
                Ok(JsonMinRow {
                    task_id: task_id.into_inner().and_then(|Id(id)| id),
                    annotation_id: annotation_id.into_inner().and_then(|Id(id)| id),
                    created_at: created_at.into_inner().unwrap_or_default(),
                    updated_at: updated_at.into_inner().unwrap_or_default(),
                    data,
                    values,
                })
            }
        }
        deserializer.deserialize_map(JsonMinRowVisitor(PhantomData))
    }
}

/// Value of a key of a row. Strings and the objects of lists are kept.
enum RowValue<G> {
    Text(String),
    List(Vec<RegionValue<G>>),
    Other,
}

impl<G: Geometry> FromAnyJson for RowValue<G> {
    fn from_other() -> Self {
        Self::Other
    }

    fn from_text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut values = Vec::new();
        while let Some(AnyJson(MaybeRegion(value))) = list.next_element()? {
            values.extend(value);
        }
        Ok(Self::List(values))
    }
}

/// An element of a list, kept if it is an object.
struct MaybeRegion<G>(Option<RegionValue<G>>);

impl<G: Geometry> FromAnyJson for MaybeRegion<G> {
    fn from_other() -> Self {
        Self(None)
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        RegionValue::deserialize(MapAccessDeserializer::new(map)).map(|value| Self(Some(value)))
    }
}

/// A value, kept if it is a string.
struct MaybeString(Option<String>);

impl FromAnyJson for MaybeString {
    fn from_other() -> Self {
        Self(None)
    }

    fn from_text(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}
