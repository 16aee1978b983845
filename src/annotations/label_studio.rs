//! Label Studio's annotations, as its exports and its target storages write them.
//!
//! Elements of a document ([`super::elements`]) are read twice: once for what they say without the drawings,
//! light enough to keep for every task, and once for the regions of the annotation that was chosen. Format: Label Studio
//! 1.23, <https://labelstud.io/guide/task_format>. Errors complete a sentence that begins with the element's place.

mod document;
mod packing;
#[cfg(test)]
mod tests;
mod value;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use self::document::{Annotation, Item, Row, Task, TaskOf};
use self::packing::packed;
use self::value::{Drawing, Geometry, Kind, Traits, Value};
use super::elements::{self, Members};
use super::json::{Id, Name, Number, Side, parse};
use super::region::Region;

/// What one element says, drawings left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number of the task, if it is known.
    pub task: Option<i64>,
    /// What the element is.
    pub form: Form,
    /// The values of the task's data that are strings, by key.
    pub data: BTreeMap<String, String>,
    /// In the order of the document; skipped ones are among them. Drafts and predictions are not.
    pub annotations: Vec<Summary>,
    /// How many annotations the task counts, skipped ones included. The embedded tasks of a target storage count
    /// those of the time when they were written.
    pub counted: Option<u64>,
}

/// Which of Label Studio's objects an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A task with its annotations: the JSON export, and target storages with one file per task.
    Task,
    /// An annotation with its task: the objects of a target storage.
    Annotation,
    /// One annotation, flattened: `JSON_MIN`.
    Row,
}

/// What one annotation says, drawings left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its number, if it is known.
    pub id: Option<i64>,
    /// ISO 8601, as written; empty if unknown.
    pub created_at: String,
    /// As `created_at`.
    pub updated_at: String,
    /// Whether the annotator skipped the task.
    pub was_cancelled: bool,
    /// Whether it is marked as ground truth.
    pub ground_truth: bool,
    /// The labels of its regions.
    pub labels: BTreeSet<String>,
    /// The names of the `<Image>` tags that its regions lie on; empty in `JSON_MIN`.
    pub images: BTreeSet<String>,
    /// How many regions [`regions`] gives for it.
    pub regions: usize,
}

/// The regions of one annotation.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// In the order of the document, in which later ones were drawn over earlier ones.
    pub regions: Vec<Region>,
    /// What was drawn and cannot be used, each with its reason.
    pub left_out: Vec<String>,
}

/// Reads what an element says, without keeping its drawings.
pub fn index(element: &[u8]) -> Result<Entry, String> {
    let form = form(element)?;
    let element = &packed(element);
    Ok(match form {
        Form::Task => {
            let task: Task<Traits> = parse(element)?;
            Entry {
                task: number(task.id),
                form: Form::Task,
                data: task.data.map(|data| data.0).unwrap_or_default(),
                annotations: task.annotations.iter().flatten().map(summary).collect(),
                counted: counted(task.total_annotations, task.cancelled_annotations),
            }
        }
        Form::Annotation => {
            let annotation: Annotation<Traits> = parse(element)?;
            let annotations = vec![summary(&annotation)];
            let (task, data, counted) = match annotation.task {
                Some(TaskOf::Task(task)) => (
                    task.id,
                    task.data.map(|data| data.0),
                    counted(task.total_annotations, task.cancelled_annotations),
                ),
                Some(TaskOf::Id(id)) => (Some(id), None, None),
                None => (None, None, None),
            };
            let (task, data) = (number(task), data.unwrap_or_default());
            Entry { task, form: Form::Annotation, data, annotations, counted }
        }
        Form::Row => {
            let Row { task, annotation, created_at, updated_at, data, values } =
                parse::<Row<Traits>>(element)?;
            let annotation = Annotation {
                id: annotation.map(|id| Id(Some(id))),
                result: Some(values.into_iter().map(item).collect()),
                was_cancelled: None,
                ground_truth: None,
                created_at: Some(created_at),
                updated_at: Some(updated_at),
                task: None,
            };
            let annotations = vec![summary(&annotation)];
            Entry { task, form: Form::Row, data, annotations, counted: None }
        }
    })
}

