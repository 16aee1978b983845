//! The objects of Label Studio's documents. Unknown keys are skipped, known keys may be missing or
//! null, and a key that appears twice is an error.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::region_value::{Geometry, RegionValue};
use super::row_element::RowElement;
use super::task_data::{DataValue, TaskData, append_texts};
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
    /// Name of the control tag with which the result was made.
    pub(super) from_name: Option<String>,
    /// Name of the object tag that the result belongs to.
    pub(super) to_name: Option<String>,
    pub(super) value: Option<RegionValue<G>>,
    /// Rotation of the image while the region was drawn, in degrees.
    pub(super) image_rotation: Option<Number>,
    pub(super) original_width: Option<SideLength>,
    pub(super) original_height: Option<SideLength>,
    /// Index of the image in a task with a list of images.
    #[serde(rename = "item_index")]
    pub(super) item_index: Option<Number>,
    /// Group of results whose order the document keeps; none if it keeps that of all.
    #[serde(skip)]
    pub(super) order_group: Option<u32>,
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

/// A row of `JSON_MIN`: one annotation, with its regions flattened under the names of their tags.
/// The format loses the order of regions of different tags.
#[derive(Debug)]
pub(super) struct JsonMinRow<G> {
    pub(super) task_id: Option<i64>,
    pub(super) annotation_id: Option<i64>,
    pub(super) created_at: String,
    pub(super) updated_at: String,
    pub(super) data: TaskData,
    pub(super) regions: Vec<RowRegion<G>>,
}

/// A region of a row.
#[derive(Debug)]
pub(super) struct RowRegion<G> {
    /// Name of the control tag with which the region was drawn.
    pub(super) from_name: String,
    /// Index of the tag among those of the row.
    pub(super) order_group: u32,
    pub(super) value: RegionValue<G>,
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
                let (mut data, mut regions) = (TaskData::default(), Vec::new());
                let mut order_group = 0;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "id" => task_id.read("id", &mut map)?,
                        "annotation_id" => annotation_id.read("annotation_id", &mut map)?,
                        "created_at" => created_at.read("created_at", &mut map)?,
                        "updated_at" => updated_at.read("updated_at", &mut map)?,
                        _ => match map.next_value()? {
                            AnyJson(RowValue::Data(value)) => {
                                data.insert::<A::Error>(key, value)?;
                            }
                            AnyJson(RowValue::List { values, texts }) => {
                                for value in values {
                                    let from_name = key.clone();
                                    regions.push(RowRegion { from_name, order_group, value });
                                }
                                data.insert::<A::Error>(key, DataValue::Nested(texts))?;
                                order_group += 1;
                            }
                        },
                    }
                }
                Ok(JsonMinRow {
                    task_id: task_id.into_inner().and_then(|Id(id)| id),
                    annotation_id: annotation_id.into_inner().and_then(|Id(id)| id),
                    created_at: created_at.into_inner().unwrap_or_default(),
                    updated_at: updated_at.into_inner().unwrap_or_default(),
                    data,
                    regions,
                })
            }
        }
        deserializer.deserialize_map(JsonMinRowVisitor(PhantomData))
    }
}

/// Value of a key of a row. Objects of lists may be regions; texts belong to the task's data.
enum RowValue<G> {
    List {
        values: Vec<RegionValue<G>>,
        /// Texts of the list by their paths.
        texts: Vec<(String, String)>,
    },
    Data(DataValue),
}

impl<G: Geometry> FromAnyJson for RowValue<G> {
    fn from_other() -> Self {
        Self::Data(DataValue::Other)
    }

    fn from_text(text: &str) -> Self {
        Self::Data(DataValue::from_text(text))
    }

    fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let (mut values, mut texts) = (Vec::new(), Vec::new());
        for index in 0_usize.. {
            match list.next_element()? {
                Some(AnyJson(RowElement::Region(value))) => values.push(value),
                Some(AnyJson(RowElement::Data(value))) => {
                    append_texts(&index.to_string(), value, &mut texts);
                }
                None => break,
            }
        }
        Ok(Self::List { values, texts })
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        DataValue::from_map(map).map(Self::Data)
    }
}