/// Reads the regions of an element's annotation, a number below that of [`Entry::annotations`].
pub fn regions(element: &[u8], annotation: usize) -> Result<Drawn, String> {
    let form = form(element)?;
    let items = match form {
        Form::Task => {
            let mut all = Members::new(element, &["annotations"], element.len());
            let missing = || format!("has no annotation number {annotation}");
            let (_, one) = all.nth(annotation).ok_or_else(missing)??;
            let within = |text| format!("annotations[{annotation}].{text}");
            parse::<Annotation<Drawing>>(&packed(&one.bytes)).map_err(within)?.result
        }
        Form::Annotation | Form::Row if annotation > 0 => {
            return Err(format!("has no annotation number {annotation}"));
        }
        Form::Annotation => parse::<Annotation<Drawing>>(&packed(element))?.result,
        Form::Row => {
            let row = parse::<Row<Drawing>>(&packed(element))?;
            Some(row.values.into_iter().map(item).collect())
        }
    };
    draw(items.unwrap_or_default())
}

/// What an element is, by its keys.
fn form(element: &[u8]) -> Result<Form, String> {
    let keys = elements::keys(element)?;
    let has = |key: &str| keys.iter().any(|known| known == key);
    if has("annotation_id") {
        return Ok(Form::Row);
    }
    if has("images") && has("categories") {
        return Err("is a COCO document, no task of Label Studio".to_owned());
    }
    if has("annotations") || has("result") {
        return Ok(if has("annotations") { Form::Task } else { Form::Annotation });
    }
    if has("data") {
        return Ok(Form::Task);
    }
    let mut shown = keys.iter().take(8).map(String::as_str).collect::<Vec<_>>().join(", ");
    if shown.is_empty() {
        shown.push_str("none");
    }
    Err(format!(
        "is neither a task (annotations), an annotation (result) nor a row of JSON_MIN \
         (annotation_id); its keys are {shown}; export as JSON or JSON_MIN"
    ))
}

fn number(id: Option<Id>) -> Option<i64> {
    id.and_then(|Id(id)| id)
}

fn counted(total: Option<u64>, cancelled: Option<u64>) -> Option<u64> {
    total.map(|total| total.saturating_add(cancelled.unwrap_or(0)))
}

/// A region of a row as the result that it was made of.
fn item<G>(value: Value<G>) -> Item<G> {
    Item {
        id: None,
        kind: None,
        to_name: None,
        value: Some(value),
        image_rotation: None,
        original_width: None,
        original_height: None,
        page: None,
    }
}

fn summary<G: Geometry>(annotation: &Annotation<G>) -> Summary {
    let items = annotation.result.as_deref().unwrap_or_default();
    let twins = labelled(items);
    let mut summary = Summary {
        id: number(annotation.id),
        created_at: annotation.created_at.clone().unwrap_or_default(),
        updated_at: annotation.updated_at.clone().unwrap_or_default(),
        was_cancelled: annotation.was_cancelled.unwrap_or(false),
        ground_truth: annotation.ground_truth.unwrap_or(false),
        labels: BTreeSet::new(),
        images: BTreeSet::new(),
        regions: 0,
    };
    for item in items {
        if let Fate::Region(_) = fate(item, &twins) {
            summary.regions += 1;
            summary.labels.extend(labels(item).cloned());
            let image = item.to_name.as_ref().filter(|name| !name.is_empty());
            summary.images.extend(image.cloned());
        }
    }
    summary
}

/// What becomes of a result.
enum Fate {
    Region(Kind),
    /// Something was drawn, but: why not.
    LeftOut(String),
    /// Nothing was drawn, or it is drawn by another result.
    Nothing,
}

fn fate<G: Geometry>(item: &Item<G>, twins: &HashSet<&str>) -> Fate {
    let Some(value) = &item.value else { return Fate::Nothing };
    let kind = type_of(item);
    let is_labelled = labels(item).next().is_some();
    // Two results of one region: what was drawn, and the label beside it. The labelled one has both.
    let is_twin = item.id.as_ref().is_some_and(|Name(id)| twins.contains(id.as_str()));
    match Kind::of(kind, &value.geometry) {
        Some(found) if is_labelled => Fate::Region(found),
        _ if is_twin && !is_labelled => Fate::Nothing,
        Some(_) => Fate::LeftOut(format!("{} has no label", name(item))),
        None if is_labelled || matches!(kind, "keypoint" | "vector") => {
            Fate::LeftOut(format!("{} has no area", name(item)))
        }
        // Choices, texts, ratings, relations.
        None => Fate::Nothing,
    }
}

/// The ids of the results that have labels.
fn labelled<G>(items: &[Item<G>]) -> HashSet<&str> {
    let ids = items.iter().filter(|item| labels(item).next().is_some());
    let ids = ids.filter_map(|item| item.id.as_ref().map(|Name(id)| id.as_str()));
    ids.filter(|id| !id.is_empty()).collect()
}

/// The type of a result. In rows, where it is left out, it is the key of the labels.
fn type_of<G>(item: &Item<G>) -> &str {
    let key = || item.value.as_ref()?.labels.first().map(|(key, _)| key.as_str());
    item.kind.as_deref().or_else(key).unwrap_or_default()
}

/// The labels of a result: those under the key of its type.
fn labels<G>(item: &Item<G>) -> impl Iterator<Item = &String> {
    let kind = type_of(item);
    let lists = item.value.iter().flat_map(|value| &value.labels);
    lists.filter(move |(key, _)| key == kind).flat_map(|(_, names)| names)
}

/// A result in words.
fn name<G>(item: &Item<G>) -> String {
    let kind = type_of(item);
    let kind = if kind.is_empty() { "one without type" } else { kind };
    match &item.id {
        Some(Name(id)) if !id.is_empty() => format!("region {id} ({kind})"),
        _ => format!("a region ({kind})"),
    }
}

fn draw(items: Vec<Item<Drawing>>) -> Result<Drawn, String> {
    let mut drawn = Drawn { regions: Vec::new(), left_out: Vec::new() };
    let fates: Vec<Fate> = {
        let twins = labelled(&items);
        items.iter().map(|item| fate(item, &twins)).collect()
    };
    for (item, fate) in items.into_iter().zip(fates) {
        match fate {
            Fate::Region(kind) => drawn.regions.push(region(item, kind)?),
            Fate::LeftOut(why) => drawn.left_out.push(why),
            Fate::Nothing => {}
        }
    }
    Ok(drawn)
}

fn region(item: Item<Drawing>, kind: Kind) -> Result<Region, String> {
    let name = name(&item);
    if let Some(Number(degrees)) = item.image_rotation
        && degrees % 360.0 != 0.0
    {
        return Err(format!(
            "{name} was drawn on the image turned by {degrees} degrees (image_rotation), which is \
             not supported; allowed: 0; turn the image file itself and annotate that"
        ));
    }
    if let Some(Number(page)) = item.page
        && page != 0.0
    {
        return Err(format!(
            "{name} lies on another than the first image of a list (item_index {page}), which is \
             not supported; make one task of each image"
        ));
    }
    let labels = labels(&item).cloned().collect();
    let (width, height) = (item.original_width, item.original_height);
    let Some(Value { mut geometry, .. }) = item.value else {
        return Err(format!("{name} has no value"));
    };
    let size = match (width, height) {
        (Some(Side(width)), Some(Side(height))) => Some((width, height)),
        _ => geometry.size(),
    };
    let shape = geometry
        .shape(kind)
        .map_err(|key| format!("{name} has no {key}; it needs {} in its value", kind.needs()))?;
    let id = item.id.map(|Name(id)| id).unwrap_or_default();
    Ok(Region { id, labels, shape, size, to_name: item.to_name.unwrap_or_default() })
}
